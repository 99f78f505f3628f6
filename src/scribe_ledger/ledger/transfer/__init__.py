"""Entries on their way out of a ledger and into one, as NDJSON or Parquet, in bounded memory.

``rows`` is the one shape both formats share; ``ndjson`` and ``parquet`` read and write it; ``exporting``, ``importing``
and ``verbatim`` move rows between a file and a ledger. Nothing here opens a ledger or prints.
"""
