"""``Network``: frames between members. It loses, doubles and delays them, and cuts members off, one way or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulator.weather import Weather
    from tests.simulator.world import World


class Post(Protocol):
    """Where frames come out."""

    def deliver(self, to: int, sender: int, frame: bytes) -> None: ...


class Network:
    def __init__(self, world: World, weather: Weather, post: Post) -> None:
        self.weather = weather
        self._world = world
        self._post = post
        self.cut: dict[tuple[int, int], float] = {}
        """Sender and receiver that do not reach each other, and until when."""

    def reaches(self, sender: int, to: int) -> bool:
        return self.cut.get((sender, to), 0.0) <= self._world.now

    def send(self, sender: int, to: int, frames: Sequence[bytes]) -> bool:
        """False: the connection is known to be down."""
        taken = True
        for frame in frames:
            taken = self._send(sender, to, frame) and taken
        return taken

    def _send(self, sender: int, to: int, frame: bytes) -> bool:
        world, weather = self._world, self.weather
        if not self.reaches(sender, to) or world.chance(weather.loss):
            told = world.chance(weather.refused)
            world.tell_frame(sender, to, frame, "refused" if told else "lost")
            return not told
        copies = 2 if world.chance(weather.duplication) else 1
        for _ in range(copies):
            seconds = world.random.uniform(0.0002, 0.002)
            if world.chance(weather.late):
                seconds += world.random.uniform(0, weather.late_seconds)
            world.after(seconds, self._delivery(sender, to, frame))
        world.tell_frame(sender, to, frame, "sent" if copies == 1 else "sent twice")
        return True

    def _delivery(self, sender: int, to: int, frame: bytes) -> Callable[[], None]:
        return lambda: self._post.deliver(to, sender, frame)

    def partition(self, members: Sequence[int], seconds: float) -> None:
        """Some against the rest; every third time in one direction only."""
        world = self._world
        some = world.random.sample(list(members), world.random.randrange(1, max(2, len(members))))
        rest = [member for member in members if member not in some]
        one_way = world.chance(0.35)
        until = world.now + seconds
        for inside in some:
            for outside in rest:
                self.cut[inside, outside] = until
                if not one_way:
                    self.cut[outside, inside] = until
        world.tell(f"network: {some} {'do not reach' if one_way else 'and'} {rest} {'' if one_way else 'are cut off'}")

    def heal(self, weather: Weather) -> None:
        self.weather = weather
        self.cut.clear()
