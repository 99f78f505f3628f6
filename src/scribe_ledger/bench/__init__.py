"""The benchmarks: what `make bench` runs. This package is ``scribe bench local``, that of the embedded ledger.

It owns what is measured, beside what, and how that is reported; it tunes nothing and no other room imports it but the
commands. One rule holds everywhere: a ratio is made only of two figures of the same run, measured in alternating
blocks wherever that is possible, because the speed of a shared machine drifts more than the differences that matter.

``command`` is what all benchmarks share, ``http`` the package of ``scribe bench http``, that of a node, and ``archive``
that of ``scribe bench archive``, of the cold tier. Here
``local`` is the command, ``targets`` the lines of its table, ``rows`` which jobs they need; ``writing``, ``reading``,
``proving`` and ``footprint`` hold the jobs, each of which runs in a process of its own (``worker``).
"""
