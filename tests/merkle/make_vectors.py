"""Makes the vectors of our own formats. ``python -m tests.merkle.make_vectors`` writes them anew.

A change in what this gives is a change of a format that others have stored: it needs a new format version, not a new
file. The vectors that others published (``rfc6962.json``, ``note.json``) are not made here.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.merkle import example

from scribe_ledger.merkle import (
    EMPTY_EDGE,
    MerkleTree,
    Nodes,
    chunk_digests,
    chunk_root,
    decode_leaf,
    encode_bundle,
    encode_leaf,
    expand_tile,
    grow,
    hash_leaf,
    tile_path,
    tile_root,
)
from scribe_ledger.merkle.tiles import bundle_path

FOLDER = Path(__file__).parents[1] / "vectors"
CHUNKED_SIZES = [1, 1 << 20, (1 << 20) + 1, (2 << 20) + 1, 5 << 20]
TREE_SIZES = [0, 1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 70_000]


def build() -> dict[str, dict[str, Any]]:
    """By file name, what each file holds."""
    return {
        "leaf": _leaves(),
        "tree": _tree(),
        "chunks": _chunks(),
        "checkpoint": _checkpoint(),
        "proof": _proofs(),
        "pairs": _pairs(),
    }


def _leaves() -> dict[str, Any]:
    entries = []
    for leaf in example.LEAVES:
        encoded = encode_leaf(leaf)
        fields = {name: field.hex() if isinstance(field, bytes) else field for name, field in leaf._asdict().items()}
        entries.append({**fields, "leaf": encoded.hex(), "leaf_hash": hash_leaf(encoded).hex()})
    return {"about": "Entries and their leaves; bytes in hex, previous null for a key's first.", "entries": entries}


def _tree() -> dict[str, Any]:
    leaves = [index.to_bytes(8, "big") for index in range(TREE_SIZES[-1])]
    edge, full = grow(EMPTY_EDGE, [hash_leaf(leaf) for leaf in leaves])
    records = {(tile.level, tile.index): tile.nodes for tile in full}
    nodes = Nodes(edge, lambda level, index: records[level, index])
    tiles = {tile_path(level, index): records[level, index][:8192] for level, index in [(0, 0), (0, 272), (1, 0)]}
    for level, hashes in enumerate(edge.tiles):
        width = len(hashes) // 32
        tiles[tile_path(level, edge.size >> 8 * (level + 1), width)] = hashes
    bundle = encode_bundle(leaves[272 * 256 : 273 * 256])
    return {
        "about": "The tree over the numbers from 0 as 8 big-endian bytes each; tiles are those of the last size.",
        "roots": {str(size): nodes.root(size).hex() for size in TREE_SIZES},
        "tiles": {path: {"bytes": len(data), "sha256": sha256(data).hexdigest()} for path, data in tiles.items()},
        "first_tile_root": tile_root(expand_tile(tiles["tile/0/000"])).hex(),
        "bundles": {bundle_path(272): {"bytes": len(bundle), "sha256": sha256(bundle).hexdigest()}},
        "paths": {str(index): tile_path(0, index) for index in [0, 999, 1000, 999_999, 1_234_067]},
    }


def _chunks() -> dict[str, Any]:
    return {
        "about": "Values of the bytes 0 to 250 over and over, and their chunk roots.",
        "values": [
            {
                "size": size,
                "sha256": sha256(example.pattern(size)).hexdigest(),
                "chunk_root": chunk_root(chunk_digests(example.pattern(size))).hex(),
            }
            for size in CHUNKED_SIZES
        ],
    }


def _checkpoint() -> dict[str, Any]:
    return {
        "about": "Fixed keys for tests alone, the checkpoint of the entries of leaf.json, and the same cosigned.",
        "log_private_key": example.LOG_KEY.private_text(),
        "log_key": example.PUBLIC_KEY,
        "node_private_key": example.NODE_KEY.private_text(),
        "cosigner_key": str(example.NODE_KEY.cosigner),
        "checkpoint": str(example.checkpoint()),
        "cosigned_at": example.START // 1000 + 60,
        "cosigned": str(example.cosigned_checkpoint()),
    }


def _proofs() -> dict[str, Any]:
    return {
        "about": "Proofs about the entries of leaf.json, to be checked with log_key of checkpoint.json.",
        "inclusion": {str(index): str(example.proof(index)) for index in range(example.SIZE)},
        "inclusion_at_size_2": str(example.proof(1, size=2)),
        "history": str(example.history()),
        "consistency": {str(size): str(example.consistency(size)) for size in range(example.SIZE + 1)},
        "old_checkpoints": {str(size): str(example.checkpoint(size)) for size in range(example.SIZE + 1)},
        "versions": [decode_leaf(entry.leaf_bytes).version for entry in example.history().entries],
    }


def _pairs() -> dict[str, Any]:
    pairs = [(b"k%d" % number, b"v%d" % number) for number in range(5)]
    return {
        "about": "Roots of plain trees over the first pairs of this list; bytes in hex.",
        "pairs": [[key.hex(), value.hex()] for key, value in pairs],
        "roots": [MerkleTree.from_pairs(pairs[:count]).root_hash().hex() for count in range(len(pairs) + 1)],
    }


def render(vectors: dict[str, Any]) -> str:
    return json.dumps(vectors, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, vectors in build().items():
        (FOLDER / f"{name}.json").write_text(render(vectors))
