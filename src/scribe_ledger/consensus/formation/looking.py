"""``Lookout``: who is where, right now. Asks every address that seeds, sources and invitations give, all at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.formation.messages import Probe, Standing, decode_as, encode
from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scribe_ledger.consensus.formation.finding import Source
    from scribe_ledger.consensus.formation.messages import Requests

MAX_INVITATIONS = 64


class Sight(NamedTuple):
    """What one look has shown."""

    seeds: Mapping[str, Standing]
    """By address; without this node."""
    others: Mapping[str, Standing]
    """Who is found elsewhere."""
    silent: Mapping[str, str]
    """Why an address gave no answer."""

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
        """Looks in a row that an address did not answer."""

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
        answers = await asyncio.gather(*(self._probe(each, seconds) for each in addresses))
        standings = {each: answer for each, answer in zip(addresses, answers, strict=True) if answer}
        return self._sight(addresses, standings)

    def _sight(self, addresses: Sequence[str], answers: Mapping[str, Standing | str]) -> Sight:
        standings = {each: answer for each, answer in answers.items() if isinstance(answer, Standing)}
        silent = {each: answer for each, answer in answers.items() if isinstance(answer, str)}
        self.failures = {each: self.failures.get(each, 0) + 1 for each in silent}
        self._ourselves.update(each for each, standing in standings.items() if standing.raft_id == self._raft_id)
        self._at.update({each: standing.raft_id for each, standing in standings.items()})
        met = {each: standing for each, standing in standings.items() if each not in self._ourselves}
        seeds = {each: standing for each, standing in met.items() if each in self._seeds}
        return Sight(seeds, {each: met[each] for each in addresses if each in met and each not in seeds}, silent)

    async def _probe(self, address: str, seconds: float) -> Standing | str:
        try:
            answer, caller = await self._requests.request(address, encode(Probe()), timeout=seconds)
            standing = decode_as(Standing, answer)
        except ScribeError as error:
            if getattr(error, "reason", "") == "ourselves":
                self._ourselves.add(address)
                return ""
            return error.message
        if standing.raft_id != caller.raft_id:
            return f"it says to be {standing.raft_id}, and has proven to be {caller.raft_id}"
        return standing
