"""How bad a run is: rates and times. ``MILD`` finds what is plainly wrong, ``HARSH`` what mild weather hides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from random import Random


class Weather(NamedTuple):
    election_ticks: tuple[int, int]
    storm_seconds: float
    loss: float
    """Of frames."""
    duplication: float
    late: float
    """Of frames that come up to ``late_seconds`` later than others, and so after them."""
    late_seconds: float
    refused: float
    """Of the frames lost: those of which the sender is told."""
    partition_every: float
    """Seconds, on average, between these; 0: never. The same for what follows."""
    partition_seconds: float
    crash_every: float
    crash_leader: float
    """Of crashes: those that hit the leader."""
    crash_within: float
    """Of crashes: those that come between two steps of one turn."""
    down_seconds: float
    pause_every: float
    jump_every: float
    """Of clocks."""
    slow_disk: float
    """Of syncs that take up to ``slow_seconds``."""
    slow_seconds: float
    overloaded: float
    """Of entries that the ledger cannot take at once."""
    churn_every: float
    transfer_every: float
    """Of leadership."""
    cut_every: float
    sign_every: float
    clients: int
    think_seconds: float
    bar_every: float = 0
    """Of members whose ledger turns out to be another: for as long as their process lives."""

    def varied(self, random: Random) -> Self:
        """Some of one thing and much of another: what is always mixed alike never meets in other ways."""
        often, seldom = (0.4, 1.0, 1.0, 2.5), (0.3, 1.0, 1.0, 3.0)
        return self._replace(
            duplication=self.duplication * random.choice(often),
            late=self.late * random.choice(often),
            partition_every=self.partition_every * random.choice(seldom),
            crash_every=self.crash_every * random.choice(seldom),
            pause_every=self.pause_every * random.choice(seldom),
            transfer_every=self.transfer_every * random.choice(seldom),
            churn_every=self.churn_every * random.choice(seldom),
            sign_every=self.sign_every * random.choice((1.0, 1.0, 30.0)),
            slow_disk=self.slow_disk * random.choice(often),
        )


MILD = Weather(
    election_ticks=(10, 20),
    storm_seconds=6.0,
    loss=0.02,
    duplication=0.02,
    late=0.05,
    late_seconds=0.2,
    refused=0.5,
    partition_every=3.0,
    partition_seconds=1.5,
    crash_every=3.0,
    crash_leader=0.3,
    crash_within=0.5,
    down_seconds=1.0,
    pause_every=5.0,
    jump_every=4.0,
    slow_disk=0.02,
    slow_seconds=0.3,
    overloaded=0.01,
    churn_every=1.5,
    transfer_every=1.5,
    cut_every=0.7,
    sign_every=0.7,
    clients=4,
    think_seconds=0.08,
)
HARSH = MILD._replace(
    election_ticks=(4, 9),
    storm_seconds=10.0,
    loss=0.3,
    duplication=0.1,
    late=0.2,
    late_seconds=0.6,
    partition_every=4.0,
    partition_seconds=0.7,
    crash_every=0.9,
    crash_leader=0.6,
    down_seconds=0.2,
    pause_every=3.0,
    jump_every=2.0,
    slow_disk=0.1,
    overloaded=0.03,
    churn_every=1.0,
    cut_every=0.5,
    sign_every=0.5,
    clients=8,
    think_seconds=0.05,
)
CALM = MILD._replace(
    loss=0.0,
    duplication=0.0,
    late=0.0,
    partition_every=0,
    crash_every=0,
    pause_every=0,
    jump_every=0,
    slow_disk=0.0,
    overloaded=0.0,
    churn_every=0,
    transfer_every=0,
)
