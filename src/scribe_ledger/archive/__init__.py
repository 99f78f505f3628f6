"""The archive: moves the log into the object store, keeps it tidy there, and brings it back.

``docs/design/0011-cold-tier.md`` has the order of the steps and what each may leave behind.
"""
