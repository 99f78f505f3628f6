"""``keygen``."""

from __future__ import annotations

import os

import click

from scribe_ledger.cli.output import print_json, say
from scribe_ledger.cli.session import Session, output_options, pass_session


@click.command()
@click.argument("name")
@click.option("-o", "--output", metavar="FILE", help="Write the private key to a new file that only you can read.")
@output_options
@pass_session
def keygen(session: Session, name: str, output: str | None) -> None:
    """Make a key pair called NAME, in the text form of C2SP signed notes.

    It prints the private key, then the public one; with -o the public one alone.
    """
    from scribe_ledger.merkle.note import Signer

    signer = Signer.generate(name)
    public = {"name": name, "public_key": str(signer.verifier)}
    if output is None:
        answer = public | {"private_key": signer.private_text()}
        print_json(answer) if session.json else say(signer.private_text(), str(signer.verifier))
        return
    _write_private(output, signer.private_text())
    print_json(public | {"file": output}) if session.json else say(str(signer.verifier))


def _write_private(path: str, text: str) -> None:
    """A key is never written over: whatever it signed could not be checked any more by who has only the name."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise click.UsageError(f"{path} exists, and a key is not written over another file") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
