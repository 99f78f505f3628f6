"""What wrk sends: its scripts, written for each pass, so that no two passes write the same keys.

A request is put together from ready pieces, and as little of it as may be is made while the load runs: wrk shares the
machine with the server.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from itertools import count
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from scribe_ledger.bench.workload import BATCH, VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    Script: TypeAlias = Callable[[], Path]
    """Writes the script of the next pass, and says where."""

KEYS_A_CALL = 50
"""Keys of one ``POST /v1/get``."""
_VALUES = 4096
"""Different values; keys are unique, values come round again."""
_CALLS = 5_000

_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "errors": %d, "p50_us": %d, "p99_us": %d}\\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout + e.status,
    latency:percentile(50), latency:percentile(99)))
end
"""
_SAY = """
local requests = {}
for line in io.lines("%(file)s") do requests[#requests + 1] = %(made)s end
local n = %(start)d
function request()
  n = n %% #requests + 1
  return requests[n]
end
"""
_GET = r'"GET " .. line .. " HTTP/1.1\r\nHost: bench\r\n\r\n"'
_POST = (
    r'"POST /v1/get HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: "'
    r' .. #line .. "\r\n\r\n" .. line'
)
_PUT = """
local n, head = 0, " HTTP/1.1\\r\\nHost: bench\\r\\nContent-Length: %(length)d\\r\\n"
local values = io.open("%(file)s", "rb"):read("*a")
local places = #values / %(length)d
function request()
  n = n + 1
  local key, at = string.format("%(seed)08x%%08x", n), n %% places * %(length)d
  return "PUT /" .. key .. head .. %(headers)s"\\r\\n" .. values:sub(at + 1, at + %(length)d)
end
"""
_ID = '"Idempotency-Key: " .. key .. "\\r\\n" .. '
_BATCH = """
local values = {}
for line in io.lines("%(file)s") do values[#values + 1] = line end
local n, operations = 0, {}
function request()
  for i = 1, %(size)d do
    n = n + 1
    operations[i] = '{"op":"put","key":"' .. string.format("%(seed)08x%%08x", n)
      .. '","value_base64":"' .. values[n %% #values + 1] .. '"}'
  end
  local body = '{"operations":[' .. table.concat(operations, ",") .. "]}"
  return "POST /v1/batch HTTP/1.1\\r\\nHost: bench\\r\\nContent-Type: application/json\\r\\nContent-Length: " .. #body
    .. "\\r\\n\\r\\n" .. body
end
"""


class Scripts:
    """Writes scripts and what they read into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seeds = count(1)

    def put(self, *, with_id: bool = False) -> Script:
        """Unique keys; with ``with_id`` each request has an ``Idempotency-Key`` of its own as well."""
        file = self._write("values", os.urandom(_VALUES * VALUE_BYTES))

        def next_pass() -> Path:
            seed, headers = next(self._seeds), _ID if with_id else ""
            return self._script(_PUT % {"file": file, "seed": seed, "length": VALUE_BYTES, "headers": headers})

        return next_pass

    def batch(self, size: int = BATCH) -> Script:
        """``POST /v1/batch`` with so many puts of unique keys."""
        values = (b64encode(os.urandom(VALUE_BYTES)) for _ in range(_VALUES))
        file = self._write("values-base64", b"\n".join(values))
        return lambda: self._script(_BATCH % {"file": file, "seed": next(self._seeds), "size": size})

    def get(self, keys: Sequence[str], *, before: str = "/", after: str = "") -> Script:
        """One key after another, in the order given and round again; each pass begins elsewhere."""
        return self._round((f"{before}{key}{after}" for key in keys), _GET)

    def get_many(self, keys: Sequence[str], *, query: str = "") -> Script:
        """``POST /v1/get`` of 50 keys, drawn at random."""
        random = Random(3)
        bodies = (json.dumps({"keys": random.sample(keys, min(KEYS_A_CALL, len(keys)))}) for _ in range(_CALLS))
        return self._round(bodies, _POST.replace("/v1/get", f"/v1/get{query}"))

    def _round(self, lines: Iterable[str], made: str) -> Script:
        """Each pass goes round in the same requests, and begins at another."""
        number = next(self._seeds)
        file = self._write(f"requests-{number}", "\n".join(lines).encode())
        start = count(0, 1_009)
        return lambda: self._script(_SAY % {"file": file, "made": made, "start": next(start)})

    def _write(self, name: str, data: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(data)
        return path

    def _script(self, text: str) -> Path:
        return self._write("load.lua", (text + _DONE).encode())
