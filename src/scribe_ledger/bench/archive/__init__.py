"""The benchmark of the cold tier: what ``scribe bench archive`` runs.

``command`` is the command, ``targets`` the lines of its table, ``rows`` which jobs they need. The large ledger is
written, archived and evicted once a run; ``sealing``, ``foreground``, ``cold``, ``cached``, ``requests``,
``recovering``, ``footprint`` and ``many_segments`` hold the jobs, each of which runs in a process of its own
(``worker``). Beside a bucket stands bare obstore, and the bucket is on a real S3 server (``s3``): versitygw, on the
loopback.

Nothing of this is needed to run a ledger, and nothing here tunes one.
"""
