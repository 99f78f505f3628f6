"""``Formation``: whether a node founds a cluster, joins one or is a member, from what it has and whom it finds.

It decides and asks; it makes no ledger. Its owner passes requests of others to ``answer`` from before ``run`` until
it can answer as a member. Invariants: a member's folder leads to nothing but ``Restart``; nobody founds while it sees a
cluster, or an object store that holds a ledger; what is promised is kept (``promises``).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import structlog

from scribe_ledger.consensus.formation.finding import announce_forever
from scribe_ledger.consensus.formation.joining import Joined, Joiner
from scribe_ledger.consensus.formation.looking import Lookout, Sight, Silence
from scribe_ledger.consensus.formation.messages import (
    AskPromise,
    Invite,
    Join,
    Probe,
    Promised,
    Standing,
    decode,
    decode_as,
    encode,
)
from scribe_ledger.consensus.formation.promises import Promises
from scribe_ledger.errors import ConfigurationError, Conflict, Forbidden, ScribeError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from random import Random

    from scribe_ledger.consensus.formation.finding import Source
    from scribe_ledger.consensus.formation.identity import NodeIdentity
    from scribe_ledger.consensus.formation.messages import Requests
    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.consensus.transport.contract import Caller

MAX_SAYINGS = 20
"""Lines about waiting in ``Timings.say_again``."""
log = structlog.get_logger("scribe.cluster")


class Restart(NamedTuple):
    """It is a member already."""

    cluster_id: str


class Founded(NamedTuple):
    """It is to make the cluster, of its own ledger or of a new one, and to say so with ``save_member``."""

    bootstrap: bool
    awaits: int = 0
    """How many voters it is to have before it is ready. Whoever says ``--bootstrap`` may mean to be alone."""


Outcome: TypeAlias = Restart | Founded | Joined


class Holdings(NamedTuple):
    """What the folder has before this node belongs to a cluster."""

    ledger_id: str = ""
    """Of a ledger that stood alone; or of the cluster's, if a join was cut short after that was made."""
    entries: int = 0
    ledger_key: str = ""
    """The verifier of the ``ledger.key`` that is there: an operator may have put it into an empty folder."""


class Timings(NamedTuple):
    """Seconds."""

    probe: float = 1.0
    ask: float = 1.0
    join: float = 6.0
    pause: tuple[float, float] = (0.03, 0.08)
    """Between two looks, at first."""
    eager: float = 10.0
    """For so long."""
    later: tuple[float, float] = (0.4, 0.8)
    say_again: float = 30.0
    absent_looks: int = 3
    """After so many a seed that never answered counts as absent for ``--bootstrap``."""


class Formation:
    def __init__(
        self,
        identity: NodeIdentity,
        requests: Requests,
        info: MemberInfo,
        *,
        random: Random,
        store_ledger: Callable[[], Awaitable[str]],
        store_id: Callable[[], Awaitable[str]] | None = None,
        seeds: Sequence[str] = (),
        sources: Sequence[Source] = (),
        bootstrap: bool = False,
        holdings: Holdings = Holdings(),  # noqa: B008 - immutable
        policies: Mapping[str, str] | None = None,
        shares_store: bool = False,
        timings: Timings = Timings(),  # noqa: B008 - immutable
        on_waiting: Callable[[str], object] = lambda _: None,
    ) -> None:
        """``store_ledger``: the id of the ledger that the object store holds, empty for none.

        ``on_waiting`` is told what this node waits for, after each look.

        ``store_id``: of the store, which has one as soon as somebody has used it; without it ``info`` says all.
        """
        self._identity = identity
        self._requests = requests
        self._info = info
        self._random = random
        self._store_ledger = store_ledger
        self._store_id = store_id
        self._sources = sources
        self._bootstrap = bootstrap
        self._holdings = holdings
        self._timings = timings
        self._on_waiting = on_waiting
        self._lookout = Lookout(
            requests, raft_id=identity.raft_id, address=info.raft_address, seeds=seeds, sources=sources
        )
        self._promises = Promises(
            identity,
            node_id=info.node_id,
            address=info.raft_address,
            bootstrap=bootstrap,
            entries=holdings.entries,
        )
        join = Join(
            info=info,
            entries=holdings.entries,
            policies=dict(policies or {}),
            ledger_key=holdings.ledger_key,
            shares_store=shares_store,
        )
        self._joiner = Joiner(requests, join)
        self._woken = asyncio.Event()
        self._said: dict[str, float] = {}
        self._objections: dict[str, str] = {}

    @property
    def standing(self) -> Standing:
        return self._promises.standing

    async def run(self) -> Outcome:
        """Returns when it is decided, however long that takes; what an operator must change is raised."""
        if self._identity.cluster_id:
            if self._bootstrap:
                log.info("this node is a member already: --bootstrap does nothing", cluster=self._identity.cluster_id)
            return Restart(self._identity.cluster_id)
        self._check_holdings()
        announcing = asyncio.create_task(announce_forever(self._sources, lambda: self.standing))
        try:
            return await self._decide()
        finally:
            announcing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await announcing

    async def answer(self, caller: Caller, request: bytes) -> bytes:
        """What others ask of a node that is no member yet."""
        message = decode(request)
        if isinstance(message, Probe):
            return encode(self.standing)
        if isinstance(message, AskPromise):
            if message.candidate.raft_id != caller.raft_id:
                raise Forbidden("a node asks for promises for itself only")
            self._woken.set()
            lookout = self._lookout
            return encode(self._promises.consider(message, named=lookout.named, count=lookout.count))
        if isinstance(message, Invite):
            return self._invited(caller, message)
        raise Unavailable("this node belongs to no cluster yet", hint="ask again in a moment")

    # --- deciding ----------------------------------------------------------------------------------------------

    async def _decide(self) -> Outcome:
        loop = asyncio.get_running_loop()
        eager_until = loop.time() + self._timings.eager
        while True:
            self._woken.clear()
            mark = self._promises.mark
            sight = await self._lookout.look(self._timings.probe)
            self._promises.release(sight.all.values(), mark)
            outcome = await self._next(sight)
            if outcome is not None:
                return outcome
            pause = self._timings.pause if loop.time() < eager_until else self._timings.later
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._random.uniform(*pause)):
                    await self._woken.wait()

    async def _next(self, sight: Sight) -> Outcome | None:
        cluster_id = self._cluster_in(sight)
        if cluster_id:
            return await self._join(sight, cluster_id)
        self._check_labels(sight)
        if await self._found(sight):
            log.info("this node founds the cluster", by="--bootstrap" if self._bootstrap else "agreement")
            return Founded(self._bootstrap, 0 if self._bootstrap else _majority(self._lookout.count))
        self._say(self._waiting(sight), is_refused=any(each.present for each in sight.silent.values()))
        return None

    async def _join(self, sight: Sight, cluster_id: str) -> Joined | None:
        if self._holdings.entries or self._holdings.ledger_id not in ("", cluster_id):
            raise self._cannot_join(cluster_id)
        if self._promises.stage != "joining":
            self._promises.stage = "joining"
            log.info("a cluster is found: this node asks to join", cluster=cluster_id)
        members = [(address, each) for address, each in sight.all.items() if each.cluster_id == cluster_id]
        leaders = [each.leader_address for _, each in members if each.leader_address]
        addresses = [*leaders, *(address for address, _ in members)]
        if self._store_id is not None:
            self._joiner.store_id = await self._store_id()
        joined = await self._joiner.ask(addresses, cluster_id, self._timings.join)
        if joined is None:
            self._say(f"not in the cluster yet: {self._joiner.waiting_for}")
        return joined

    async def _found(self, sight: Sight) -> bool:
        """Whether this node founds: asks those that it sees for their promises, if it comes first among them."""
        lookout, promises = self._lookout, self._promises
        asked = sight.all if self._bootstrap else sight.seeds
        if not promises.may_stand() or not promises.is_best(asked.values()):
            return False
        if self._bootstrap:
            if any(lookout.failures.get(each, 0) < self._timings.absent_looks for each in sight.silent):
                return False  # who refuses is alive, and may belong to a cluster
        elif not lookout.seeds or len(sight.near) + 1 < _majority(lookout.count):
            return False
        await self._check_store()
        if not promises.may_stand():
            return False  # promised while the store was asked
        candidacy = promises.stand()
        granted = await self._ask_promises(asked)
        enough = granted >= {each.raft_id for each in asked.values()} if self._bootstrap else (
            len(granted | {self._identity.raft_id}) >= _majority(lookout.count)
        )  # fmt: skip
        return promises.decide(candidacy, enough=enough)

    async def _ask_promises(self, asked: Mapping[str, Standing]) -> set[int]:
        ask = AskPromise(candidate=self.standing, named=tuple(sorted(self._lookout.named)), count=self._lookout.count)
        self._objections = {}
        answers = await asyncio.gather(*(self._ask_promise(address, ask) for address in asked))
        return {each.standing.raft_id for each in answers if each is not None and each.granted}

    async def _ask_promise(self, address: str, ask: AskPromise) -> Promised | None:
        try:
            answer, caller = await self._requests.request(address, encode(ask), timeout=self._timings.ask)
            promised = decode_as(Promised, answer)
        except ScribeError as error:
            self._objections[address] = error.message
            return None
        if promised.standing.raft_id != caller.raft_id:
            return None
        if not promised.granted:
            self._objections[address] = promised.reason
        return promised

    def _cluster_in(self, sight: Sight) -> str:
        """The cluster that seeds belong to; else the one that is found elsewhere."""
        for standings in (sight.seeds, sight.others):
            clusters = {each.cluster_id: address for address, each in standings.items() if each.cluster_id}
            if len(clusters) > 1:
                found = " and ".join(f"{cluster} at {address}" for cluster, address in clusters.items())
                raise ConfigurationError(
                    f"there is more than one cluster to join: {found}",
                    hint="name only members of one cluster in network.seed_peers",
                )
            if clusters:
                return next(iter(clusters))
        return ""

    # --- what an operator must change --------------------------------------------------------------------------

    def _check_holdings(self) -> None:
        if self._holdings.entries and not self._bootstrap:
            raise ConfigurationError(
                f"the folder holds a ledger of its own, with {self._holdings.entries} entries, and cannot join",
                hint="start it with --bootstrap to make it the first member, or give this node an empty folder",
            )

    def _cannot_join(self, cluster_id: str) -> ScribeError:
        return ConfigurationError(
            f"the folder holds a ledger of its own, with {self._holdings.entries} entries, "
            f"and the cluster that is there, {cluster_id}, has another",
            hint="give this node an empty folder; or, if this ledger is the one to keep, stop the nodes of that "
            "cluster, give them empty folders, and start this one with --bootstrap first; or remove seeds that "
            "belong to another cluster",
        )

    def _check_labels(self, sight: Sight) -> None:
        for address, each in sight.seeds.items():
            if each.node_id == self._info.node_id:
                raise ConfigurationError(
                    f"the nodes at {self._info.raft_address} and {address} are both node {each.node_id}",
                    hint="give each node its own [node] id",
                )
            if each.entries and self._holdings.entries:
                raise ConfigurationError(
                    f"the nodes at {self._info.raft_address} and {address} both hold a ledger of their own",
                    hint="one cluster has one ledger: give one of the nodes an empty folder",
                )

    async def _check_store(self) -> None:
        found = await self._store_ledger()
        if found and found != self._holdings.ledger_id:
            raise ConfigurationError(
                f"the object store holds a ledger, {found}: a new cluster would begin another",
                hint="bring it back with `scribe restore`, or name another object store",
            )

    # --- invitations, and what is said -------------------------------------------------------------------------

    def _invited(self, caller: Caller, invite: Invite) -> bytes:
        if not caller.cluster_id or caller.cluster_id != invite.cluster_id:
            raise Forbidden("only a member invites to its cluster")
        if invite.node_id != self._info.node_id:
            raise Conflict(f"here is node {self._info.node_id}, not node {invite.node_id}", hint="check the address")
        if self._holdings.entries:
            raise self._cannot_join(invite.cluster_id)
        self._lookout.invite(invite.address)
        self._woken.set()
        return encode(self.standing)

    def _waiting(self, sight: Sight) -> str:
        promise = self._promises.to_another
        if promise is not None:
            return (
                f"waits for the node at {promise.address} to found the cluster, as promised "
                "(if that node is gone for good, start this one on an empty folder)"
            )
        seen = ", ".join(f"node {each.node_id} at {address}" for address, each in sorted(sight.all.items()))
        present = any(each.present for each in sight.silent.values())
        seen = f"sees {seen}" if seen else "is refused" if present else "sees nobody"
        silent = "".join(f"; {_silence(*each)}" for each in sorted(sight.silent.items()))
        objections = "".join(f"; {address} objects: {reason}" for address, reason in sorted(self._objections.items()))
        hint = "" if self._lookout.seeds or self._bootstrap else "; without seeds a cluster begins with --bootstrap"
        return f"looks for a cluster, and {seen}{silent}{objections}{hint}"

    def _say(self, text: str, *, is_refused: bool = False) -> None:
        """Once, and again after a while."""
        self._on_waiting(text)
        now = asyncio.get_running_loop().time()
        lately = {each: at for each, at in self._said.items() if now - at < self._timings.say_again}
        if text not in lately and len(lately) < MAX_SAYINGS:
            (log.warning if is_refused else log.info)(text)
            lately[text] = now
        self._said = lately


def _silence(address: str, silence: Silence) -> str:
    if silence.present:
        return f"{address} refuses: {silence.reason}"
    return silence.reason if silence.reason.startswith(address) else f"{address}: {silence.reason}"


def _majority(count: int) -> int:
    return count // 2 + 1
