"""``verify``: checks a proof, offline, or with ``--audit`` a whole log."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from scribe_ledger.cli.arguments import BYTES, NATURAL, VERSION
from scribe_ledger.cli.output import counted, print_fields, print_json, say, shown, time_of
from scribe_ledger.cli.proving import FILE
from scribe_ledger.cli.session import Session, pass_session, place_options
from scribe_ledger.cli.trusting import public_key_of
from scribe_ledger.errors import VerificationError
from scribe_ledger.model import key_to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.leaf import Leaf


class Wanted(NamedTuple):
    """What the caller knows, and the proof must therefore agree with."""

    entry_key: bytes | None
    version: int | None
    value: str | None
    old: str | None
    new: str | None
    cosigners: tuple[str, ...]
    quorum: int | None
    new_key: str | None


@click.command()
@click.argument("proof_file", type=FILE, required=False)
@click.option(
    "--key",
    "--public-key",
    "public_key",
    metavar="VKEY",
    help="The ledger's public key, or its file.  [variable: SCRIBE_PUBLIC_KEY]",
)
@click.option("--value", type=FILE, metavar="FILE", help="The proven entry must have these bytes as its value.")
@click.option("--for", "entry_key", type=BYTES, metavar="KEY", help="The proven entry must be of this key.")
@click.option("--version", type=VERSION, metavar="N", help="The proven entry must be this version.")
@click.option("--old", type=FILE, metavar="FILE", help="The checkpoint that a consistency proof begins at.")
@click.option("--new", type=FILE, metavar="FILE", help="The checkpoint that a consistency proof ends at.")
@click.option("--cosigner", "cosigners", multiple=True, metavar="VKEY", help="Must have signed too; may be repeated.")
@click.option("--quorum", type=NATURAL, metavar="N", help="So many of the cosigners are enough.")
@click.option("--new-key", metavar="VKEY", help="The key that a handover must be to, or its file.")
@click.option(
    "--audit",
    type=BYTES,
    is_flag=False,
    flag_value=b"",
    metavar="[KEY]",
    help="Read the whole log of a ledger, and say what is the newest entry of KEY.",
)
@click.option("--values", is_flag=True, help="With --audit: read all values too, and compare them with their digests.")
@place_options
@pass_session
def verify(
    session: Session,
    /,
    proof_file: str | None,
    public_key: str | None,
    audit: bytes | None,
    values: bool,
    **wanted: Any,
) -> None:
    """Check the proof in PROOF_FILE, offline: no ledger is needed. Or check a whole ledger with --audit.

    What kind of proof it is, the file says. A consistency proof needs --old and --new. A handover to a ledger's next
    epoch is checked with the key before it. What holds is printed; exit code 1 says that something does not, and the
    message names it.
    """
    want = Wanted(**wanted)
    public_key = public_key or session.public_key or os.environ.get("SCRIBE_PUBLIC_KEY")
    if audit is not None:
        if proof_file is not None or any(given not in (None, ()) for given in want):
            raise click.UsageError("--audit takes a ledger, a public key and --values: the rest is for proofs")
        kind, found = "audit", _audit(session, public_key, values, audit)
    else:
        if proof_file is None or public_key is None or values:
            raise click.UsageError("give a PROOF_FILE and --public-key, or --audit")
        kind, found = _check(proof_file, public_key_of(public_key), want)
    if session.json:
        print_json({"verified": True, "kind": kind, **found})
        return
    say(f"verified: {kind}")
    print_fields([(f"  {name.replace('_', ' ')}", str(value)) for name, value in _for_people(kind, found)])


def _audit(session: Session, given: str | None, values: bool, key: bytes) -> dict[str, Any]:
    from scribe_ledger.cli.auditing import audit

    if not session.in_shell:
        session.public_key = given if session.place().url is not None else None
    with session.open() as target:
        public_key = target.public_key if given is None else public_key_of(given)
        found = audit(target, public_key=public_key, values=values, key=key or None)
    document = {
        **_head_to_json(found.head),
        "public_key": public_key,
        "public_key_given": given is not None,
        "keys": found.keys,
        "live_keys": found.live_keys,
        "values_read": found.values_read,
    }
    if key:
        newest = found.newest
        document |= {**key_to_json(key), "newest": None if newest is None else _leaf_to_json(newest)["entry"]}
    return document


def _check(proof_file: str, public_key: str, want: Wanted) -> tuple[str, dict[str, Any]]:
    if [proof_file, want.value, want.old, want.new].count("-") > 1:
        raise click.UsageError("only one file can be standard input")
    want = want._replace(cosigners=tuple(map(public_key_of, want.cosigners)))
    kind, check = _kind_of(text := _read_text(proof_file), want)
    return kind, check(text, public_key, want)


def _kind_of(text: str, want: Wanted) -> tuple[str, Callable[[str, str, Wanted], dict[str, Any]]]:
    from scribe_ledger.merkle import handover
    from scribe_ledger.merkle.prooftext import CONSISTENCY_HEADER, HISTORY_HEADER, PROOF_HEADER

    of_entries = ("value", "version", "entry_key", "cosigners", "quorum")
    checks = {
        PROOF_HEADER: ("inclusion", _check_inclusion, ("old", "new", "new_key")),
        HISTORY_HEADER: ("history", _check_history, ("old", "new", "value", "version", "new_key")),
        CONSISTENCY_HEADER: ("consistency", _check_consistency, (*of_entries, "new_key")),
        handover.HEADER: ("epoch", _check_epoch, ("old", "new", *of_entries)),
    }
    header = text.partition("\n")[0]
    if header not in checks:
        raise VerificationError("the file does not begin as a proof does", hint=f"such as: {PROOF_HEADER}")
    kind, check, foreign = checks[header]
    for name in foreign:
        if getattr(want, name) not in (None, ()):
            option = {"entry_key": "for", "cosigners": "cosigner", "new_key": "new-key"}.get(name, name)
            raise click.UsageError(f"--{option} does not go with a proof of {kind}")
    return kind, check


def _check_inclusion(text: str, public_key: str, want: Wanted) -> dict[str, Any]:
    from scribe_ledger import verify as offline
    from scribe_ledger.merkle.prooftext import Proof

    proof = Proof.parse(text)
    leaf = offline.inclusion(
        proof,
        None if want.value is None else _read(want.value),
        public_key=public_key,
        key=want.entry_key,
        version=want.version,
        cosigners=want.cosigners,
        quorum=want.quorum,
    )
    compared = {"value": None if want.value is None else "matches"}
    return {**_head_to_json(proof.checkpoint), **_cosigned(proof.checkpoint, want), **_leaf_to_json(leaf), **compared}


def _check_history(text: str, public_key: str, want: Wanted) -> dict[str, Any]:
    from scribe_ledger import verify as offline
    from scribe_ledger.merkle.prooftext import HistoryProof

    proof = HistoryProof.parse(text)
    leaves = offline.history(
        proof, public_key=public_key, key=want.entry_key, cosigners=want.cosigners, quorum=want.quorum
    )
    head = {**_head_to_json(proof.checkpoint), **_cosigned(proof.checkpoint, want)}
    return {**head, "entries": [_leaf_to_json(leaf) for leaf in leaves]}


def _check_consistency(text: str, public_key: str, want: Wanted) -> dict[str, Any]:
    from scribe_ledger import verify as offline
    from scribe_ledger.merkle.checkpoint import Checkpoint

    if want.old is None or want.new is None:
        raise click.UsageError("a consistency proof is between two checkpoints: give their files with --old and --new")
    old, new = Checkpoint.parse(_read_text(want.old)), Checkpoint.parse(_read_text(want.new))
    offline.consistency(text, old, new, public_key=public_key)
    return {"origin": new.origin, "old_size": old.size, "new_size": new.size, "root": new.root.hex()}


def _check_epoch(text: str, public_key: str, want: Wanted) -> dict[str, Any]:
    from scribe_ledger import verify as offline

    new_key = None if want.new_key is None else public_key_of(want.new_key)
    handover = offline.epoch(text, old_public_key=public_key, new_public_key=new_key)
    return {
        **_head_to_json(handover.head),
        "epoch": handover.epoch,
        "new_public_key": str(handover.key),
        "signed_by_old_key": handover.is_endorsed,
    }


def _head_to_json(head: Checkpoint) -> dict[str, Any]:
    return {"origin": head.origin, "size": head.size, "root": head.root.hex()}


def _cosigned(head: Checkpoint, want: Wanted) -> dict[str, Any]:
    """Who of those that were asked for has signed, once the check has found enough good signatures."""
    from scribe_ledger.merkle.note import Verifier

    if not want.cosigners:
        return {}
    keys = map(Verifier.parse, want.cosigners)
    signed = [str(key) for key in keys if any(signature.is_by(key) for signature in head.note.signatures)]
    return {"cosigned_by": signed, "quorum": len(want.cosigners) if want.quorum is None else want.quorum}


def _leaf_to_json(leaf: Leaf) -> dict[str, Any]:
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


def _for_people(kind: str, found: dict[str, Any]) -> list[tuple[str, str]]:
    """What was found, line by line, everything escaped that came from outside."""
    if kind == "audit":
        return _audit_for_people(found)
    lines: list[tuple[str, str]] = []
    for name, value in found.items():
        if name in {"entry", "entries"}:
            entries = [value] if name == "entry" else [each["entry"] for each in value]
            lines += [line for entry in entries for line in _entry_for_people(entry)]
        elif name == "cosigned_by":
            names = ", ".join(shown(key.partition("+")[0]) for key in value) or "nobody"
            lines.append(("cosigned by", f"{names}: {len(value)}, of whom {found['quorum']} had to"))
        elif name == "quorum":
            continue
        elif name == "value":
            lines.append((name, value or "not compared: give it with --value"))
        else:
            lines.append((name, shown(str(value))))
    return lines


def _audit_for_people(found: dict[str, Any]) -> list[tuple[str, str]]:
    read, own = found["values_read"], "" if found["public_key_given"] else " (the ledger's own word)"
    lines = [
        ("origin", shown(found["origin"])),
        ("size", str(found["size"])),
        ("root", found["root"]),
        ("public key", shown(found["public_key"]) + own),
        ("keys", f"{found['keys']:,} ({found['live_keys']:,} live)"),
        ("values", "not read: ask for it with --values" if read is None else f"{read:,} read, all as they were put"),
    ]
    if "newest" not in found:
        return lines
    if found["newest"] is None:
        return [*lines, ("key", f"{shown(_key_in(found))}: no entry of the log is of this key")]
    return [*lines, *_entry_for_people(found["newest"]), ("", "nothing newer of this key is in the log")]


def _entry_for_people(entry: dict[str, Any]) -> list[tuple[str, str]]:
    where = f"version {entry['version']}, entry {entry['index']}, {entry['kind']}, {time_of(entry['timestamp'])} UTC"
    lines = [("key", shown(_key_in(entry))), ("", where)]
    if entry["kind"] != "delete":
        lines.append(("sha256", f"{entry['sha256']} ({counted(entry['size'], 'byte', 'bytes')})"))
    if entry["content_type"]:
        lines.append(("content type", shown(entry["content_type"])))
    return lines + [("metadata", f"{shown(name)}={shown(value)}") for name, value in entry["metadata"].items()]


def _key_in(shape: dict[str, Any]) -> str | bytes:
    return shape["key"] if "key" in shape else base64.b64decode(shape["key_base64"])


def _read(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def _read_text(path: str) -> str:
    try:
        return _read(path).decode()
    except UnicodeDecodeError as error:
        raise VerificationError(f"{os.path.basename(path)} is not a text") from error  # noqa: PTH119
