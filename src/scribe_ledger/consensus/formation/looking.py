"""``Lookout``: who is where, right now. Asks every address that seeds, sources and invitations give, all at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.formation.messages import Probe, Standing, decode_as, encode
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.errors import NetworkError, ScribeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scribe_ledger.consensus.formation.finding import Source
    from scribe_ledger.consensus.formation.messages import Requests

MAX_INVITATIONS = 64
FIRST_REST, LONGEST_REST, STRANGERS_REST = 0.1, 5.0, 60.0
"""Seconds for which who refused is not asked again; twice as long each time. Refusals fire alarms over there, and those
of another cluster, which a local network shows too, will refuse again."""


class Silence(NamedTuple):
    """Why an address gave no answer."""

    reason: str
    present: bool = False
    """Whether somebody is there all the same: it took the connection, and would not speak with us."""
    kind: str = ""
    """Of a refusal: ``Reason``."""
    proven: bool = False
    """Whether it was one of the cluster that refused."""


class Sight(NamedTuple):
    """What one look has shown."""

    seeds: Mapping[str, Standing]
    """By address; without this node."""
    others: Mapping[str, Standing]
    """Who is found elsewhere."""
    silent: Mapping[str, Silence]
    """Addresses that gave no answer."""

    @property
    def all(self) -> dict[str, Standing]:
        """One address of each node."""
        found: dict[int, tuple[str, Standing]] = {}
        for address, standing in (*self.seeds.items(), *self.others.items()):
            found.setdefault(standing.raft_id, (address, standing))
        return dict(found.values())

    @property
    def near(self) -> dict[int, Standing]:
        """The seeds, by Raft id: one may stand in the list under two addresses."""
        return {standing.raft_id: standing for standing in self.seeds.values()}


class Lookout:
    def __init__(
        self, requests: Requests, *, raft_id: int, address: str, seeds: Sequence[str], sources: Sequence[Source]
    ) -> None:
        self._requests = requests
        self._raft_id = raft_id
        self._ourselves = {address}
        self._seeds = list(dict.fromkeys(seeds))
        self._sources = sources
        self._invitations: list[str] = []
        self._at: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        """Looks in a row in which nobody was at an address. Who refuses is there."""
        self._refusals: dict[str, _Rest] = {}

    @property
    def seeds(self) -> list[str]:
        """The list without this node."""
        return [each for each in self._seeds if each not in self._ourselves]

    @property
    def named(self) -> frozenset[int]:
        """Who is behind the list, this node included, as far as it was seen."""
        return frozenset({self._raft_id, *(self._at[each] for each in self.seeds if each in self._at)})

    @property
    def count(self) -> int:
        """How many nodes the list names, this one included. Two addresses of one node count once."""
        unseen = sum(each not in self._at for each in self.seeds)
        return len(self.named) + unseen

    def invite(self, address: str) -> None:
        """Somebody says that a node of a cluster is there."""
        if address not in self._invitations:
            self._invitations = [*self._invitations, address][-MAX_INVITATIONS:]

    async def look(self, seconds: float) -> Sight:
        found = await asyncio.gather(*(source.addresses() for source in self._sources))
        elsewhere = [*self._invitations, *(address for each in found for address in each)]
        addresses = [each for each in dict.fromkeys([*self._seeds, *elsewhere]) if each not in self._ourselves]
        answers = await asyncio.gather(*(self._ask(each, seconds) for each in addresses))
        standings = {each: answer for each, answer in zip(addresses, answers, strict=True) if answer}
        return self._sight(addresses, standings)

    def _sight(self, addresses: Sequence[str], answers: Mapping[str, Standing | Silence]) -> Sight:
        standings = {each: answer for each, answer in answers.items() if isinstance(answer, Standing)}
        silent = {each: answer for each, answer in answers.items() if isinstance(answer, Silence)}
        self.failures = {each: self.failures.get(each, 0) + 1 for each in silent if not silent[each].present}
        self._ourselves.update(each for each, standing in standings.items() if standing.raft_id == self._raft_id)
        self._at.update({each: standing.raft_id for each, standing in standings.items()})
        met = {each: standing for each, standing in standings.items() if each not in self._ourselves}
        seeds = {each: standing for each, standing in met.items() if each in self._seeds}
        return Sight(seeds, {each: met[each] for each in addresses if each in met and each not in seeds}, silent)

    async def _ask(self, address: str, seconds: float) -> Standing | Silence | None:
        """What it says now, or said when it refused a moment ago; None: that is this node."""
        now = asyncio.get_running_loop().time
        rest = self._refusals.get(address)
        if rest is not None and now() < rest.until:
            return rest.silence
        try:
            answer = await self._probe(address, seconds)
        except Refused as error:
            if error.reason == Reason.OURSELVES:
                self._ourselves.add(address)
                return None
            longest = STRANGERS_REST if error.reason == Reason.CLUSTER else LONGEST_REST
            pause = FIRST_REST if rest is None else min(2 * rest.pause, longest)
            silence = Silence(str(error), present=True, kind=error.reason, proven=error.proven)
            self._refusals[address] = _Rest(silence, pause, now() + pause)
            return silence
        except ScribeError as error:
            return Silence(error.message, present=not isinstance(error, NetworkError))
        self._refusals.pop(address, None)
        return answer

    async def _probe(self, address: str, seconds: float) -> Standing | Silence:
        answer, caller = await self._requests.request(address, encode(Probe()), timeout=seconds)
        standing = decode_as(Standing, answer)
        if standing.raft_id != caller.raft_id:
            said = f"it says to be {standing.raft_id}, and has proven to be {caller.raft_id}"
            return Silence(said, present=True)
        return standing


class _Rest(NamedTuple):
    """Of an address that refused."""

    silence: Silence
    pause: float
    until: float
