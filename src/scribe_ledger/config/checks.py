"""Rules that concern more than one setting. Each yields what disagrees, so that all of it is reported at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.config.addresses import split_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.config.sections import Settings


class Disagreement(NamedTuple):
    """Settings that are each possible and together impossible. The caller adds values and places."""

    keys: tuple[str, ...]
    """Dotted keys, or the name of a whole table."""
    what: str
    remedy: str


def disagreements(settings: Settings) -> Iterator[Disagreement]:
    """Everything that cannot work together, in the order of the sections."""
    yield from _ports(settings)
    yield from _object_store(settings)
    yield from _credentials(settings)
    yield from _election(settings)
    yield from _cluster(settings)
    yield from _logging(settings)


def _ports(settings: Settings) -> Iterator[Disagreement]:
    network = settings.network
    _, listen_port = split_address(network.listen_addr)
    if listen_port is not None and listen_port != network.client_port:
        yield Disagreement(
            ("network.listen_addr", "network.client_port"),
            "name two different ports",
            "Write the host alone in listen_addr and the port in client_port",
        )
    if network.client_port == network.raft_port:
        yield Disagreement(
            ("network.client_port", "network.raft_port"),
            "are the same port on the same host",
            "Give each its own, such as 8001 and 9001",
        )


def _object_store(settings: Settings) -> Iterator[Disagreement]:
    storage = settings.storage
    if storage.object_store and storage.s3 is not None:
        yield Disagreement(
            ("storage.object_store", "storage.s3"),
            "both name the archive",
            "Keep one: remove object_store, or the [storage.s3] table (its variables too)",
        )


def _credentials(settings: Settings) -> Iterator[Disagreement]:
    s3, cluster = settings.storage.s3, settings.cluster
    if s3 is not None and bool(s3.access_key_id) != bool(s3.secret_access_key):
        yield Disagreement(
            ("storage.s3.access_key_id", "storage.s3.secret_access_key"),
            "are only useful together",
            "Set both, or neither to use the AWS credentials of the environment",
        )
    if 0 < sum(map(bool, (cluster.tls_cert, cluster.tls_key, cluster.tls_ca))) < 3:
        yield Disagreement(
            ("cluster.tls_cert", "cluster.tls_key", "cluster.tls_ca"),
            "are only useful together",
            "Mutual TLS needs certificate, key and authority: set all three, or none",
        )


def _election(settings: Settings) -> Iterator[Disagreement]:
    consensus = settings.consensus
    if consensus.election_timeout_min <= consensus.heartbeat_interval_ms:
        yield Disagreement(
            ("consensus.election_timeout_min", "consensus.heartbeat_interval_ms"),
            "would start elections between two heartbeats",
            "The shortest election timeout must be above the heartbeat: "
            f"five times is usual, election_timeout_min = {5 * consensus.heartbeat_interval_ms}",
        )
    if consensus.election_timeout_min >= consensus.election_timeout_max:
        yield Disagreement(
            ("consensus.election_timeout_min", "consensus.election_timeout_max"),
            "leave no range to draw a timeout from",
            "The longest must be above the shortest: "
            f"twice is usual, election_timeout_max = {2 * consensus.election_timeout_min}",
        )


def _cluster(settings: Settings) -> Iterator[Disagreement]:
    discovery, seeds = settings.discovery, settings.network.seed_peers
    if discovery.enabled and not (seeds or discovery.dns or discovery.mdns):
        yield Disagreement(
            ("discovery.enabled", "discovery.dns", "discovery.mdns"),
            "leave discovery nowhere to look",
            "Set mdns = true, give dns a name, or list network.seed_peers",
        )
    if discovery.failure_timeout_ms <= discovery.heartbeat_interval_ms:
        yield Disagreement(
            ("discovery.failure_timeout_ms", "discovery.heartbeat_interval_ms"),
            "would forget peers between two announcements",
            f"Set failure_timeout_ms to {3 * discovery.heartbeat_interval_ms}, or announce more often",
        )
    if settings.storage.durability == "relaxed" and (seeds or discovery.enabled):
        member_by = "network.seed_peers" if seeds else "discovery.enabled"
        yield Disagreement(
            ("storage.durability", member_by),
            "do not go together: a cluster answers only what is synced",
            'Set durability = "full", or run this node alone',
        )


def _logging(settings: Settings) -> Iterator[Disagreement]:
    if settings.logging.output != "console" and not settings.logging.file:
        yield Disagreement(
            ("logging.output", "logging.file"),
            "name no file to log to",
            'Set file = "./scribe.log", or output = "console"',
        )
