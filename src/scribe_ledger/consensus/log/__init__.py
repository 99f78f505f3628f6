"""Raft's log on disk: entries, hard state and where the log begins; the one thing that is synced each turn."""
