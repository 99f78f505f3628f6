"""The lane of a cluster's member: a read waits until it is linearizable, without scope, task or queue.

Then it is answered as on a node that stands alone; the application, if it must look, is told that the waiting is done.
Reads that are ``stale`` do not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import ScribeError
from scribe_ledger.http.lane import Lane
from scribe_ledger.http.lane_reads import LaneProof, LaneRead
from scribe_ledger.http.request_ids import make_request_id

if TYPE_CHECKING:
    from scribe_ledger.http.clustering import Cluster


_OF_A_REPEAT = [(b"Host", b"")]
"""Of a request that was known by its bytes, if the application must answer it after all. No other header matters."""


class StaleKey(bytes):
    """The key of a read that takes what this node has, among the keys of others."""

    __slots__ = ()


class WaitingLane(Lane):
    """One connection to a member. In trouble, it leaves all to the application, which says what that is."""

    @property
    def cluster(self) -> Cluster:
        cluster = self.shared.service.cluster
        assert cluster is not None
        return cluster

    def _repeat(self, key: bytes) -> bool:
        cluster, cycle = self.cluster, self.cycle
        if cluster.trouble is not None:
            return False
        if type(key) is StaleKey:
            return super()._repeat(key)
        if self.flow.write_paused or not (cycle is None or cycle.response_complete):
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._since = self.shared.seconds
        self.url, self.headers = b"/" + key, _OF_A_REPEAT
        self._begin(LaneRead(self, "GET", key, self.url, make_request_id()))
        return True

    def _read(self, method: str, key: bytes) -> bool:
        cached = self.shared.hit(key) is not None
        if not self._wait(LaneRead, method, key, self.url):
            return False
        if cached and method == "GET" and not self._special and len(self.url) == 1 + len(key):
            self._answered = key
        return True

    def _read_stale(self, method: str, key: bytes, path: bytes) -> bool:
        if self.cluster.trouble is not None or not self._answer_value(method, key, path):
            return False
        if self._answered is not None:
            self._answered = StaleKey(key)
        return True

    def _answer_proven(self, key: bytes, path: bytes, since: int | None, after: int | None) -> bool:
        return self._wait(LaneProof, "GET", key, path, since, after)

    def _wait(self, kind: type[LaneRead], method: str, key: bytes, path: bytes, *sizes: int | None) -> bool:
        request_id = self._only_request_id()
        if request_id is None or self.cluster.trouble is not None:
            return False
        self._begin(kind(self, method, key, path, request_id, *sizes))
        return True

    def _begin(self, read: LaneRead) -> None:
        self.stand_in(read)
        try:
            self.cluster.read(read.settle)
        except ScribeError as error:
            read.refuse(error)
