"""``prove`` and ``checkpoint``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from scribe_ledger.cli.arguments import KEY, NATURAL, VERSION
from scribe_ledger.cli.files import writing
from scribe_ledger.cli.output import print_json
from scribe_ledger.cli.session import Session, ledger_options, pass_session, place_options

if TYPE_CHECKING:
    from scribe_ledger.cli.target import Target
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof

output_option = click.option("-o", "--output", default="-", metavar="FILE", help="Write to a file instead of stdout.")
FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)


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
@place_options
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
