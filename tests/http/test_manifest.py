"""The archive of a node that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.http.asking import ask, get, put
from tests.http.serving import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.http


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("manifest") / "data") as running:
        put(running, "/a")
        yield running


def test_the_manifest_is_empty(served: Served) -> None:
    answer = get(served, "/v1/manifest")
    assert answer.status == 200
    assert answer.json == {"version": 0, "archived_size": 0, "segments": []}
    assert ask(served, "HEAD", "/v1/manifest").headers["content-length"] == answer.headers["content-length"]


def test_nothing_changed_since_the_version_it_has(served: Served) -> None:
    answer = get(served, "/v1/manifest?since=0")
    assert answer.json == {"version": 0, "archived_size": 0, "added": [], "removed": []}


@pytest.mark.parametrize("since", ["1", "-1", "", "x", "99999999999999999999"])
def test_a_version_that_it_never_had_is_refused(served: Served, since: str) -> None:
    answer = get(served, f"/v1/manifest?since={since}")
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


@pytest.mark.parametrize("body", [None, b"{}", b"anything"])
def test_archiving_is_a_conflict_with_having_no_archive(served: Served, body: bytes | None) -> None:
    answer = ask(served, "POST", "/v1/archive", body)
    assert (answer.status, answer.error["kind"]) == (409, "conflict")
    assert "no archive" in answer.error["message"]
    assert get(served, "/v1/archive").status == 405
