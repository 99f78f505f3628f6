"""The benchmark of a node over HTTP: what ``scribe bench http`` runs.

The real ``scribe-node`` in a process of its own (``servers``), on a folder of the run, under load from another process:
``wrk`` (``load``, ``scripts``) where it is about rates, ``pacing`` where a rate is given and waiting is measured,
``wire`` where one connection is enough. Beside it, in turns and in the same run, the same load against the empty lane
(``lane``): the same server, which does nothing.

``command`` is the command, ``targets`` the lines of its table, ``rows`` the rows; they are measured in ``writing``,
``reading``, ``proving``, ``large``, ``latency`` and ``starting``.
"""
