"""``prove``, ``verify`` and ``checkpoint``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from scribe_ledger.cli.arguments import BYTES, KEY, NATURAL, VERSION
from scribe_ledger.cli.files import writing
from scribe_ledger.cli.output import print_fields, print_json, say, shown, time_of
from scribe_ledger.cli.session import Session, ledger_options, output_options, pass_session
from scribe_ledger.errors import SerializationError, VerificationError

if TYPE_CHECKING:
    from scribe_ledger.cli.target import Target
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.leaf import Leaf
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof

output_option = click.option("-o", "--output", default="-", metavar="FILE", help="Write to a file instead of stdout.")
FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)


# --- making ----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("key", type=KEY, required=False)
@click.option("--version", type=VERSION, metavar="N", help="Of this version instead of the latest.")
@click.option("--at", type=NATURAL, metavar="SIZE", help="In the log as it was at this size.")
@click.option("--history", is_flag=True, help="Of all versions of KEY, from the proven one back to the first.")
@click.option("--consistency", type=(NATURAL, NATURAL), metavar="OLD NEW", help="That the log only grew.")
@output_option
@ledger_options
@pass_session
def prove(
    session: Session,
    key: bytes | None,
    version: int | None,
    at: int | None,
    history: bool,
    consistency: tuple[int, int] | None,
    output: str,
) -> None:
    """Make a proof that KEY's entry is in the log, or that the log only grew.

    The proof is a text that stands alone: `scribe verify` checks it with the ledger's public key and nothing else.
    """
    if (key is None) == (consistency is None):
        raise click.UsageError("name a KEY, or two sizes with --consistency")
    if consistency is not None and (history or version is not None or at is not None):
        raise click.UsageError("--consistency goes with no other choice of what to prove")
    proof: Proof | HistoryProof | ConsistencyProof
    with session.open() as target:
        if consistency is not None:
            proof, kind = target.prove_consistency(*consistency), "consistency"
        else:
            assert key is not None
            make, kind = (target.prove_history, "history") if history else (target.prove, "inclusion")
            proof = make(key, version=version, at=at)
    _write(session, output, str(proof), {"kind": kind, **_proof_to_json(proof), "proof": str(proof)})


@click.command()
@click.option("--at", type=NATURAL, metavar="SIZE", help="Of the log as it was at this size.")
@click.option("--public-key", is_flag=True, help="Print the key that checks it, instead.")
@output_option
@ledger_options
@pass_session
def checkpoint(session: Session, at: int | None, public_key: bool, output: str) -> None:
    """Print the signed head of the log: its origin, size and root."""
    with session.open() as target:
        if public_key:
            _write(session, output, f"{target.public_key}\n", {"public_key": target.public_key})
            return
        head = target.checkpoint(at)
        _write(session, output, head.text, _checkpoint_to_json(target, head))


def _write(session: Session, output: str, text: str, document: dict[str, Any]) -> None:
    """To standard output as text, or as JSON if that was asked for; to a file always as text."""
    if output == "-":
        print_json(document) if session.json else sys.stdout.write(text)
        return
    with writing(output) as file:
        file.write(text.encode())
    if session.json:
        print_json(document | {"file": output})


def _checkpoint_to_json(target: Target, head: Checkpoint) -> dict[str, Any]:
    fields = {"origin": head.origin, "size": head.size, "root": head.root.hex()}
    return {**fields, "public_key": target.public_key, "checkpoint": head.text}


def _proof_to_json(proof: Proof | HistoryProof | ConsistencyProof) -> dict[str, Any]:
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof

    if isinstance(proof, ConsistencyProof):
        return {"old_size": proof.old_size, "new_size": proof.new_size, "hashes": [each.hex() for each in proof.hashes]}
    if isinstance(proof, HistoryProof):
        return {"entries": [each.to_json() for each in proof.proofs()], "checkpoint": proof.checkpoint.text}
    return {**proof.to_json(), "checkpoint": proof.checkpoint.text}


# --- checking --------------------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """What the caller knows, and the proof must therefore agree with."""

    public_key: str
    entry_key: bytes | None
    version: int | None
    value: str | None
    old: str | None
    new: str | None
    cosigners: tuple[str, ...]
    quorum: int | None


@click.command()
@click.argument("proof_file", type=FILE)
@click.option(
    "--key", "--public-key", "public_key", required=True, metavar="VKEY", help="The ledger's public key, or its file."
)
@click.option("--value", type=FILE, metavar="FILE", help="The proven entry must have these bytes as its value.")
@click.option("--for", "entry_key", type=BYTES, metavar="KEY", help="The proven entry must be of this key.")
@click.option("--version", type=VERSION, metavar="N", help="The proven entry must be this version.")
@click.option("--old", type=FILE, metavar="FILE", help="The checkpoint that a consistency proof begins at.")
@click.option("--new", type=FILE, metavar="FILE", help="The checkpoint that a consistency proof ends at.")
@click.option("--cosigner", "cosigners", multiple=True, metavar="VKEY", help="Must have signed too; may be repeated.")
@click.option("--quorum", type=NATURAL, metavar="N", help="So many of the cosigners are enough.")
@output_options
@pass_session
def verify(session: Session, /, proof_file: str, **wanted: Any) -> None:
    """Check the proof in PROOF_FILE, offline: no ledger is needed.

    What kind of proof it is, the file says. A consistency proof needs --old and --new. What holds is printed; exit
    code 1 says that something does not, and the message names it.
    """
    want = Wanted(**wanted)
    if [proof_file, want.value, want.old, want.new].count("-") > 1:
        raise click.UsageError("only one file can be standard input")
    text = _read_text(proof_file)
    want = want._replace(public_key=_key_of(want.public_key), cosigners=tuple(map(_key_of, want.cosigners)))
    kind, found = _check(text, want)
    if session.json:
        print_json({"verified": True, "kind": kind, **found})
        return
    say(f"verified: {kind}")
    print_fields([(f"  {name.replace('_', ' ')}", str(value)) for name, value in _for_people(found)])


def _check(text: str, want: Wanted) -> tuple[str, dict[str, Any]]:
    from scribe_ledger.merkle.prooftext import CONSISTENCY_HEADER, HISTORY_HEADER, PROOF_HEADER

    checks = {
        PROOF_HEADER: ("inclusion", _check_inclusion, ("old", "new")),
        HISTORY_HEADER: ("history", _check_history, ("old", "new", "value", "version")),
        CONSISTENCY_HEADER: (
            "consistency",
            _check_consistency,
            ("value", "version", "entry_key", "cosigners", "quorum"),
        ),
    }
    header = text.partition("\n")[0]
    if header not in checks:
        raise VerificationError("the file does not begin as a proof does", hint=f"such as: {PROOF_HEADER}")
    kind, check, foreign = checks[header]
    for name in foreign:
        if getattr(want, name) not in (None, ()):
            option = {"entry_key": "for", "cosigners": "cosigner"}.get(name, name)
            raise click.UsageError(f"--{option} does not go with a proof of {kind}")
    return kind, check(text, want)


def _check_inclusion(text: str, want: Wanted) -> dict[str, Any]:
    from scribe_ledger import verify as offline
    from scribe_ledger.merkle.prooftext import Proof

    proof = Proof.parse(text)
    leaf = offline.inclusion(
        proof,
        None if want.value is None else _read(want.value),
        public_key=want.public_key,
        key=want.entry_key,
        version=want.version,
        cosigners=want.cosigners,
        quorum=want.quorum,
    )
    compared = {"value": None if want.value is None else "matches"}
    return {**_head_to_json(proof.checkpoint), **_leaf_to_json(leaf), **compared}


def _check_history(text: str, want: Wanted) -> dict[str, Any]:
    from scribe_ledger import verify as offline
    from scribe_ledger.merkle.prooftext import HistoryProof

    proof = HistoryProof.parse(text)
    leaves = offline.history(
        proof, public_key=want.public_key, key=want.entry_key, cosigners=want.cosigners, quorum=want.quorum
    )
    return {**_head_to_json(proof.checkpoint), "entries": [_leaf_to_json(leaf) for leaf in leaves]}


def _check_consistency(text: str, want: Wanted) -> dict[str, Any]:
    from scribe_ledger import verify as offline
    from scribe_ledger.merkle.checkpoint import Checkpoint

    if want.old is None or want.new is None:
        raise click.UsageError("a consistency proof is between two checkpoints: give their files with --old and --new")
    old, new = Checkpoint.parse(_read_text(want.old)), Checkpoint.parse(_read_text(want.new))
    offline.consistency(text, old, new, public_key=want.public_key)
    return {"origin": new.origin, "old_size": old.size, "new_size": new.size, "root": new.root.hex()}


def _head_to_json(head: Checkpoint) -> dict[str, Any]:
    return {"origin": head.origin, "size": head.size, "root": head.root.hex()}


def _leaf_to_json(leaf: Leaf) -> dict[str, Any]:
    from scribe_ledger.model import key_to_json

    return {
        "entry": {
            **key_to_json(leaf.key),
            "kind": leaf.kind.name.lower(),
            "index": leaf.index,
            "version": leaf.version,
            "timestamp": leaf.timestamp,
            "previous": leaf.previous,
            "size": leaf.size,
            "sha256": leaf.sha256.hex(),
            "leaf_hash": leaf.hash().hex(),
            "content_type": leaf.content_type,
            "metadata": leaf.metadata,
        }
    }


def _for_people(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What was found, line by line, everything escaped that came from outside."""
    lines: list[tuple[str, str]] = []
    for name, value in found.items():
        if name in {"entry", "entries"}:
            entries = [value] if name == "entry" else [each["entry"] for each in value]
            lines += [line for entry in entries for line in _entry_for_people(entry)]
        elif name == "value":
            lines.append((name, value or "not compared: give it with --value"))
        else:
            lines.append((name, shown(str(value))))
    return lines


def _entry_for_people(entry: dict[str, Any]) -> list[tuple[str, str]]:
    import base64

    key = entry["key"] if "key" in entry else base64.b64decode(entry["key_base64"])
    where = f"version {entry['version']}, entry {entry['index']}, {entry['kind']}, {time_of(entry['timestamp'])} UTC"
    lines = [("key", shown(key)), ("", where)]
    if entry["kind"] != "delete":
        lines.append(("sha256", f"{entry['sha256']} ({entry['size']:,} bytes)"))
    if entry["content_type"]:
        lines.append(("content type", shown(entry["content_type"])))
    return lines + [("metadata", f"{shown(name)}={shown(value)}") for name, value in entry["metadata"].items()]


def _key_of(given: str) -> str:
    """A verifier key as it is, or out of a file that holds nothing else."""
    from scribe_ledger.merkle.note import Verifier

    try:
        return str(Verifier.parse(given))
    except SerializationError:
        if not Path(given).is_file():
            raise
    return str(Verifier.parse(_read_text(given).strip()))


def _read(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def _read_text(path: str) -> str:
    try:
        return _read(path).decode()
    except UnicodeDecodeError as error:
        raise VerificationError(f"{os.path.basename(path)} is not a text") from error  # noqa: PTH119
