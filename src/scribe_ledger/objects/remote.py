"""A bucket as an object store: S3, GCS and Azure, through obstore, with what must be exact done here.

Invariants: never more than ``pool_size`` sockets, and fewer requests (see ``slots``). A request that fails for a
passing reason is sent again after 100 ms × 2ⁿ with jitter, until ``max_retries`` tries are made, at least one; then one
``Unavailable`` names the object and the store. A refusal (wrong credentials, no such bucket) is the same error at once,
since credentials expire and are renewed while a node runs. No request is tried twice by anybody else: obstore's own
retries are off.

It opens nothing by itself: ``opening`` builds the client. Large objects go by multipart; they appear in one step too.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from random import random
from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

from scribe_ledger.errors import StorageError, Unavailable
from scribe_ledger.objects.durable import storage_errors
from scribe_ledger.objects.failures import Failure, Kind, hint_for, judge
from scribe_ledger.objects.paths import IDENTITY, checked_path
from scribe_ledger.objects.remote_file import RemoteFile
from scribe_ledger.objects.slots import Slots
from scribe_ledger.objects.store import ListedObject, ObjectStat, check_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import ObjectStore as Client

_T = TypeVar("_T")
_Page: TypeAlias = tuple[ListedObject, ...]

MULTIPART_BYTES = 8 << 20
"""From this size on an object goes by multipart, in parts of at least this size."""

CHECK_SECONDS = 5
FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 20.0
_MAX_PARTS = 10_000
_PAGE = 1000


class RemoteStore:
    """Objects under one prefix of a bucket. Safe for use by several threads at once."""

    is_local = False

    def __init__(
        self,
        client: Client,
        url: str,
        *,
        pool_size: int,
        max_retries: int,
        late_secs: float,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[], float] = random,
    ) -> None:
        """``url`` is for people; ``jitter`` gives numbers from 0 to 1."""
        self._client: Client | None = client
        self._url = url.rstrip("/")
        self.late_secs = late_secs
        self._most_tries = max(1, max_retries)
        self._slots = Slots(pool_size)
        self._sleep = sleep
        self._jitter = jitter

    @property
    def url(self) -> str:
        return self._url

    def place(self, path: str) -> str:
        return f"{self._url}/{path}" if path else self._url

    # --- writing -------------------------------------------------------------------------------------------------

    def put_bytes(self, path: str, content: bytes, *, replace: bool = False) -> bool:
        """Store an object, durable on return; False where one exists and is not to be replaced.

        A try may succeed although its answer is lost; the next one then finds the object. Up to 8 MiB the bytes are
        compared, so that the answer is still True; of a larger one it is False, and the caller compares digests.
        """
        if len(content) >= MULTIPART_BYTES:
            return self._put_parts(path, content, len(content), replace=replace)
        import obstore

        tries = 0

        def request() -> None:
            nonlocal tries
            tries += 1
            client = self._open_client()
            obstore.put(client, path, content, mode="overwrite" if replace else "create", use_multipart=False)

        try:
            self._ask("write", checked_path(path), request, expected=Kind.EXISTS)
        except Failure:
            return tries > 1 and self.get(path) == content
        return True

    def put_file(self, path: str, source: Path, *, replace: bool = False) -> bool:
        """Like ``put_bytes``, for a finished file of any size, in constant memory. The source stays."""
        with storage_errors("read", source):
            size = source.stat().st_size
            if size < MULTIPART_BYTES:
                return self.put_bytes(path, source.read_bytes(), replace=replace)
        return self._put_parts(path, source, size, replace=replace)

    def delete(self, path: str) -> int:
        """Remove an object, if there is one; how often that was asked for."""
        import obstore

        tries = 0

        def request() -> None:
            nonlocal tries
            tries += 1
            obstore.delete(self._open_client(), path)

        with contextlib.suppress(Failure):  # it is not there, which S3 does not even tell
            self._ask("delete", checked_path(path), request, expected=Kind.ABSENT)
        return tries

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, path: str) -> bytes | None:
        # As a range, because only then the answer says how long the object is apart from how long the body is.
        return self._read(path, 0, None)

    def get_range(self, path: str, start: int, stop: int) -> bytes | None:
        check_range(start, stop)
        if start == stop:
            return None if self.stat(path) is None else b""
        return self._read(path, start, stop)

    def open(self, path: str) -> BinaryIO | None:
        found = self.stat(path)
        return None if found is None else cast("BinaryIO", RemoteFile(self, path, found.size))

    def stat(self, path: str) -> ObjectStat | None:
        """Asks for the first byte: the answer to HEAD has no body that would tell a missing object from a bucket."""
        import obstore

        def request() -> ObjectStat:
            try:
                result = self._fetch(path, 0, 1)
                result.bytes()
                meta = result.meta
            except Exception as error:
                if judge(error).kind is not Kind.BEYOND:
                    raise
                meta = obstore.head(self._open_client(), path)  # an empty object has no first byte
            return ObjectStat(meta["size"], meta["last_modified"].timestamp())

        try:
            return self._ask("look up", checked_path(path), request, expected=Kind.ABSENT)
        except Failure:
            return None

    def list(self, prefix: str, *, after: str = "") -> Iterator[ListedObject]:
        return self._list(checked_path(prefix) if prefix else "", after)

    # --- health --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """One small request without retries, given up after a few seconds."""
        # In a thread of its own, because the caller's may have an event loop.
        with ThreadPoolExecutor(1, thread_name_prefix="scribe-store-check") as thread:
            failure = thread.submit(self._check).result()
        if failure is not None:
            raise self._error("use", "", failure) from failure

    def close(self) -> None:
        """Idle sockets are closed; requests under way end by themselves."""
        self._client = None

    # --- helpers -------------------------------------------------------------------------------------------------

    def _ask(self, operation: str, path: str, request: Callable[[], _T], *, expected: Kind | None = None) -> _T:
        """The answer, after as many tries as allowed; raises Failure only for what is ``expected``."""
        tries = 1
        while True:
            self._slots.take()
            try:
                return request()
            except Failure as failure:
                failed = failure
            except (StorageError, ValueError):
                raise
            except Exception as error:  # noqa: BLE001  # obstore's classes, and FileNotFoundError; judged below
                failed = judge(error)
            finally:
                self._slots.give_back()
            if failed.kind is expected:
                raise failed
            if failed.kind is not Kind.PASSING or tries >= self._most_tries:
                failed.tries = tries
                raise self._error(operation, path, failed) from failed
            self._sleep(min(FIRST_PAUSE_SECONDS * 2 ** (tries - 1), MAX_PAUSE_SECONDS) * (0.5 + self._jitter() / 2))
            tries += 1

    def _error(self, operation: str, path: str, failure: Failure) -> Unavailable:
        after = f" after {failure.tries} tries" if failure.tries > 1 else ""
        return Unavailable(
            f"cannot {operation} {self.place(path)}{after}: {failure}", hint=hint_for(failure, self._url)
        )

    def _open_client(self) -> Client:
        if self._client is None:
            raise StorageError(f"the object store {self._url} was closed")
        return self._client

    def _fetch(self, path: str, start: int, stop: int | None) -> GetResult:
        import obstore

        options: GetOptions = {"range": {"offset": start} if stop is None else (start, stop)}
        return obstore.get(self._open_client(), path, options=options)

    def _read(self, path: str, start: int, stop: int | None) -> bytes | None:
        def request() -> bytes:
            result = self._fetch(path, start, stop)
            content = result.bytes().to_bytes()
            first, end = result.range
            if end != stop and end != result.meta["size"]:  # asked only where it matters: it costs as much as the rest
                raise Failure(Kind.PASSING, f"the answer is for bytes {first} to {end}")
            if first != start or len(content) != end - start:
                raise Failure(Kind.PASSING, f"{len(content)} bytes came instead of {end - start}")
            return content

        try:
            return self._ask("read", checked_path(path), request, expected=Kind.ABSENT)
        except Failure:
            return None
        except Unavailable as error:
            if isinstance(error.__cause__, Failure) and error.__cause__.kind is Kind.BEYOND:
                return b""
            raise

    def _put_parts(self, path: str, source: bytes | Path, size: int, *, replace: bool) -> bool:
        """Every try looks first, because the store would replace the object without a word."""
        import obstore

        part_bytes = max(MULTIPART_BYTES, -(-size // _MAX_PARTS))

        def request() -> bool:
            if not replace and self._is_there(path):
                return False
            obstore.put(self._open_client(), path, source, use_multipart=True, chunk_size=part_bytes, max_concurrency=1)
            return True

        return self._ask("write", checked_path(path), request)

    def _is_there(self, path: str) -> bool:
        try:
            self._fetch(path, 0, 1).bytes()
        except Exception as error:
            if judge(error).kind is Kind.ABSENT:
                return False
            raise
        return True

    def _list(self, prefix: str, after: str) -> Iterator[ListedObject]:
        import obstore

        stream, reached, last = None, "", after

        def request() -> _Page:
            nonlocal stream, reached
            if stream is None:
                stream = obstore.list(self._open_client(), prefix or None, offset=last or None, chunk_size=_PAGE)
                reached = ""
            try:
                page = next(stream, ())
            except Exception:
                stream = None  # it cannot go on; the next try begins behind what was given out
                raise
            return tuple(sorted(map(_listed, page)))

        while page := self._ask("list", prefix, request):
            if page[0].path <= reached:
                raise Unavailable(
                    f"the listing of {self.place(prefix)} goes back to {page[0].path!r} after {reached!r}",
                    hint="see what answers between here and the store: a listing is in order, and has an end",
                )
            reached = page[-1].path
            for found in page:
                if found.path > last:  # not every server knows what ``offset`` is, and one page may repeat another
                    last = found.path
                    yield found

    def _check(self) -> Failure | None:
        try:
            self._slots.take(CHECK_SECONDS)
            try:
                asyncio.run(self._look_once())
            finally:
                self._slots.give_back()
        except TimeoutError:
            return Failure(Kind.PASSING, f"no answer within {CHECK_SECONDS} seconds")
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller's thread raises it
            failure = judge(error)
            return None if failure.kind in {Kind.ABSENT, Kind.BEYOND} else failure
        return None

    async def _look_once(self) -> None:
        import obstore

        async with asyncio.timeout(CHECK_SECONDS):
            result = await obstore.get_async(self._open_client(), IDENTITY, options={"range": (0, 1)})
            await result.bytes_async()


def _listed(meta: ObjectMeta) -> ListedObject:
    return ListedObject(meta["path"], meta["size"], meta["last_modified"].timestamp())
