"""``Reception``: what a member answers to those who find it, and how it passes on what only the leader can decide.

``ask`` is for the node itself: it finds the leader, also when leadership moves in the middle, and gives what came of
it. ``answer`` is for others. A question is passed on by whoever asks: an answer is never waited for in a chain.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.formation.admission import LedgerFacts, give_key, judge
from scribe_ledger.consensus.formation.messages import (
    AskPromise,
    Done,
    Elsewhere,
    Invite,
    Join,
    Leave,
    Message,
    Probe,
    Promised,
    Replace,
    Standing,
    Transfer,
    Update,
    Welcome,
    decode,
    decode_as,
    encode,
)
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.errors import (
    ConfigurationError,
    Conflict,
    ConsensusError,
    Forbidden,
    InvalidRequest,
    NetworkError,
    NotFound,
    OutcomeUnknown,
    ScribeError,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from scribe_ledger.consensus.formation.messages import ForLeader, Requests
    from scribe_ledger.consensus.steward import Steward
    from scribe_ledger.consensus.transport.contract import Caller

PAUSE_SECONDS = 0.05
"""Before the leader is asked again."""
LEADERLESS_SECONDS = 2.0
"""After so long without a leader that this node knows of, who asks is told so: an election takes less."""
PROBE_SECONDS = 1.0
"""That another member may take to say who leads."""
NEW_STORE_SECONDS = 30.0
"""So long after the ledger has an object store, one who sees none may have looked before."""
TRY_SECONDS = 5.0
"""That one question to the leader may take."""


_UNFIT = (Reason.CLUSTER, Reason.OURSELVES, Reason.COPY, Reason.GARBAGE)
_RAFT_PORT = "name the host and raft_port at which it listens for its peers"


class Place(NamedTuple):
    """Who leads, as this node knows."""

    leader: int
    """0: nobody that it knows of."""
    address: str


class _Leaderless(ConsensusError):
    """Nobody knows of a leader."""


class Reception:
    def __init__(
        self,
        steward: Steward,
        requests: Requests,
        *,
        standing: Callable[[], Standing],
        place: Callable[[], Place],
        facts: Callable[[], LedgerFacts],
        others: Callable[[], Sequence[str]] = tuple,
        claim_store: Callable[[], Awaitable[object]] | None = None,
        tick_seconds: float,
        replace_wiped: bool = False,
        insecure: bool = False,
    ) -> None:
        self._steward = steward
        self._requests = requests
        self._standing = standing
        self._place = place
        self._facts = facts
        self._others = others
        self._claim_store = claim_store
        self._store_seen: float | None = None
        self._ticks = max(1, round(TRY_SECONDS / tick_seconds))
        self._replace_wiped = replace_wiped
        self._insecure = insecure

    # --- for others --------------------------------------------------------------------------------------------

    async def answer(self, caller: Caller, request: bytes) -> bytes:
        """The answer to anything of ``messages``; ``ScribeError`` is for who asked."""
        message = decode(request)
        match message:
            case Probe() | Invite():
                return encode(self._standing())
            case AskPromise():
                return encode(
                    Promised(granted=False, reason="it belongs to a cluster already", standing=self._standing())
                )
            case Join() | Leave() | Replace() | Transfer() | Update():
                _check_caller(message, caller, self._facts().cluster_id)
                if self._steward.view is None:
                    place = self._place()
                    return encode(Elsewhere(leader_address=place.address, leader=place.leader))
                return encode(await self._carry_out(message, caller))
        raise InvalidRequest(f"{type(message).__name__} is an answer, not a question")

    async def _carry_out(self, message: ForLeader, caller: Caller | None) -> Message:
        match message:
            case Join():
                if caller is None:
                    raise InvalidRequest("a node that joins asks by itself")
                return await self._take_in(message, caller)
            case Leave():
                await self._settled(lambda done: self._steward.leave(message.node_id, done=done, ticks=self._ticks))
                return Done(text=f"node {message.node_id} is no member any more")
            case Transfer():
                await self._settled(lambda done: self._steward.transfer(message.node_id, done=done, ticks=self._ticks))
                return Done(text=f"node {message.node_id} leads")
            case Update():
                await self._settled(lambda done: self._steward.update(message.info, done=done, ticks=self._ticks))
                return Done(text="known")
            case Replace():
                await self._settled(lambda done: self._steward.replace(message.node_id, done=done, ticks=self._ticks))
                return Done(text=f"node {message.node_id} is replaced as soon as its next self asks to join")

    async def _take_in(self, join: Join, caller: Caller) -> Welcome:
        """Judged again here, each time: who asks again gets the same answer."""
        facts = await self._facts_of_store()
        view = self._steward.view
        if view is None:
            raise ConsensusError("this node leads no longer", hint="ask again")
        replaced = judge(join, view, facts, replace_wiped=self._replace_wiped, given_up=self._steward.may_replace)
        form, key = give_key(facts, join, caller, insecure=self._insecure)
        await self._settled(lambda done: self._steward.add(join.info, replaced=replaced, done=done, ticks=self._ticks))
        members = self._steward.view.membership.members if self._steward.view else view.membership.members
        return Welcome(
            cluster_id=facts.cluster_id,
            origin=facts.origin,
            created=facts.created,
            epoch=facts.epoch,
            policies=dict(facts.policies),
            ledger_key=str(facts.key.verifier),
            key_form=form,
            key=key,
            members=tuple(members[each] for each in sorted(members)),
            leader_address=self._place().address,
        )

    async def _facts_of_store(self) -> LedgerFacts:
        """With the object store adopted, if the ledger is to have one: no two members may have different ones."""
        if self._claim_store is not None and self._facts().shares_store and not self._facts().store_id:
            try:
                await self._claim_store()
            except (Unavailable, ConfigurationError):
                raise
            except ScribeError as error:
                raise Unavailable(f"the leader cannot use the object store: {error.message}") from error
        facts, now = self._facts(), asyncio.get_running_loop().time()
        if self._store_seen is None and facts.store_id:
            self._store_seen = now
        is_new = self._store_seen is not None and now < self._store_seen + NEW_STORE_SECONDS
        return facts._replace(store_is_new=is_new)

    async def _settled(self, wish: Callable[[Callable[[ScribeError | None], object]], object]) -> None:
        """Waits until the steward says that it is so; each wish ends at its deadline at the latest."""
        future: asyncio.Future[ScribeError | None] = asyncio.get_running_loop().create_future()

        def done(error: ScribeError | None) -> None:
            if not future.done():
                future.set_result(error)

        wish(done)
        error = await future
        if error is not None:
            raise error

    # --- for this node -----------------------------------------------------------------------------------------

    async def ask(self, message: ForLeader, *, seconds: float) -> Done:
        """Has the leader do it. Raises its refusal, or ``Unavailable`` if no leader could be asked in time."""
        loop = asyncio.get_running_loop()
        deadline, tries = loop.time() + seconds, 0
        leaderless_since = None
        while True:
            tries += 1
            try:
                return await self._ask_leader(message, min(TRY_SECONDS + 1, max(0.05, deadline - loop.time())))
            except (ConsensusError, NetworkError, OutcomeUnknown) as error:  # asking twice does no harm
                now = loop.time()
                leaderless_since = (leaderless_since or now) if isinstance(error, _Leaderless) else None
                leaderless = leaderless_since is not None and now >= leaderless_since + LEADERLESS_SECONDS
                if leaderless or now + PAUSE_SECONDS >= deadline:
                    raise Unavailable(f"no leader could be asked: {error.message}", hint="try again") from error
            except NotFound:
                if isinstance(message, Leave) and tries > 1:  # gone: an earlier try got through
                    return Done(text=f"node {message.node_id} is no member any more")
                raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask_leader(self, message: ForLeader, seconds: float) -> Done:
        if self._steward.view is not None:
            done = await self._carry_out(message, None)
            if not isinstance(done, Done):
                raise InvalidRequest("a node that joins asks by itself")
            return done
        place = self._place()
        if not place.address:
            place = await self._place_by_others(seconds)
        answer, _ = await self._requests.request(place.address, encode(message), timeout=seconds, expect=place.leader)
        if isinstance(decode(answer), Elsewhere):
            raise ConsensusError("leadership is moving at the moment")
        return decode_as(Done, answer)

    async def _place_by_others(self, seconds: float) -> Place:
        """Where another member sees the leader: a node that moved is heard, but hears nothing until its new address is
        known."""
        for address in self._others():
            try:
                answer, _ = await self._requests.request(address, encode(Probe()), timeout=min(seconds, PROBE_SECONDS))
            except (ConsensusError, NetworkError, OutcomeUnknown, Unavailable):
                continue  # it is silent; there are others
            if found := decode_as(Standing, answer).leader_address:
                return Place(0, found)
        raise _Leaderless("the cluster has no leader at the moment")

    async def invite(self, node_id: int, address: str, *, seconds: float) -> Standing:
        """Tells a waiting node where the cluster is. It joins by itself then."""
        try:
            answer, _ = await self._requests.request(address, encode(Probe()), timeout=seconds)
        except Refused as error:
            if error.reason in _UNFIT:
                raise Conflict(
                    f"{address} is no node that could join: {error.message}", hint=error.hint or _RAFT_PORT
                ) from error
            raise
        found, own = decode_as(Standing, answer), self._standing()
        if found.node_id != node_id:
            raise Conflict(f"node {found.node_id} is at {address}, not node {node_id}", hint="check the address")
        if found.cluster_id == own.cluster_id:
            return found
        if found.cluster_id:
            raise Conflict(f"node {node_id} belongs to cluster {found.cluster_id}", hint="give it an empty folder")
        invite = Invite(cluster_id=own.cluster_id, node_id=node_id, address=own.address)
        answer, _ = await self._requests.request(address, encode(invite), timeout=seconds)
        return decode_as(Standing, answer)


def _check_caller(message: ForLeader, caller: Caller, cluster_id: str) -> None:
    if isinstance(message, (Join, Update)) and message.info.raft_id != caller.raft_id:
        raise Forbidden("a node speaks of itself only")
    if isinstance(message, (Join, Update)) and message.info.given_up:
        raise Forbidden("a node does not give itself up", hint="an operator does: `scribe cluster replace`")
    if not isinstance(message, Join) and caller.cluster_id != cluster_id:
        raise Forbidden("only a member changes the cluster")
