"""What a node says of itself when it starts: on standard output, for people, in a few lines.

Programs may read the address from it: the first word that begins with ``http://``, printed when connections are taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.config.addresses import is_loopback
from scribe_ledger.config.masking import mask
from scribe_ledger.errors import counted
from scribe_ledger.node.exposure import exposure
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.config import Config
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.node.clustering import NodeCluster


NO_STORE = "none (the members share no object store)"


def banner(
    config: Config, ledger: ServedLedger, url: str, *, cluster: NodeCluster | None = None, has_no_store: bool = False
) -> str:
    store = NO_STORE if has_no_store else str(mask("storage.object_store", config.object_store_url)[0])
    rows = list(_rows(config, ledger, url, store))
    how = "stands alone" if cluster is None else f"member of the cluster of {ledger.origin}"
    lines = [f"Scribe Ledger {__version__}, node {config.node.id}, {how}"]
    if cluster is not None:
        lines.append(f"  {'Raft port':<13} {config.advertised_raft_address} (id {cluster.member.me.raft_id})")
        if (warning := exposure(config)) and not is_loopback(config.listen_host):
            lines.append(f"  {'INSECURE':<13} {warning}")
    lines += [f"  {name:<13} {value}" for name, value in rows]
    return "\n".join(lines) + "\n"


def _rows(config: Config, ledger: ServedLedger, url: str, store: str) -> Iterator[tuple[str, str]]:
    yield "listens on", url
    if url != f"http://{config.advertised_address}":
        yield "advertises", f"http://{config.advertised_address}"
    yield "data folder", f"{ledger.path.absolute()} ({counted(ledger.size)})"
    yield "object store", store
    yield "public key", ledger.public_key
    if ledger.identity.read_only:
        yield "READ ONLY", "restored from the object store; `scribe restore --promote` lets it take writes"
    if config.storage.durability == "relaxed":
        interval = config.storage.flush_interval_ms
        yield "DURABILITY", f"RELAXED: a power loss may take what was answered in the last {interval} ms"
    else:
        yield "durability", "full"
