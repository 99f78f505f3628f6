"""What a ledger proves and how: leaves, the Merkle tree over them, tiles, checkpoints and proofs. Pure code, no I/O.

The formats are C2SP's wherever there is one (tlog-tiles, tlog-checkpoint, signed-note, tlog-cosignature, tlog-proof),
so that tools of others can read and check a ledger; ``docs/reference/formats.md`` has them all, with vectors. To check
a proof, use ``scribe_ledger.verify``.
"""

from scribe_ledger.merkle.checkpoint import Checkpoint, cosign, sign_checkpoint, verify_cosignature
from scribe_ledger.merkle.chunks import chunk_digests, chunk_root
from scribe_ledger.merkle.hashing import EMPTY_ROOT, hash_leaf, hash_node
from scribe_ledger.merkle.leaf import Leaf, decode_leaf, encode_leaf
from scribe_ledger.merkle.note import Note, Signer, Verifier, sign_note
from scribe_ledger.merkle.pairs import MerkleTree, PairProof
from scribe_ledger.merkle.proof import root_from_inclusion, verify_consistency, verify_inclusion
from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Inclusion, Proof
from scribe_ledger.merkle.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileId,
    bundle_path,
    decode_bundle,
    encode_bundle,
    expand_tile,
    parse_tile_path,
    tile_node,
    tile_path,
    tile_root,
)
from scribe_ledger.merkle.tree import EMPTY_EDGE, Edge, FullTile, Nodes, grow, root_of

__all__ = [
    "EMPTY_EDGE",
    "EMPTY_ROOT",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "Checkpoint",
    "ConsistencyProof",
    "Edge",
    "FullTile",
    "HistoryProof",
    "Inclusion",
    "Leaf",
    "MerkleTree",
    "Nodes",
    "Note",
    "PairProof",
    "Proof",
    "Signer",
    "TileId",
    "Verifier",
    "bundle_path",
    "chunk_digests",
    "chunk_root",
    "cosign",
    "decode_bundle",
    "decode_leaf",
    "encode_bundle",
    "encode_leaf",
    "expand_tile",
    "grow",
    "hash_leaf",
    "hash_node",
    "parse_tile_path",
    "root_from_inclusion",
    "root_of",
    "sign_checkpoint",
    "sign_note",
    "tile_node",
    "tile_path",
    "tile_root",
    "verify_consistency",
    "verify_cosignature",
    "verify_inclusion",
]
