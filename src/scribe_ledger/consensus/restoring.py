"""``Restoring``: a snapshot on its receiver, from a leader's word for it to a log that goes on after it.

The ledger takes the payload first; then engine and log follow. Invariants: nothing is applied while one is installed;
and until the log is durably told of it the engine hears of nothing that is applied, and nobody stands for election.

Whether the log holds the entry at which the snapshot was taken is decided by the *term* there, as everywhere in Raft.
A log may be longer and of another leader's entries: then none of those from there on was ever committed, and this
member never acknowledged them to the present leader, whose log holds the snapshot's entry. So they may go.

It does not fetch the payload, or check it: see ``snapshots``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_raft import StepError, describe

from scribe_ledger.consensus.exchange import NEVER, ArrivedSnapshot
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.starting import begin_after
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from scribe_raft import Node

    from scribe_ledger.consensus.applying import Applier
    from scribe_ledger.consensus.exchange import Counters
    from scribe_ledger.consensus.log.store import LogWrite
    from scribe_ledger.consensus.starting import Start
    from scribe_ledger.consensus.statemachine import StateMachine


class Restoring:
    def __init__(self, machine: StateMachine, applier: Applier, counters: Counters) -> None:
        self._machine, self._applier, self._counters = machine, applier, counters
        self.arrived: ArrivedSnapshot | None = None
        """The last one that a leader announced and that nobody took up."""
        self._least = 0
        """What is installed reaches at least so far."""
        self._write: LogWrite | None = None
        self._turn: int | None = None
        """In which the log is told of a snapshot that the engine took."""

    # --- what a leader says ------------------------------------------------------------------------------------

    def receive(self, node: Node, sender: int, message: bytes) -> bool:
        """Keeps a leader's message until somebody takes it up. True: the engine has that much, and says so itself."""
        told = describe(message)
        if told["from"] != sender or told["to"] != node.id:
            raise ValueError("a snapshot message for somebody else, or from somebody else")
        index, term, _, data = told["snapshot"]
        if index <= node.commit_index:
            return True
        if told["term"] >= node.term:
            self.arrived = ArrivedSnapshot(sender, index, term, data, message)
        return False

    # --- installing --------------------------------------------------------------------------------------------

    @property
    def installing(self) -> bool:
        return self._applier.stopped

    def begin(self, index: int) -> bool:
        if self.installing or index <= self._applier.applied:
            return False
        self._least = index
        self._applier.stopped = True
        return True

    def give_up(self) -> None:
        """The machine is as before."""
        self._end()

    def finish(self) -> Membership:
        """The machine has taken a snapshot, and the membership record with it, which is returned."""
        self._end()
        membership = Membership.decode(self._machine.membership)
        if not self._machine.position == membership.index >= self._least:
            raise ValueError(f"the snapshot at {self._least} is not what the ledger has now")
        self._counters.snapshots_installed += 1
        self._applier.installed(membership)
        return membership

    def _end(self) -> None:
        if not self.installing:
            raise ValueError("no snapshot is being installed")
        self._applier.stopped = False

    def follow(self, node: Node, message: bytes, membership: Membership) -> Start | None:
        """Three ways: the engine takes the leader's message; or its log holds that entry by now; or the message is
        stale, and a new engine must start from what is returned. The log is then told so before anything else."""
        index = membership.index
        try:
            node.step(message)
        except StepError:
            self._counters.refused += 1
        status = node.status()
        if status["first_index"] > index:
            self._turn = NEVER
        elif node.term_at(index) == membership.term:
            return None
        else:
            start = begin_after(index, membership, (status["term"], status["vote"], status["commit"]))
            self._write, self._turn = start.initial_write, None
            self._applier.begin_after_installed()
            return start
        self._applier.begin_after_installed()
        return None

    # --- telling the log ---------------------------------------------------------------------------------------

    @property
    def unlogged(self) -> bool:
        """Whether the engine took a snapshot of which the log may not know yet."""
        return self._turn is not None

    def take_write(self) -> LogWrite | None:
        """What the log is told before anything that the engine wants written."""
        write, self._write = self._write, None
        return write

    def told(self, index: int, turn: int) -> None:
        """The log is told, in this turn, of the snapshot that the engine took."""
        if index != self._applier.worked_off:
            raise Corruption(f"the engine took a snapshot at {index:,} that the ledger does not have")
        self._turn = turn

    def persisted(self, number: int) -> None:
        """That turn, and all before it, are durable."""
        if self._turn is not None and self._turn <= number:
            self._turn = None
