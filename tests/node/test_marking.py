"""That what was found of a member's ledger reaches its folder, also past a disk that refuses for a while."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from scribe_ledger.consensus.agreement import ENTRIES, Divergence, Point
from scribe_ledger.consensus.formation.identity import IDENTITY, NodeIdentity
from scribe_ledger.consensus.standing import Standing
from scribe_ledger.node.marking import AGAIN_SECONDS, Marking

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.consensus

MARK = Divergence(Point(ENTRIES, 100), b"h" * 32, b"m" * 32, "1, 2")


class Member:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = NodeIdentity.load_or_create(folder)
        self.standing = Standing(1, lambda: 0.0, self.identity.mark)
        self.cleared: list[Divergence | None] = []
        self.marking = Marking(self.identity, self.standing, on_cleared=lambda: self.cleared.append(self.kept))

    @property
    def kept(self) -> Divergence | None:
        """What the next start finds."""
        told = json.loads((self.folder / IDENTITY).read_text()).get("diverged")
        return Divergence.from_json(told) if told else None

    def close(self) -> None:
        self.identity.close()

    async def beat(self, now: float) -> None:
        self.marking.look(now)
        await self.marking.close()


def test_a_mark_is_kept_and_wiped_out_and_that_is_said_when_it_is_durable(tmp_path: Path) -> None:
    async def run(member: Member) -> None:
        await member.beat(0)
        assert [member.kept, *member.cleared] == [None]
        member.standing.mark = MARK
        await member.beat(1)
        assert [member.kept, *member.cleared] == [MARK]
        member.standing.mark = None
        await member.beat(2)
        assert (member.kept, member.cleared) == (None, [None])

    with closing(Member(tmp_path)) as member:
        asyncio.run(run(member))


def test_a_write_that_failed_is_said_and_tried_again(tmp_path: Path) -> None:
    async def run(member: Member) -> None:
        obstacle = tmp_path / f"{IDENTITY}.new"
        obstacle.mkdir()
        member.standing.mark = MARK
        now = asyncio.get_running_loop().time()
        with capture_logs() as said:
            await member.beat(now)
        assert [line["log_level"] for line in said] == ["warning", "warning"], "once more before the end"
        obstacle.rmdir()
        member.marking.look(now)
        await asyncio.sleep(0)
        assert member.identity.mark is None, "after a pause"
        await member.beat(now + AGAIN_SECONDS + 1)
        assert member.kept == MARK

    with closing(Member(tmp_path)) as member:
        asyncio.run(run(member))
