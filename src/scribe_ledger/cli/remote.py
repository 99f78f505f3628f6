"""``RemoteTarget``: the ledger of a node, as commands use it: a client, and what commands need beyond one.

Listings are begun when they are asked for, so that whatever is wrong with the question, or with the way to the node, is
said before anything is printed.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from scribe_ledger.client import answers, requests
from scribe_ledger.client.client import Client
from scribe_ledger.client.trust import as_verification
from scribe_ledger.errors import ConfigurationError, InvalidRequest, SerializationError, VerificationError
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.leaf import FORMAT, HEADER, SHA256_ALGORITHM, decode_leaf
from scribe_ledger.merkle.tiles import TILE_WIDTH, bundle_path, decode_bundle
from scribe_ledger.model import NO_PREVIOUS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scribe_ledger.cli.target import Place
    from scribe_ledger.client.arguments import Key
    from scribe_ledger.client.batch import Batch
    from scribe_ledger.client.operations import Operation
    from scribe_ledger.ledger.check import Report
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.transfer.rows import Row
    from scribe_ledger.merkle.leaf import Leaf
    from scribe_ledger.model import Entry, Receipt

TIMEOUT_SECONDS = 60.0
"""A large value takes its time to become durable."""
DEADLINE_SECONDS = 120.0
RETRIES = 4
"""A person waits: a second or two for a node that starts again, not longer."""


class RemoteTarget(Client):
    """One node, or several of one ledger, behind the URLs that were given."""

    import_bytes: ClassVar = 1 << 20
    """Below any limit that a node is likely to have; where it is not, the import makes its batches smaller."""

    def write(self, unit: Sequence[Command]) -> Sequence[Receipt]:
        """One atomic batch; a single operation goes by itself, where a value may have any size."""
        if len(unit) == 1 and unit[0].kind is Kind.PUT:
            (command,) = unit
            assert command.value is not None
            return [self.put(command.key, command.value, **_put_options(command))]
        with self.batch() as batch:
            for command in unit:
                _collect(batch, command)
        return batch.receipts

    def import_verbatim(self, rows: Iterable[Row], progress: Callable[[int], None] | None = None) -> NoReturn:
        raise InvalidRequest(
            "a node gives indexes and times itself, so entries cannot be taken over verbatim by one",
            hint="import into a folder with --data, and start the node on it; or leave out --verbatim to append",
        )

    def history(
        self, key: Key, *, as_of: int | None = None, values: bool = False, verify: bool | None = None
    ) -> Iterator[Entry]:
        return _begun(super().history(key, as_of=as_of, values=values, verify=verify))

    def scan(self, prefix: Key = b"", **options: Any) -> Iterator[Entry]:
        return _begun(super().scan(prefix, **options))

    def log(
        self, start: int = 0, stop: int | None = None, *, values: bool = False, verify: bool | None = None
    ) -> Iterator[Entry]:
        return _begun(super().log(start, stop, values=values, verify=verify))

    def log_with_values(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        return self.log(start, stop, values=True)

    def scan_with_values(self) -> Iterator[Entry]:
        return self.scan(values=True)

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """The leaves of one entry bundle, whose first is ``start``, as far as ``stop``."""
        index, width = start // TILE_WIDTH, stop - start
        assert index * TILE_WIDTH == start
        data = self._run(_fetch(f"/tlog/{bundle_path(index, width)}"))
        try:
            leaves = decode_bundle(data)
        except SerializationError as error:
            raise as_verification(error) from error
        if len(leaves) != width:
            raise VerificationError(f"the node gives {len(leaves)} leaves from entry {start} on, not {width}")
        return leaves

    def verify(self, progress: Callable[[int, int], None] | None = None) -> Report:
        raise InvalidRequest(
            "fsck reads what lies in a node's folder, which a URL does not show",
            hint="check the log with `scribe verify --audit`; or stop the node and run `scribe fsck --data DIR`",
        )

    def show_manifest(self, since: int | None = None) -> dict[str, Any]:
        return self.manifest(since)

    def archive_now(self) -> dict[str, Any]:
        return self.archive()


def open_remote(place: Place, *, name: str) -> RemoteTarget:
    """Nothing is sent yet, but for a ``name`` that has to be compared."""
    from scribe_ledger.cli.trusting import public_key_of, trust_file

    assert place.url is not None
    public_key = None if place.public_key is None else public_key_of(place.public_key)
    target = RemoteTarget(
        [url.strip() for url in place.url.split(",")],
        public_key=public_key,
        trust=trust_file(place.trust, public_key),
        timeout=TIMEOUT_SECONDS,
        deadline=DEADLINE_SECONDS,
        retries=RETRIES,
    )
    try:
        if name and name != target.origin:
            raise ConfigurationError(
                f"the ledger at {place.url} is named {target.origin!r}, not {name!r}",
                hint="a name is given once, at creation; leave it out, or name another URL",
            )
    except BaseException:
        target.close()
        raise
    return target


def _fetch(path: str) -> Operation[bytes]:
    return answers.bytes_of((yield requests.get(path.encode())))


def _begun(entries: Iterator[Entry]) -> Iterator[Entry]:
    first = next(entries, None)
    return iter(()) if first is None else chain([first], entries)


def _collect(batch: Batch, command: Command) -> None:
    if command.kind is Kind.DELETE:
        batch.delete(command.key, metadata=_leaf_of(command).metadata, **_conditions(command))
    else:
        assert command.value is not None
        batch.put(command.key, command.value, **_put_options(command))


def _put_options(command: Command) -> Any:
    leaf = _leaf_of(command)
    absent = {"if_absent": True} if command.condition is not None and command.condition.absent else {}
    return {
        "content_type": leaf.content_type,
        "metadata": leaf.metadata,
        "dedupe": command.dedupe,
        **absent,
        **_conditions(command),
    }


def _conditions(command: Command) -> Any:
    assert not command.request, "of a request id a command keeps the digest alone"
    condition = command.condition
    return {} if condition is None else {"if_index": condition.index, "if_version": condition.version}


def _leaf_of(command: Command) -> Leaf:
    """Content type and metadata stand in the end of the leaf that a command carries."""
    header = HEADER.pack(
        FORMAT, SHA256_ALGORITHM, command.kind, 0, 0, 0, 1, NO_PREVIOUS, command.size, command.sha256, ZERO_HASH
    )
    return decode_leaf(header + command.tail)
