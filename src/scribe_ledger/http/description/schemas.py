"""The shapes of JSON bodies, by the names that the table of routes uses. JSON Schema 2020-12, each with an example.

Answers may gain members in later versions; a reader passes over what it does not know. Requests may not: a member that
a route does not know is refused, so those schemas are closed.
"""

from __future__ import annotations

from typing import TypeAlias

from scribe_ledger.errors import KINDS
from scribe_ledger.http.description import examples
from scribe_ledger.http.description.node_schemas import NODE_SCHEMAS
from scribe_ledger.http.description.shapes import (
    BASE64,
    COUNT,
    FLAG,
    HASH,
    INDEX,
    TIMESTAMP,
    Schema,
    closed,
    described,
    listed,
    nullable,
    opened,
    reference,
    text,
)
from scribe_ledger.model import MAX_KEY_BYTES, MAX_REQUEST_ID_BYTES

# --- what all answers about a key have ------------------------------------------------------------------------

_KEY: dict[str, Schema] = {
    "key": text("The key, where it is UTF-8."),
    "key_base64": described(BASE64, "The key, where it is not UTF-8; then there is no `key`."),
}
_ONE_KEY: list[Schema] = [{"required": ["key"]}, {"required": ["key_base64"]}]
_METADATA: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "Names in lower case. At most 8,192 bytes: names, values, 4 for each pair, and 2.",
}
_RECEIPT: dict[str, Schema] = {
    "index": described(INDEX, "Place of the entry in the log, from 0. Its ETag is this number in quotes."),
    "version": described(COUNT, "Version of the key, counted from 1; deletes count."),
    "timestamp": TIMESTAMP,
    "sha256": described(HASH, "SHA-256 of the value; zeros for a delete."),
    "leaf_hash": described(HASH, "The entry's leaf in the Merkle tree."),
}
_CREATED = described(FLAG, "False where nothing was appended: the same content, or a retry of the same request.")
_ENTRY: dict[str, Schema] = {
    **_KEY,
    "kind": {"enum": ["put", "delete", "config"], "description": "`config` entries have an empty key and version 0."},
    **_RECEIPT,
    "previous": nullable(INDEX, "Index of the key's previous entry; null for its first."),
    "size": described(COUNT, "Bytes of the value."),
    "content_type": text("As it was put; empty where none was named."),
    "metadata": _METADATA,
    "chunk_root": described(HASH, "Only of a large value, which is kept as a blob: the root over its chunks."),
}
_ENTRY_REQUIRED = [name for name in _ENTRY if name not in ("key", "key_base64", "chunk_root")]
_VALUE = nullable(BASE64, "The value. Null where it is large: read it by its key. Absent for a delete.")

# --- requests --------------------------------------------------------------------------------------------------

_GIVEN_KEY: dict[str, Schema] = {
    "key": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES, "description": "The key as text."},
    "key_base64": {**BASE64, "minLength": 1, "description": "The key as bytes, instead of `key`."},
}
_CONDITIONS: dict[str, Schema] = {
    "if_version": nullable(COUNT, "Only if the key's latest version is this one; 0: it was never written."),
    "if_index": nullable(INDEX, "Only if the key's latest entry has this index."),
    "request_id": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_REQUEST_ID_BYTES,
        "description": "As the header `Idempotency-Key`, for this operation alone.",
    },
}
_PUT: dict[str, Schema] = {
    "op": {"const": "put"},
    **_GIVEN_KEY,
    "value": text("The value as text."),
    "value_base64": described(BASE64, "The value as bytes, instead of `value`."),
    "content_type": {"type": "string", "maxLength": 255, "pattern": r"^(?:[!-~](?:[ -~]*[!-~])?)?$"},
    "metadata": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]*$"},
        "propertyNames": {"pattern": r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"},
        "description": _METADATA["description"],
    },
    "if_absent": {"type": "boolean", "default": False, "description": "Only if the key has no value."},
    **_CONDITIONS,
    "dedupe": {"type": "boolean", "default": True, "description": "`false` appends even what equals the latest."},
}
_DELETE: dict[str, Schema] = {
    "op": {"const": "delete"},
    **_GIVEN_KEY,
    "metadata": _PUT["metadata"],
    **_CONDITIONS,
}
_ONE_VALUE: list[Schema] = [{"required": ["value"]}, {"required": ["value_base64"]}]

Schemas: TypeAlias = dict[str, Schema]

_REQUESTS: Schemas = {
    "Put": closed(_PUT, ["op"], allOf=[{"oneOf": _ONE_KEY}, {"oneOf": _ONE_VALUE}]),
    "Delete": closed(_DELETE, ["op"], oneOf=_ONE_KEY),
    "Batch": closed(
        {
            "operations": {
                "type": "array",
                "minItems": 1,
                "items": {"oneOf": [reference("Put"), reference("Delete")]},
                "description": "At most `[api] max_batch_size` of them, 10,000 unless the node is told otherwise.",
            }
        },
        ["operations"],
        example={
            "operations": [
                {"op": "put", "key": "order:17", "value": "paid", "content_type": "text/plain", "if_absent": True},
                {"op": "put", "key": "customer:9:orders", "value": "17"},
            ]
        },
    ),
    "ManyKeys": closed(
        {
            "keys": {
                "type": "array",
                "items": {"oneOf": [_GIVEN_KEY["key"], closed(_GIVEN_KEY, [], oneOf=_ONE_KEY)]},
                "description": 'Keys as text, or as `{"key_base64": …}`. At most `[api] max_batch_size` of them.',
            },
            "proof": {"type": "boolean", "default": False, "description": "Prove each entry."},
            "since": {**nullable(COUNT, "With `proof`: also prove that the log extends the one of this size.")},
        },
        ["keys"],
        example={"keys": [examples.KEY, "user:nobody"]},
    ),
}

# --- answers ---------------------------------------------------------------------------------------------------

_PROVEN_ENTRY: Schema = {
    **_ENTRY,
    "value_base64": _VALUE,
    "leaf_base64": described(BASE64, "Only with `proof`: the leaf, from which `leaf_hash` is computed."),
    "hashes_base64": described(BASE64, "Only with `proof`: the audit path, 32 bytes a hash, one after another."),
}

_ANSWERS: Schemas = {
    "Error": opened(
        {
            "error": opened(
                {
                    "kind": {"enum": list(KINDS), "description": "A stable word for programs."},
                    "message": text("What happened, in words, naming key, parameter or place."),
                    "hint": text("What to do about it, or empty."),
                    "request_id": text("As in the header `X-Request-Id` and in the node's log."),
                    "operation": described(COUNT, "Only of a batch: which operation was refused, counted from 0."),
                },
                ["kind", "message", "hint", "request_id"],
            )
        },
        ["error"],
        example={
            "error": {
                "kind": "precondition",
                "message": "key 'user:alice' is at version 2, not 1",
                "hint": "read it again and repeat the change on what it is now",
                "request_id": examples.REQUEST_ID,
            }
        },
    ),
    "Receipt": opened(
        {**_KEY, **_RECEIPT, "created": _CREATED}, [*_RECEIPT, "created"], oneOf=_ONE_KEY, example=examples.RECEIPT
    ),
    "BatchAnswer": opened(
        {"receipts": listed(reference("Receipt"), "One for each operation, in their order.")},
        ["receipts"],
        example={"receipts": [examples.RECEIPT]},
    ),
    "Entry": opened(_ENTRY, _ENTRY_REQUIRED, oneOf=_ONE_KEY, example=examples.ENTRY),
    "EntryWithValue": opened(
        {**_ENTRY, "value_base64": _VALUE},
        _ENTRY_REQUIRED,
        oneOf=_ONE_KEY,
        example={**examples.ENTRY, "value_base64": examples.VALUE_BASE64},
    ),
    "Listing": opened(
        {
            "entries": listed(
                reference("EntryWithValue"), "Each with `value_base64` only where `values=true` was asked."
            ),
            "cursor": nullable(text(""), "What to send as `cursor` for the next page; null on the last one."),
        },
        ["entries", "cursor"],
        example={"entries": [examples.ENTRY], "cursor": None},
    ),
    "Log": opened(
        {
            "entries": listed(
                reference("EntryWithValue"), "Each with `value_base64` only where `values=true` was asked."
            ),
            "cursor": text("The index at which to go on, now or later. It is never null: the log has no last page."),
        },
        ["entries", "cursor"],
        example={"entries": [examples.ENTRY], "cursor": "2"},
    ),
    "ManyEntries": opened(
        {
            "entries": {
                "type": "array",
                "items": {"oneOf": [opened(_PROVEN_ENTRY, _ENTRY_REQUIRED, oneOf=_ONE_KEY), {"type": "null"}]},
                "description": "One for each key, in their order. Null where there is no value. All as of one moment.",
            },
            "size": described(COUNT, "How many entries the ledger had at that moment."),
            "checkpoint": text("Only with `proof`: the one checkpoint that all audit paths lead to."),
            "consistency": nullable(text(""), "Only with `since`: the consistency proof; null where `since` is 0."),
        },
        ["entries", "size"],
        example={
            "entries": [
                {
                    **examples.ENTRY,
                    "value_base64": examples.VALUE_BASE64,
                    "leaf_base64": examples.LEAF_BASE64,
                    "hashes_base64": examples.HASHES_BASE64,
                },
                None,
            ],
            "size": 3,
            "checkpoint": examples.CHECKPOINT,
        },
    ),
    "Proven": opened(
        {
            "entry": reference("Entry"),
            "value_base64": _VALUE,
            "proof": text("What `Proof.parse` and `scribe verify` read."),
            "consistency": nullable(text(""), "Only with `since`: the consistency proof; null where `since` is 0."),
        },
        ["entry", "value_base64", "proof"],
        example={"entry": examples.ENTRY, "value_base64": examples.VALUE_BASE64, "proof": examples.PROOF},
    ),
    "Verification": opened(
        {
            **_KEY,
            "verified": FLAG,
            "proof": nullable(
                opened(
                    {
                        "root_hash": described(HASH, "Root of the tree, as the checkpoint has it."),
                        "siblings": listed(HASH, "The hashes on the way from the leaf up to the root."),
                        "index": INDEX,
                        "tree_size": COUNT,
                        "leaf": {"type": "string", "pattern": "^([0-9a-f]{2})+$", "description": "The leaf's bytes."},
                    },
                    ["root_hash", "siblings", "index", "tree_size", "leaf"],
                ),
                "Null where there is nothing to prove.",
            ),
            "checkpoint": nullable(text(""), "The signed checkpoint, as text."),
            "error": {"oneOf": [{"$ref": "#/components/schemas/Error/properties/error"}, {"type": "null"}]},
        },
        ["verified", "proof", "checkpoint", "error"],
        oneOf=_ONE_KEY,
        example={
            "key": examples.KEY,
            "verified": True,
            "proof": {
                "root_hash": "03c8a8934bc028c8446f0aed8c26fbcf8ea037c5f93412fa6240cbd12e3f4890",
                "siblings": list(examples.HASHES),
                "index": 1,
                "tree_size": 3,
                "leaf": examples.LEAF_HEX,
            },
            "checkpoint": examples.CHECKPOINT,
            "error": None,
        },
    ),
    "LedgerKey": opened(
        {
            "vkey": text("The ledger's public key, which checkpoints are signed with."),
            "origin": text("The ledger's name, in its checkpoints and its key."),
            "cosigners": listed({"type": "string"}, "Public keys of those that cosign checkpoints."),
            "quorum": described(COUNT, "How many of the cosigners a checkpoint must have."),
        },
        ["vkey", "origin", "cosigners", "quorum"],
        example={"vkey": examples.PUBLIC_KEY, "origin": examples.ORIGIN, "cosigners": [], "quorum": 0},
    ),
}

SCHEMAS: Schemas = {**_ANSWERS, **_REQUESTS, **NODE_SCHEMAS}
