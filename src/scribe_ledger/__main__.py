"""``python -m scribe_ledger`` is the ``scribe`` command."""

from scribe_ledger.cli.main import main

main()
