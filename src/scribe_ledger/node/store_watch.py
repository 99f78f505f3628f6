"""``StoreWatch``: looks at the object store when the node starts and now and then afterwards, and says what it finds.

A store that cannot be reached is a warning: the node works on what it has. A store of another ledger is a refusal to
start, and so is, for a member, another one than its ledger has adopted. A member that could not ask when it started
ends what it serves. Where the right store was found before, it is an outage: it may be altered, or mounted wrongly, and
be right again; nobody is refused for it who does not need the store, and the archiver is woken when it is. A member
whose settings name no store, though its cluster has one, is degraded, and has no archiver. A store in which another
node has gone on with this ledger (a higher epoch, or entries that this one never had) ends writing here, loudly, and
reads go on.
"""

from __future__ import annotations

import asyncio
from time import monotonic, time
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.errors import ConfigurationError, Corruption, ScribeError, Unavailable
from scribe_ledger.http.archiving import StoreHealth
from scribe_ledger.ledger.guard import Superseded
from scribe_ledger.objects.identity import not_that_store, read_identity

if TYPE_CHECKING:
    from scribe_ledger.archive.leading import Leading
    from scribe_ledger.http.service import Service
    from scribe_ledger.ledger.served import ServedLedger

CHECK_SECONDS = 15.0
"""Between two looks, each of which is one small request."""
GUARD_SECONDS = 300.0
"""Between two questions whether another node has taken this ledger over, which list some objects."""
DEADLINE_SECONDS = 15.0
"""So long a look may take. A start waits no longer for it."""
log = structlog.get_logger("scribe.store")


class StoreWatch:
    """Keeps ``Service.store_health``, and tells the log when that changes. The archiver tells for itself."""

    def __init__(self, service: Service, *, leading: Leading | None = None, is_named: bool = True) -> None:
        """``is_named``: whether the settings name the store; if not it is one in the ledger's own folder."""
        self._service = service
        self._is_named = is_named
        self._leading = leading
        self._ledger = service.ledger
        self._guarded = float("-inf")
        self._was_right = False
        """Whether this ledger's own store was found under that URL since the start."""
        self._looking: asyncio.Future[None] | None = None

    async def begin(self) -> None:
        """Before the first request. Raises ``ConfigurationError`` where the store is another ledger's."""
        await self.look()

    async def run(self) -> None:
        """Until it is cancelled. What it raises is for its owner to act on."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.look()
            except ConfigurationError as error:
                self._note(error)
                if self._service.cluster is not None and not self._was_right:
                    found = Unavailable(error.message, hint=error.hint)
                    found.__cause__ = error
                    self._service.cluster.fail(found)

    async def look(self) -> None:
        """Raises ``ConfigurationError`` where the store is not this ledger's."""
        try:
            await self._within_deadline()
        except ConfigurationError:
            raise
        except ScribeError as error:
            self._note(error)
        else:
            if not self._has_none:
                self._note(None)

    @property
    def _has_none(self) -> bool:
        """Whether this is a member of a cluster that keeps nothing in a store."""
        return self._leading is not None and not self._is_named and not self._ledger.manifest.store_id

    async def _within_deadline(self) -> None:
        """One look at a time: a thread that waits for the store is waited for again, not joined by another."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(asyncio.to_thread(self._look))
        if not (await asyncio.wait([self._looking], timeout=DEADLINE_SECONDS))[0]:
            raise Unavailable(f"{self._ledger.objects.url} did not answer within {DEADLINE_SECONDS:g} seconds")
        self._looking.result()

    def _look(self) -> None:
        """In a thread."""
        if self._has_none:
            return
        try:
            self._check()
        except (ConfigurationError, Corruption):
            self._ledger.forget_store()  # large values must not go where another's are
            raise

    def _check(self) -> None:
        leading = self._leading
        if leading is not None:  # before the check writes anything: where a mount is missing, that is not the store
            is_used = _check_is_shared(self._ledger, is_named=self._is_named)
            if not is_used and not leading.term:
                return  # the leader makes it; a member that lags may not know that it has
            self._was_right = is_used or self._was_right
        self._ledger.objects.check()
        if leading is not None and not leading.term:
            return
        if monotonic() - self._guarded >= GUARD_SECONDS or (leading is None and not _is_own(self._ledger)):
            if leading is not None:
                leading.catch_up()
            _guard(self._ledger)
            self._guarded = monotonic()

    # --- telling -----------------------------------------------------------------------------------------------

    def _note(self, error: ScribeError | None) -> None:
        service, url = self._service, self._ledger.objects.url
        before = service.store_health
        service.store_health = StoreHealth(url, error is None, str(error or ""), int(time() * 1000))
        if error is not None and before.ok is not False:
            log.warning("the object store cannot be used", object_store=url, error=str(error))
        elif error is None and before.ok is False:
            log.info("the object store can be used again", object_store=url)
            if service.archiver is not None:
                service.archiver.wake()


def _is_own(ledger: ServedLedger) -> bool:
    """Whether the store says that it is still the one that was adopted; who adopted none has none to miss."""
    if not ledger.manifest.store_id:
        return True
    found = read_identity(ledger.objects)
    return found is not None and (found.ledger_id, found.store_id) == (ledger.ledger_id, ledger.manifest.store_id)


def _check_is_shared(ledger: ServedLedger, *, is_named: bool) -> bool:
    """That the store is the one that the members share, if they have one; whether anybody has used it yet."""
    adopted = ledger.manifest.store_id  # before the store is asked: it is claimed first
    found = read_identity(ledger.objects)
    if found is None and adopted and not is_named:
        raise Unavailable(
            f"this cluster keeps large values and its archive in the object store {adopted}, and the settings of this"
            " node name none",
            hint="set [storage] object_store as on the other members, and start the node again",
        )
    if found is None and adopted:
        raise not_that_store(ledger.objects, adopted)
    if found is not None and found.ledger_id == ledger.ledger_id and adopted not in ("", found.store_id):
        raise ConfigurationError(
            f"{ledger.objects.url} is the object store {found.store_id}, and this cluster uses {adopted}",
            hint="set [storage] object_store as on the other members",
        )
    if found is not None and found.ledger_id != ledger.ledger_id:
        raise ConfigurationError(
            f"{ledger.objects.url} holds the objects of {found.origin} (ledger {found.ledger_id}), and this cluster's"
            f" ledger is {ledger.ledger_id}",
            hint="name the store that the other members use",
        )
    return found is not None


def _guard(ledger: ServedLedger) -> None:
    """Whether this node may write into the store; who may not do that may not write at all.

    A store that nobody has used stays so until there is something to put there.
    """
    if ledger.identity.read_only or isinstance(ledger.failure, Superseded):
        return
    if not ledger.manifest.store_id:
        if read_identity(ledger.objects) is None:
            return
        ledger.adopt_store()
    try:
        ledger.check_store()
    except Superseded as error:
        ledger.refuse_writes(error)
        log.error("the store does not let this node go on: writes are refused", error=str(error))  # noqa: TRY400
