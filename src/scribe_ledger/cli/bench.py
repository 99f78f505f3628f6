"""``bench``: hands everything over to the benchmark, which has options of its own."""

from __future__ import annotations

import click


@click.group(no_args_is_help=False)
def bench() -> None:
    """Measure speed and memory on this machine."""


_ITS_OWN = {"ignore_unknown_options": True, "allow_extra_args": True}


@bench.command(add_help_option=False, context_settings=_ITS_OWN)
@click.pass_context
def local(context: click.Context) -> None:
    """Measure the embedded ledger. `scribe bench local --help` lists what can be chosen."""
    context.exit(run(context.args))


@bench.command(add_help_option=False, context_settings=_ITS_OWN)
@click.pass_context
def http(context: click.Context) -> None:
    """Measure a node under load. `scribe bench http --help` lists what can be chosen."""
    context.exit(run_http(context.args))


@bench.command(add_help_option=False, context_settings=_ITS_OWN)
@click.pass_context
def archive(context: click.Context) -> None:
    """Measure the cold tier. `scribe bench archive --help` lists what can be chosen."""
    context.exit(run_archive(context.args))


@bench.command(add_help_option=False, context_settings=_ITS_OWN)
@click.pass_context
def cluster(context: click.Context) -> None:
    """Measure three nodes. `scribe bench cluster --help` lists what can be chosen."""
    context.exit(run_cluster(context.args))


def run(arguments: list[str]) -> int:
    from scribe_ledger.bench.local import main

    return main(arguments)


def run_http(arguments: list[str]) -> int:
    from scribe_ledger.bench.http.command import main

    return main(arguments)


def run_archive(arguments: list[str]) -> int:
    from scribe_ledger.bench.archive.command import main

    return main(arguments)


def run_cluster(arguments: list[str]) -> int:
    from scribe_ledger.bench.cluster.command import main

    return main(arguments)
