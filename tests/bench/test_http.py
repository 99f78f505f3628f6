"""The benchmark of a node: real processes under a small load, what the loads send, and what is not measured."""

from __future__ import annotations

import gc
import json
import re
import shutil
import socketserver
import threading
from base64 import b64decode
from dataclasses import replace
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from scribe_ledger.bench.command import FAILED
from scribe_ledger.bench.http import servers, wire
from scribe_ledger.bench.http.command import HTTP
from scribe_ledger.bench.http.latency import percentile_ms
from scribe_ledger.bench.http.load import LANE, NODE, Loads, apart, beside, run_wrk
from scribe_ledger.bench.http.pacing import pace
from scribe_ledger.bench.http.rows import ROWS
from scribe_ledger.bench.http.scale import Scale, drawn_keys, fill
from scribe_ledger.bench.http.scripts import KEYS_A_CALL, Scripts
from scribe_ledger.bench.http.servers import start_lane, start_node
from scribe_ledger.bench.http.targets import LINES
from scribe_ledger.bench.http.wire import Connection
from scribe_ledger.bench.workload import BATCH, KEY_BYTES, VALUE_BYTES, keys_of
from scribe_ledger.errors import NetworkError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.bench.http.servers import Server
    from scribe_ledger.bench.timing import Measured

pytestmark = pytest.mark.http

TINY = Scale(
    entries=1000,
    small_entries=500,
    cached=500,
    passes=1,
    pass_seconds=1,
    singles=20,
    gets=20,
    starts=1,
    unsettled=500,
    large_bytes=2 << 20,
    idle=20,
)
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def bench(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Runs the command with tiny sizes: its exit code and what it wrote."""
    file = folder / "results" / "run.json"
    code = replace(HTTP, quick=TINY).main(["--quick", "--dir", str(folder), "--json", str(file), *arguments])
    assert [child.name for child in folder.iterdir()] == ["results"], "a run leaves nothing but its result"
    result: dict[str, Any] = json.loads(file.read_text())
    return code, result


def figures(result: dict[str, Any]) -> dict[str, Any]:
    return {line["name"]: line for line in result["lines"]}


# --- the command -----------------------------------------------------------------------------------------------


def test_rows_without_wrk_are_measured_and_the_others_say_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, result = bench(tmp_path, "--only", "get,latency,large,idle")
    assert code == 0
    assert set(figures(result)) == {"large.up", "large.down", "large.memory", "latency.one", "idle"}
    assert set(result["not_measured"]) == {"get", "get.lane", "latency.put", "latency.get"}
    assert all("wrk is not on the PATH" in why and "apt install wrk" in why for why in result["not_measured"].values())
    assert "latency.put, latency.get: wrk is not on the PATH" in capsys.readouterr().out
    for line in result["lines"]:
        assert line["figure"] > 0 or line["unit"] == "MiB"
        assert line["target_met"] is None, "sizes of a quick run judge nothing"
    assert figures(result)["latency.one"]["beside"][0]["name"] == LANE


@needs_wrk
def test_loads_stand_beside_the_empty_lane_in_the_same_run(tmp_path: Path) -> None:
    code, result = bench(tmp_path, "--only", "get")
    assert (code, result["not_measured"]) == (0, {})
    lines = figures(result)
    assert [other["name"] for other in lines["get"]["beside"]] == [LANE, "with access log"]
    assert lines["get.lane"]["figure"] == lines["get"]["figure"]
    assert lines["get.lane"]["ratio"] == pytest.approx(lines["get"]["figure"] / lines["get"]["beside"][0]["figure"])
    assert lines["get"]["details"]["cpu_us_per_request"][NODE] > 0
    assert {len(rates) for rates in lines["get"]["blocks"].values()} == {TINY.passes}


def test_row_that_goes_wrong_is_reported_and_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> dict[str, Measured]:
        raise Unavailable("the server answered 'HTTP/1.1 500'")

    monkeypatch.setitem(ROWS, "get", (wrong,))
    monkeypatch.setitem(ROWS, "idle", (lambda *_: {"idle": {"figure": 1.0, "beside": {}}},))
    code, result = bench(tmp_path, "--only", "get,idle")
    assert code == FAILED
    assert set(figures(result)) == {"idle"}
    assert result["not_measured"] == dict.fromkeys(("get", "get.lane"), "the server answered 'HTTP/1.1 500'")


def test_system_without_proc_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "PROC", tmp_path / "absent")
    code, result = bench(tmp_path, "--only", "idle")
    assert (code, result["lines"]) == (0, [])
    assert "needs Linux" in result["not_measured"]["idle"]


def test_every_line_of_the_table_has_a_row_that_measures_it() -> None:
    assert {line.row for line in LINES} == set(ROWS)
    assert len({line.name for line in LINES}) == len(LINES)
    assert [line.name for line in LINES if line.target is None] == ["idle"]


# --- what loads send -------------------------------------------------------------------------------------------


class Recorder:
    """A server that keeps every request, and gives each the answer for its number."""

    threads = 1

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        self.requests: list[tuple[str, bytes]] = []
        """Head and body."""
        recorder = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while head := self._head():
                    length = re.search(rb"Content-Length: (\d+)", head)
                    recorder.requests.append((head.decode(), self.rfile.read(int(length[1])) if length else b""))
                    self.wfile.write(answer(len(recorder.requests)))

            def _head(self) -> bytes:
                lines = iter(self.rfile.readline, b"\r\n")
                first = next(lines, b"")
                return first and first + b"".join(lines)

        class Quiet(socketserver.ThreadingTCPServer):
            def handle_error(self, *_: object) -> None:
                """Clients go away when they have what they want."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def cpu_seconds(self) -> float:
        return 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def answer(body: bytes = b"ok", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def recorded(script: Callable[[Scripts], Any], folder: Path, *, passes: int = 1) -> list[tuple[str, bytes]]:
    """What wrk sends."""
    with Recorder(lambda _: answer()) as recorder:
        made = script(Scripts(folder))
        for _ in range(passes):
            assert run_wrk(cast("Server", recorder), 2, made, 1).requests > 0
    assert len(recorder.requests) > 4
    return recorder.requests


@needs_wrk
def test_puts_have_unique_keys_and_ids_and_values_of_the_right_size(tmp_path: Path) -> None:
    requests = recorded(lambda scripts: scripts.put(with_id=True), tmp_path, passes=2)
    keys = [head.split()[1] for head, _ in requests]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {1 + KEY_BYTES}
    assert {len(body) for _, body in requests} == {VALUE_BYTES}
    assert len({body for _, body in requests}) > 2, "values that are all alike compress well"
    ids = re.findall(r"^Idempotency-Key: (\w+)\r$", "".join(head for head, _ in requests), re.MULTILINE)
    assert ids == [key[1:] for key in keys]


@needs_wrk
def test_batches_hold_500_puts_of_unique_keys(tmp_path: Path) -> None:
    requests = recorded(Scripts.batch, tmp_path)
    assert {head.split()[:2] == ["POST", "/v1/batch"] for head, _ in requests} == {True}
    operations = [operation for _, body in requests for operation in json.loads(body)["operations"]]
    assert len(operations) == BATCH * len(requests)
    assert len({operation["key"] for operation in operations}) == len(operations)
    assert {len(b64decode(operation["value_base64"], validate=True)) for operation in operations} == {VALUE_BYTES}
    assert {operation["op"] for operation in operations} == {"put"}


@needs_wrk
def test_reads_go_round_in_their_keys(tmp_path: Path) -> None:
    requests = recorded(lambda scripts: scripts.get(["a", "b"], before="/v1/kv/", after="?proof=true"), tmp_path)
    assert {head.split()[1] for head, _ in requests} == {"/v1/kv/a?proof=true", "/v1/kv/b?proof=true"}
    requests = recorded(lambda scripts: scripts.get_many(keys_of(BATCH)), tmp_path)
    asked = [json.loads(body)["keys"] for _, body in requests]
    assert {len(set(keys)) for keys in asked} == {KEYS_A_CALL}
    assert set().union(*asked) <= set(keys_of(BATCH))


@needs_wrk
def test_load_that_is_refused_is_an_error_and_no_figure(tmp_path: Path) -> None:
    with (
        Recorder(lambda number: answer(status="503 Busy" if number == 20 else "200 OK")) as recorder,
        pytest.raises(Unavailable, match=r"of \d+ requests that wrk sent, 1 were refused or lost"),
    ):
        run_wrk(cast("Server", recorder), 2, Scripts(tmp_path).put(), 1)


# --- waiting ---------------------------------------------------------------------------------------------------


def test_waiting_counts_from_when_a_request_was_due() -> None:
    """A server that stands still must not be spared what fell due meanwhile."""

    def stall(number: int) -> bytes:
        sleep(0.3 if number == 1 else 0)
        return answer()

    with Recorder(stall) as recorder:
        load = pace(recorder.port, 1, 100, [wire.request("GET", "/k")] * 40)
    assert len(load.waits) == len(load.late) == len(recorder.requests) == 40
    assert load.waits[0] >= 0.3
    assert load.waits[1] >= 0.28
    assert load.waits[10] >= 0.18
    assert load.late[10] >= 0.17
    assert load.waits[-1] < 0.2
    assert load.per_second <= 100 * 40 / 39


def test_paced_load_goes_to_all_connections_and_waits_for_the_last_answer() -> None:
    with Recorder(lambda number: answer(b"%d" % number)) as recorder:
        load = pace(recorder.port, 8, 2000, [wire.request("PUT", f"/{number}", b"v") for number in range(200)])
    assert {head.split()[1] for head, _ in recorder.requests} == {f"/{number}" for number in range(200)}
    assert min(load.waits) > 0
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (
            answer(status="503 Service Unavailable"),
            Unavailable,
            "the server answered 'HTTP/1.1 503 Service Unavailable'",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n", NetworkError, "an answer without a length"),
        (answer() + answer(), NetworkError, "more than one answer"),
    ],
)
def test_paced_load_takes_only_whole_answers_that_are_no_errors(
    given: bytes, error: type[Exception], said: str
) -> None:
    with Recorder(lambda _: given) as recorder, pytest.raises(error, match=said):
        pace(recorder.port, 1, 100, [wire.request("GET", "/k")] * 2)


def test_percentiles_are_in_milliseconds() -> None:
    seconds = [number / 1000 for number in range(1, 1001)]
    assert percentile_ms(seconds, 50) == pytest.approx(500.5)
    assert percentile_ms(seconds, 99) == pytest.approx(990.01)
    assert percentile_ms(seconds, 99.9) == pytest.approx(999.001)


# --- servers and their ledgers ---------------------------------------------------------------------------------


def test_node_is_the_real_command_with_the_ledger_it_was_given(tmp_path: Path) -> None:
    fill(tmp_path / "node", TINY.cached)
    with start_node(tmp_path / "node") as node:
        assert node.cpu_seconds() > 0
        now, highest = node.memory_mib()
        assert 1 < now <= highest
        with Connection(node.port) as connection:
            for key in keys_of(TINY.cached)[:3]:
                assert len(connection.exchange(wire.request("GET", f"/{key}"))) == VALUE_BYTES
            with pytest.raises(Unavailable, match="404"):
                connection.exchange(wire.request("GET", "/absent"))
        with pytest.raises(Unavailable, match=r"(?s)did not start, and ended with 3: .* is open in process"):
            start_node(tmp_path / "node")


def test_settings_of_the_caller_are_not_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIBE_STORAGE_DURABILITY", "relaxed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.toml").write_text('[storage]\ndurability = "relaxed"\n')
    monkeypatch.chdir(elsewhere)
    with start_node(tmp_path / "node"):
        pass
    log = (tmp_path / "node.log").read_text()
    assert "listening" in log
    assert "relaxed" not in log


def test_empty_lane_answers_everything_alike_and_stops(tmp_path: Path) -> None:
    with start_lane(tmp_path) as lane, Connection(lane.port) as connection:
        assert connection.exchange(wire.request("PUT", "/k", b"value")) == b"ok"
        assert connection.exchange(wire.request("GET", "/v1/stats")) == b"ok"


def test_keys_are_drawn_once_each_from_the_whole_ledger() -> None:
    drawn = drawn_keys(BATCH * 4, BATCH)
    assert len(set(drawn)) == BATCH
    assert set(drawn) <= set(keys_of(BATCH * 4))
    assert set(drawn) != set(keys_of(BATCH))


# --- how figures are made --------------------------------------------------------------------------------------


def test_what_is_compared_takes_turns_and_the_first_is_the_figure() -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    loads = Loads(replace(TINY, passes=3))
    for name in (NODE, LANE):
        loads.add_measure(name, partial(measure, name))
    line = loads.run(keys=5)
    assert order == [NODE, LANE, LANE, NODE, NODE, LANE]
    assert line["blocks"] == {NODE: [1, 4, 5], LANE: [2, 3, 6]}
    assert (line["figure"], line["beside"]) == (4, {LANE: 3})
    assert line["details"]["keys"] == 5
    again = beside(line, LANE)
    assert (again["figure"], again["beside"]) == (4, {LANE: 3})
    other = apart(line, LANE, rest="without")
    assert (other["figure"], other["beside"]) == (3, {"without": 4})
    assert line["beside"] == {}
