"""Objects: whole files under paths that this room computes, and large values kept among them.

``store`` is the contract, ``folder`` and ``remote`` keep it, ``opening`` finds the right one for a URL; ``paths`` names
everything and ``identity`` says whose store it is. ``blobs`` keeps large values in any of them. The reasons are in
``docs/design/0003-large-values.md`` and ``docs/design/0011-cold-tier.md``.
"""

from scribe_ledger.objects.blobs import Blob, BlobReader, BlobStore, SpooledBlob, Spooler
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.store import ListedObject, ObjectStat, ObjectStore

__all__ = [
    "Blob",
    "BlobReader",
    "BlobStore",
    "FolderStore",
    "ListedObject",
    "ObjectStat",
    "ObjectStore",
    "SpooledBlob",
    "Spooler",
]
