"""Logs to seal, built by the real leaf codec, and stores that count."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.leaf import Leaf
from scribe_ledger.model import Kind
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.segments.writing import Group, SealedSegment, gather, seal

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.segments.segment import Segment

LEDGER = "0123456789abcdef0123456789abcdef"


class Written(NamedTuple):
    """What was written at one index. ``value`` is None where no segment holds one."""

    leaf: Leaf
    value: bytes | None


class Log:
    """Appends entries as a ledger would: versions and previous entries follow from the key."""

    def __init__(self, first_index: int = 0) -> None:
        self.first_index = first_index
        self.entries: list[Written] = []
        self._latest: dict[bytes, tuple[int, int]] = {}

    def put(
        self,
        key: bytes,
        value: bytes = b"",
        *,
        content_type: str = "",
        metadata: dict[str, str] | None = None,
        blob_size: int = 0,
    ) -> None:
        chunk_root = sha256(value).digest() if blob_size else ZERO_HASH
        size = blob_size or len(value)
        self._append(
            Kind.PUT,
            key,
            size,
            sha256(value).digest(),
            chunk_root,
            None if blob_size else value,
            content_type,
            metadata,
        )

    def delete(self, key: bytes) -> None:
        self._append(Kind.DELETE, key, 0, ZERO_HASH, ZERO_HASH, None, "", None)

    def configure(self, value: bytes) -> None:
        self._append(Kind.CONFIG, b"", len(value), sha256(value).digest(), ZERO_HASH, value, "", None)

    def groups(self, size: int = 64) -> list[Group]:
        found = []
        for at in range(0, len(self.entries), size):
            part = self.entries[at : at + size]
            leaves = [written.leaf.encode() for written in part]
            found.append(Group(self.first_index + at, leaves, [written.value or b"" for written in part]))
        return found

    def leaves(self) -> list[bytes]:
        return [written.leaf.encode() for written in self.entries]

    def seal(self, folder: Path, **options: object) -> SealedSegment:
        return seal(gather(self.groups()), ledger_id=LEDGER, folder=folder, **options)  # type: ignore[arg-type]

    def _append(
        self,
        kind: Kind,
        key: bytes,
        size: int,
        digest: bytes,
        chunk_root: bytes,
        value: bytes | None,
        content_type: str,
        metadata: dict[str, str] | None,
    ) -> None:
        index = self.first_index + len(self.entries)
        previous, version = self._latest.get(key, (None, 0))
        if key:
            version += 1
            self._latest[key] = (index, version)
        leaf = Leaf(
            kind, index, 1_700_000_000_000 + index, version, previous if key else None, size, digest, chunk_root, key,
            content_type, metadata or {},
        )  # fmt: skip
        self.entries.append(Written(leaf, value))


KEYS = st.one_of(
    st.sampled_from([b"a", b"a\0", b"b", b"\xff\xff"]),
    st.binary(min_size=1, max_size=40),
    st.builds(lambda start, size: start * size, st.binary(min_size=1, max_size=1), st.sampled_from([255, 4096])),
)
CONTENT_TYPES = st.sampled_from(["", "text/plain", "application/json; charset=utf-8"])
METADATA = st.dictionaries(
    st.text("abcdefgh-", min_size=1, max_size=9),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
    max_size=3,
)


@st.composite
def logs(draw: st.DrawFn, max_size: int = 40) -> Log:
    log = Log(draw(st.sampled_from([0, 1, 255, 1 << 40])))
    for what in draw(
        st.lists(st.sampled_from(["put", "put", "rich", "blob", "delete", "config"]), min_size=1, max_size=max_size)
    ):
        if what == "config":
            log.configure(draw(st.binary(max_size=20)))
            continue
        key = draw(KEYS)
        if what == "delete":
            log.delete(key)
        elif what == "blob":
            log.put(key, draw(st.binary(max_size=20)), blob_size=300_000)
        elif what == "rich":
            log.put(key, draw(st.binary(max_size=60)), content_type=draw(CONTENT_TYPES), metadata=draw(METADATA))
        else:
            log.put(key, draw(st.binary(max_size=60)))
    return log


def many(count: int, *, value_bytes: int = 128, keys: int = 0, first_index: int = 0) -> Log:
    """Entries whose values tell their index; over ``keys`` keys in turn, or all different."""
    log = Log(first_index)
    for number in range(first_index, first_index + count):
        key = b"key/%08d" % (number * 7919 % keys if keys else number * 7919 % 1_000_003)
        log.put(key, (b"%d " % number).ljust(value_bytes, b"x"))
    return log


class CountingStore(FolderStore):
    """A folder that counts the ranged reads, and can be made to fail them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[tuple[str, int, int]] = []
        self.failure: Exception | None = None

    def get_range(self, path: str, start: int, stop: int) -> bytes | None:
        self.reads.append((path, start, stop))
        if self.failure is not None:
            raise self.failure
        return super().get_range(path, start, stop)

    def keep(self, sealed: SealedSegment) -> Segment:
        with sealed:
            assert self.put_file(sealed.segment.path, sealed.path)
        return sealed.segment
