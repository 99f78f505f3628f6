"""``scribe bench cluster``: three nodes of one cluster on this machine, beside the bare engine, in one run.

``nodes`` starts real ``scribe-node`` processes on folders of their own; ``spread`` sends wrk's load to all of them.
``writing``, ``reading``, ``starting`` and ``joining`` hold the rows, ``bare`` the loop of the engine alone that stands
beside them (``engine`` is one of its processes), ``targets`` the lines of the table. Rates and paced loads are those
of ``scribe_ledger.bench.http``.

Every node is durable and has the shipped settings, without access lines. Nodes, engine and generator share one machine.
"""
