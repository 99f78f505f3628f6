"""The process around the ledger: building a node from its settings, serving, watching the disk, logging, stopping."""
