from __future__ import annotations

import struct
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.merkle import example

from scribe_ledger.errors import InvalidRequest, SerializationError, TooLarge
from scribe_ledger.merkle import Leaf, decode_leaf, encode_leaf, hash_leaf
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.leaf import HEADER, encode_tail
from scribe_ledger.model import NO_PREVIOUS, Kind

pytestmark = pytest.mark.crypto

U64 = st.integers(0, (1 << 64) - 1)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+.^_`|~-", min_size=1, max_size=12)
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
HASHES = st.binary(min_size=32, max_size=32)


@st.composite
def puts(draw: st.DrawFn) -> Leaf:
    version = draw(st.integers(1, (1 << 64) - 1))
    index = draw(st.integers(0 if version == 1 else 1, NO_PREVIOUS - 1))
    return Leaf(
        Kind.PUT,
        index,
        draw(U64),
        version,
        None if version == 1 else draw(st.integers(0, index - 1)),
        draw(U64),
        draw(HASHES),
        draw(HASHES),
        draw(st.binary(min_size=1, max_size=4096)),
        draw(st.sampled_from(["", "text/plain", "application/json; charset=utf-8"])),
        draw(st.dictionaries(NAMES, VALUES, max_size=5)),
    )


@given(puts())
def test_leaf_is_found_again_in_its_bytes(leaf: Leaf) -> None:
    encoded = encode_leaf(leaf)
    assert decode_leaf(encoded) == leaf
    assert leaf.encode() == encoded
    assert leaf.hash() == hash_leaf(encoded) == sha256(b"\0" + encoded).digest()


@pytest.mark.parametrize("leaf", example.LEAVES)
def test_every_kind_of_leaf_is_found_again(leaf: Leaf) -> None:
    assert decode_leaf(encode_leaf(leaf)) == leaf


def test_fixed_part_is_where_a_contract_expects_it() -> None:
    encoded = encode_leaf(example.LEAVES[3])
    assert encoded[:4] == bytes([1, 1, Kind.PUT, 0])
    assert struct.unpack(">QQQQQ", encoded[4:44]) == (3, example.START + 3, 2, 1, 2)
    assert encoded[44:76] == sha256(b"v2").digest()
    assert encoded[76:108] == ZERO_HASH
    assert encoded[108:120] == b"\0\x0auser:alice"


@given(puts(), st.data())
def test_no_two_encodings_decode_alike(leaf: Leaf, data: st.DataObject) -> None:
    """A changed byte gives another leaf or none; whatever decodes encodes to the very same bytes."""
    encoded = bytearray(encode_leaf(leaf))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode_leaf(bytes(encoded))
    except SerializationError:
        return
    assert changed != leaf
    assert encode_leaf(changed) == bytes(encoded)


@pytest.mark.parametrize("leaf", example.LEAVES)
def test_cut_or_lengthened_leaf_is_refused(leaf: Leaf) -> None:
    encoded = encode_leaf(leaf)
    for end in range(len(encoded)):
        with pytest.raises(SerializationError):
            decode_leaf(encoded[:end])
    for extra in (b"\0", b"\0\0", b"x"):
        with pytest.raises(SerializationError):
            decode_leaf(encoded + extra)


# --- forms that are not canonical ------------------------------------------------------------------------------


def text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def raw(
    *,
    form: int = 1,
    algorithm: int = 1,
    kind: int = 1,
    flags: int = 0,
    index: int = 7,
    version: int = 1,
    previous: int = NO_PREVIOUS,
    size: int = 3,
    digest: bytes = b"d" * 32,
    chunk_root: bytes = ZERO_HASH,
    key: bytes = b"k",
    content_type: bytes = b"",
    metadata: tuple[tuple[bytes, bytes], ...] = (),
    count: int | None = None,
) -> bytes:
    header = HEADER.pack(form, algorithm, kind, flags, index, 5, version, previous, size, digest, chunk_root)
    pairs = b"".join(text(name) + text(value) for name, value in metadata)
    number = len(metadata) if count is None else count
    return header + text(key) + text(content_type) + number.to_bytes(2, "big") + pairs


def test_the_form_that_is_canonical_is_read() -> None:
    leaf = decode_leaf(raw(content_type=b"text/plain", metadata=((b"a", b"1"), (b"b", "ü".encode()))))
    assert leaf.metadata == {"a": "1", "b": "ü"}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(raw(form=0), id="format 0"),
        pytest.param(raw(form=2), id="a later format"),
        pytest.param(raw(algorithm=2), id="another hash"),
        pytest.param(raw(flags=1), id="the reserved flag"),
        pytest.param(raw(flags=128), id="an unknown flag"),
        pytest.param(raw(kind=0), id="kind 0"),
        pytest.param(raw(kind=4), id="a reserved kind"),
        pytest.param(raw(kind=6), id="an unknown kind"),
        pytest.param(raw(key=b""), id="a put without a key"),
        pytest.param(raw(key=b"k" * 4097), id="a key that is too long"),
        pytest.param(raw(version=0), id="version 0"),
        pytest.param(raw(version=2), id="version 2 without a previous"),
        pytest.param(raw(version=1, previous=3), id="version 1 with a previous"),
        pytest.param(raw(version=2, previous=7), id="itself as previous"),
        pytest.param(raw(version=2, previous=8), id="a later previous"),
        pytest.param(raw(kind=2, digest=ZERO_HASH), id="a delete with a size"),
        pytest.param(raw(kind=2, size=0), id="a delete with a digest"),
        pytest.param(raw(kind=2, size=0, digest=ZERO_HASH, chunk_root=b"c" * 32), id="a delete with a chunk root"),
        pytest.param(raw(kind=3), id="a system entry with a key"),
        pytest.param(raw(kind=3, key=b"", version=1), id="a system entry with a version"),
        pytest.param(raw(kind=3, key=b"", version=0, previous=1), id="a system entry with a previous"),
        pytest.param(raw(kind=3, key=b"", version=0, chunk_root=b"c" * 32), id="a system entry with a chunk root"),
        pytest.param(raw(content_type=b" text/plain"), id="a content type with a space before it"),
        pytest.param(raw(content_type="tëxt".encode()), id="a content type that is not ASCII"),
        pytest.param(raw(content_type=b"\xff"), id="a content type that is not UTF-8"),
        pytest.param(raw(content_type=b"a" * 256), id="a content type that is too long"),
        pytest.param(raw(metadata=((b"b", b"1"), (b"a", b"2"))), id="metadata out of order"),
        pytest.param(raw(metadata=((b"a", b"1"), (b"a", b"2"))), id="a name twice"),
        pytest.param(raw(metadata=((b"A", b"1"),)), id="a name in capitals"),
        pytest.param(raw(metadata=(("\u212a".encode(), b"1"),)), id="a name that only lower-cases to ASCII"),
        pytest.param(raw(metadata=((b"", b"1"),)), id="an empty name"),
        pytest.param(raw(metadata=((b"a b", b"1"),)), id="a name with a space"),
        pytest.param(raw(metadata=((b"a" * 129, b"1"),)), id="a name that is too long"),
        pytest.param(raw(metadata=((b"a", b"1\n2"),)), id="a value with control characters"),
        pytest.param(raw(metadata=((b"a", b"\xff"),)), id="a value that is not UTF-8"),
        pytest.param(raw(metadata=((b"a", b"\xed\xa0\x80"),)), id="a value with a surrogate"),
        pytest.param(raw(metadata=((b"a", b"1" * 8200),)), id="metadata that is too large"),
        pytest.param(raw(metadata=((b"a", b"1"),), count=0), id="a count that is too small"),
        pytest.param(raw(count=1), id="a count that is too large"),
        pytest.param(raw(count=65_535), id="a count that is far too large"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(SerializationError):
        decode_leaf(data)


def test_system_entry_without_a_key_is_read() -> None:
    assert decode_leaf(raw(kind=3, key=b"", version=0)).kind is Kind.CONFIG


# --- what callers may ask for ----------------------------------------------------------------------------------


def test_metadata_names_are_lowered_and_sorted() -> None:
    assert encode_tail(b"k", "", {"B": "2", "a": "1"}) == encode_tail(b"k", "", {"a": "1", "b": "2"})


@pytest.mark.parametrize(
    ("key", "content_type", "metadata"),
    [
        (b"", "", {}),
        (b"k", "text/plain\n", {}),
        (b"k", "", {"a": "1", "A": "2"}),
        (b"k", "", {"": "1"}),
        (b"k", "", {"\u212aelvin": "1"}),
        (b"k", "", {"a": "\x00"}),
        (b"k", "", {"a": "\ud800"}),
    ],
)
def test_impossible_fields_are_refused(key: bytes, content_type: str, metadata: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        encode_tail(key, content_type, metadata)


@pytest.mark.parametrize(
    ("key", "content_type", "metadata"),
    [(b"k" * 4097, "", {}), (b"k", "t" * 256, {}), (b"k", "", {"a": "1" * 8188}), (b"k", "", {"a": "1" * 70_000})],
)
def test_fields_over_their_limits_are_refused(key: bytes, content_type: str, metadata: dict[str, str]) -> None:
    with pytest.raises(TooLarge):
        encode_tail(key, content_type, metadata)


@pytest.mark.parametrize("pairs", [1, 2, 1000])
def test_the_limit_of_metadata_counts_its_length_fields(pairs: int) -> None:
    names = [f"{number:03}" for number in range(pairs)]
    fits = dict.fromkeys(names, "") | {names[0]: "1" * (8192 - 2 - 7 * pairs)}
    encode_tail(b"k", "", fits)
    with pytest.raises(TooLarge, match="has 8,193 bytes with its length fields"):
        encode_tail(b"k", "", fits | {names[0]: fits[names[0]] + "1"})


@pytest.mark.parametrize(("content_type", "metadata"), [(b"text/plain", {}), ("", {"a": 1}), ("", {b"a": "1"})])
def test_fields_that_are_not_text_are_refused(content_type: Any, metadata: Any) -> None:
    with pytest.raises(InvalidRequest):
        encode_tail(b"k", content_type, metadata)


def test_largest_leaf_fits_a_bundle() -> None:
    tail = encode_tail(b"k" * 4096, "t" * 255, {"a": "1" * 8185})
    assert HEADER.size + len(tail) < 65_535
