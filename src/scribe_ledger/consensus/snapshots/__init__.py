"""The payload of Raft's snapshots: made, kept, sent, fetched and installed. Raft's own message only describes it.

- ``description``: what a snapshot says of itself, on disk and on the wire
- ``copies``: what is asked of the ledger's store, which this room does not know
- ``keeper``: the folder ``snapshots/``: full snapshots, made on demand
- ``sending``, ``pieces``, ``fetching``: from one node's disk to the folder ``incoming/`` of another, resumable
- ``installing``: from there into the ledger, once it is proven; finished at the next start if the process dies

Term, vote, node key, ledger key and head never travel: they say what *this* node has promised and signed.
"""
