"""What keys and values may be: text, bytes, JSON, numbers, nothing at all, and files larger than memory.

    python examples/data_types.py

The ledger stores bytes and never looks into them. What they mean is said by the content type and metadata, which are
part of the entry and so of every proof of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tempfile
from typing import TYPE_CHECKING, Any

from scribe_ledger import Ledger, ScribeError

if TYPE_CHECKING:
    from collections.abc import Iterator


def text_and_bytes(ledger: Ledger) -> None:
    ledger.put("greeting", "Grüße, 世界")  # text is stored as UTF-8
    print("text:", (ledger.get("greeting") or b"").decode())
    ledger.put(b"\x00\xff raw key", bytearray(b"raw value"))  # any bytes-like key and value
    print("bytes:", ledger.get(b"\x00\xff raw key"))
    ledger.put("empty", b"")  # empty is a value; absent is None
    print("empty:", ledger.get("empty"), "absent:", ledger.get("absent"))


def numbers(ledger: Ledger) -> None:
    """Binary encodings are yours to choose; say which in the metadata."""
    readings = (20.5, 20.7, 21.1)
    ledger.put("readings", struct.pack(">3d", *readings), metadata={"encoding": ">3d", "unit": "celsius"})
    entry = ledger.entry("readings")
    assert entry is not None
    print("numbers:", struct.unpack(entry.metadata["encoding"], entry.value), entry.metadata["unit"])


def put_json(ledger: Ledger, key: str, document: Any) -> None:
    """Sorted and without spaces, so that equal documents are equal bytes and have one digest."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    ledger.put(key, text, content_type="application/json")


def documents(ledger: Ledger) -> None:
    put_json(ledger, "config", {"model": "small", "layers": [64, 64], "dropout": 0.1})
    put_json(ledger, "config", {"dropout": 0.1, "layers": [64, 64], "model": "small"})
    entry = ledger.entry("config")
    assert entry is not None
    print("json:", json.loads(entry.value)["layers"], "version", entry.version, entry.content_type)


def large_values(ledger: Ledger) -> None:
    """Values of any size stream in and out a chunk at a time; each chunk is checked before a byte of it is returned."""

    def produce() -> Iterator[bytes]:
        for block in range(40):
            yield bytes([block]) * 65536

    receipt = ledger.put_stream("video", produce(), content_type="video/mp4")  # a binary file will do as well
    digest = hashlib.sha256()
    file = ledger.open_value("video")
    assert file is not None
    with file:
        file.seek(-10, io.SEEK_END)
        print("large: the last bytes are", file.read())
        file.seek(0)
        while piece := file.read(1 << 20):
            digest.update(piece)
    print("large: digest as in the receipt:", digest.digest() == receipt.sha256)


def refusals(ledger: Ledger) -> None:
    wrong: list[tuple[Any, Any]] = [("", b"x"), ("k" * 5000, b"x"), ("number", 3.14)]
    for key, value in wrong:
        try:
            ledger.put(key, value)
        except ScribeError as error:
            print(f"refused ({error.kind}):", error.message)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Ledger.open(folder) as ledger:
        text_and_bytes(ledger)
        numbers(ledger)
        documents(ledger)
        large_values(ledger)
        refusals(ledger)


if __name__ == "__main__":
    main()
