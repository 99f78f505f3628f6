"""``bench``: hands everything over to the benchmark, which has options of its own."""

from __future__ import annotations

import click


@click.group(no_args_is_help=False)
def bench() -> None:
    """Measure speed and memory on this machine, beside the raw engine in the same run."""


@bench.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.pass_context
def local(context: click.Context) -> None:
    """Measure the embedded ledger. `scribe bench local --help` lists what can be chosen."""
    context.exit(run(context.args))


def run(arguments: list[str]) -> int:
    from scribe_ledger.bench.local import main

    return main(arguments)
