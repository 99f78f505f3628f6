"""Segments: one contiguous range of the log as an immutable Parquet file, written, read and checked.

Nothing here knows the ledger's rules, its store or its tree: rows come in and go out. ``docs/design/0011-cold-tier.md``
says why it is so, ``docs/reference/formats.md`` what the bytes are.
"""
