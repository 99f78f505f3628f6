"""Clusters: one log that a majority agrees on, over the engine of ``scribe_raft``.

Nothing here knows what a command means. ``statemachine`` is the seam to the ledger, ``replica`` drives the engine,
``member`` gives it a disk, a clock and a network. ``docs/design/0013-cluster.md`` has the rules between them.
"""
