"""Which path goes where: any bytes can be a key, and what shadows one says where the key is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http.asking import ask, get, put
from tests.http.serving import Served, serve

from scribe_ledger.errors import NotFound
from scribe_ledger.http.parameters import LIMIT
from scribe_ledger.http.paths import RESERVED, key_of_path, normal_path
from scribe_ledger.http.problems import Problem
from scribe_ledger.http.routes import ROUTES
from scribe_ledger.http.routing import Route, Router

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.responses import Response

    from scribe_ledger.http.request import Request

pytestmark = pytest.mark.http


async def handler(_: Request) -> Response:
    raise AssertionError


ROUTER = Router(
    [
        Route("GET", "/{key}", handler, "value"),
        Route("PUT", "/{key}", handler, "put"),
        Route("GET", "/v1/kv/{key}", handler, "kv"),
        Route("GET", "/v1/kv", handler, "listing", parameters=(LIMIT,)),
        Route("GET", "/v1/proof/{key}", handler, "proof"),
        Route("GET", "/v1/proof/history/{key}", handler, "history"),
        Route("GET", "/v1/proof/consistency", handler, "consistency"),
        Route("GET", "/tlog/tile/{tile}", handler, "tile"),
        Route("GET", "/health", handler, "health"),
        Route("POST", "/v1/batch", handler, "batch"),
        Route("GET", "/", handler, "index"),
    ]
)


@pytest.mark.parametrize(
    ("path", "summary", "rest"),
    [
        (b"/", "index", b""),
        (b"/a", "value", b"a"),
        (b"/a/b//c/", "value", b"a/b//c/"),
        (b"//", "value", b"/"),
        (b"/%2F", "value", b"%2F"),
        (b"/a%2fb", "value", b"a%2fb"),
        (b"/healthy", "value", b"healthy"),
        (b"/Health", "value", b"Health"),
        (b"/health%2Flive", "value", b"health%2Flive"),
        (b"/health", "health", b""),
        (b"/%68ealth", "health", b""),
        (b"/%68%65%61%6C%74%68", "health", b""),
        (b"/v1/kv", "listing", b""),
        (b"/v1/kv/", "kv", b""),
        (b"/v1/kv/health", "kv", b"health"),
        (b"/%76%31/kv/x", "kv", b"x"),
        (b"/v1/kv/%2525", "kv", b"%2525"),
        (b"/v1/proof/x", "proof", b"x"),
        (b"/v1/proof/history", "proof", b"history"),
        (b"/v1/proof/history%2Fx", "proof", b"history%2Fx"),
        (b"/v1/proof/history/x", "history", b"x"),
        (b"/v1/proof/consistency", "consistency", b""),
        (b"/v1/proof/consistency/x", "proof", b"consistency/x"),
        (b"/tlog/tile/0/x001/002.p/3", "tile", b"0/x001/002.p/3"),
        (b"/..", "value", b".."),
        (b"/a/../b", "value", b"a/../b"),
        (b"/%2e%2e/health", "value", b"../health"),
    ],
)
def test_a_path_finds_its_route_as_it_was_sent(path: bytes, summary: str, rest: bytes) -> None:
    route, found = ROUTER.find("GET", path)
    assert (route.summary, found) == (summary, rest)
    assert ROUTER.find("HEAD", path) == (route, found)


@pytest.mark.parametrize("path", [b"/v1", b"/v1/", b"/v1/nothing", b"/health/", b"/tlog", b"/cluster", b"/docs/x"])
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "BREW"])
def test_what_no_route_takes_is_not_found_and_says_where_a_key_would_be(method: str, path: bytes) -> None:
    with pytest.raises(NotFound) as refusal:
        ROUTER.find(method, path)
    assert f"/v1/kv/{path.decode()[1:]}" in refusal.value.hint


@pytest.mark.parametrize("path", [b"*", b"", b"http://x/y"])
def test_what_is_no_path_would_be_no_key(path: bytes) -> None:
    with pytest.raises(NotFound) as refusal:
        ROUTER.find("OPTIONS", path)
    assert refusal.value.hint == "every path begins with a slash; see /docs"


@pytest.mark.parametrize(
    ("method", "path", "allow", "hint"),
    [
        ("POST", b"/a", b"GET, HEAD, OPTIONS, PUT", ""),
        ("DELETE", b"/v1/kv/health", b"GET, HEAD, OPTIONS", ""),
        ("PUT", b"/health", b"GET, HEAD, OPTIONS", "/v1/kv/health"),
        ("GET", b"/v1/batch", b"OPTIONS, POST", "/v1/kv/v1/batch"),
        ("HEAD", b"/v1/batch", b"OPTIONS, POST", "/v1/kv/v1/batch"),
        ("get", b"/a", b"GET, HEAD, OPTIONS, PUT", ""),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: bytes, allow: bytes, hint: str) -> None:
    with pytest.raises(Problem) as refusal:
        ROUTER.find(method, path)
    assert refusal.value.cause.kind == refusal.value.kind == "method"
    assert refusal.value.headers == [(b"allow", allow)]
    assert allow.decode() in refusal.value.hint
    assert hint in refusal.value.hint


def test_a_long_path_is_cut_in_what_is_said_of_it() -> None:
    with pytest.raises(NotFound) as refusal:
        ROUTER.find("GET", b"/v1/" + b"x" * 9000)
    assert len(str(refusal.value)) < 400


def test_options_takes_the_parameters_of_the_path() -> None:
    route, _ = ROUTER.find("OPTIONS", b"/v1/kv")
    assert route.parameters == (LIMIT,)


def test_no_two_routes_are_the_same() -> None:
    names = [(route.method, route.path) for route in ROUTES]
    assert len(names) == len(set(names))


def test_every_first_segment_of_a_route_is_reserved() -> None:
    first = {route.path.split("/")[1].encode() for route in ROUTES}
    assert first - {b"", b"{key}"} == RESERVED & first


@given(st.binary(min_size=1, max_size=40))
def test_any_key_comes_through_its_path(key: bytes) -> None:
    path = b"/v1/kv/" + quote_from_bytes(key, safe="").encode()
    assert key_of_path(path) == key
    route, rest = ROUTER.find("GET", path)
    assert (route.summary, unquote_to_bytes(rest)) == ("kv", key)


@given(st.binary(min_size=1, max_size=40))
def test_normalising_keeps_what_a_path_means(key: bytes) -> None:
    path = b"/" + b"".join([b"%%%02x" % byte for byte in key])
    assert unquote_to_bytes(normal_path(path)) == unquote_to_bytes(path)
    assert normal_path(normal_path(path)) == normal_path(path)


@given(st.binary(max_size=20))
def test_both_ways_agree_on_what_is_a_key(rest: bytes) -> None:
    """The lane asks ``key_of_path``, the application the router."""
    path = b"/" + rest
    try:
        route, found = ROUTER.find("PUT" if not path.startswith(b"/v1/kv/") else "GET", path)
        routed = unquote_to_bytes(found) if route.summary in {"put", "kv"} else None
    except (NotFound, Problem):
        routed = None
    assert key_of_path(path) == routed or (path in {b"/", b"/v1/kv"} and routed is None)


# --- over a socket ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("routing") / "data") as running:
        yield running


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_reserved_word_is_a_key_under_v1_kv(served: Served, word: bytes) -> None:
    name = word.decode()
    put(served, f"/v1/kv/{name}", word)
    assert get(served, f"/v1/kv/{name}").body == word
    answer = ask(served, "PUT", f"/{name}", b"shadowed")
    assert answer.status in {404, 405}
    assert f"/v1/kv/{name}" in answer.error["hint"]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/any/key", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/v1/kv/health", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/v1/archive", "OPTIONS, POST"),
        ("/tlog/tile/0/000", "GET, HEAD, OPTIONS"),
        ("/v1/proof/consistency", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_names_the_methods(served: Served, path: str, allow: str) -> None:
    answer = ask(served, "OPTIONS", path)
    assert (answer.status, answer.body, answer.headers["allow"]) == (204, b"", allow)
    assert answer.headers["x-request-id"]


def test_options_of_no_route_is_not_found(served: Served) -> None:
    assert ask(served, "OPTIONS", "/v1/nothing").error["kind"] == "not_found"


@pytest.mark.parametrize("method", ["POST", "PATCH", "TRACE", "BREW", "PROPFIND"])
def test_a_method_that_a_key_does_not_have_is_refused(served: Served, method: str) -> None:
    answer = ask(served, method, "/a")
    assert answer.status in {400, 405}
    if answer.status == 405:
        assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize(
    "origin", ["null", "http://other.example", "http://[", "http://[::1", "//", "nonsense", "http://\xff", ""]
)
def test_a_page_of_another_site_is_refused_whatever_it_calls_itself(served: Served, origin: str) -> None:
    answer = ask(served, "PUT", "/from-a-page", b"v", {"Origin": origin})
    assert (answer.status, answer.error["kind"]) == (403, "forbidden")


def test_a_page_of_the_node_itself_may_write(served: Served) -> None:
    put(served, "/own-page", b"v", origin=served.url)
