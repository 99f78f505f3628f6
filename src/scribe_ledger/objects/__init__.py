"""Objects: whole files under paths that this room computes, and large values kept among them.

``blobs`` is what the ledger uses; ``folder`` is the store below it, ``paths`` names everything, and
``docs/design/0003-large-values.md`` says why it is so.
"""

from scribe_ledger.objects.blobs import Blob, BlobReader, BlobStore, SpooledBlob, Spooler
from scribe_ledger.objects.folder import FolderStore, ObjectStat

__all__ = ["Blob", "BlobReader", "BlobStore", "FolderStore", "ObjectStat", "SpooledBlob", "Spooler"]
