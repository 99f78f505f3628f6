"""``python -m scribe_ledger.bench``: the same as ``scribe bench local``."""

import sys

from scribe_ledger.bench.local import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
