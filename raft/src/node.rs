//! One member of a Raft group: raft-rs's `RawNode` for Python.
//!
//! Two rules are held here. Between `ready` and `advance` the engine takes nothing that could change it. And after a panic
//! it takes nothing at all. What is refused leaves the engine as it was.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use raft::eraftpb::{Entry, Message, MessageType, Snapshot};
use raft::{Config, INVALID_ID, RawNode, SnapshotStatus, StateRole, Storage};

use crate::conf::{self, Change, Conf};
use crate::errors::{NotLeader, RaftError, RaftPanic, StepError, refused};
use crate::guard;
use crate::logs::{Line, Logs};
use crate::octets::Octets;
use crate::ready::{LightReady, Ready, role};
use crate::start::{EntryRow, start};
use crate::status;
use crate::storage::Mirror;
use crate::timeouts::Timeouts;
use crate::wire::{self, READ_CONTEXT_BYTES_MAX};

/// Rounds of reads that wait for a quorum at once; more are refused.
const PENDING_READS_MAX: usize = 4096;

/// What a message takes beside the data of its entries, and an entry beside its data.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;

/// One member of a Raft group, in memory: messages in; messages, entries and state out.
#[pyclass(module = "scribe_raft")]
pub struct Node {
    raw: RawNode<Mirror>,
    /// The ready that Python works on.
    out: Option<raft::Ready>,
    /// The number of the last ready that was advanced.
    advanced: u64,
    /// The last index given out to be applied.
    handed_out: u64,
    poisoned: Option<String>,
    timeouts: Timeouts,
    logs: Logs,
    message_bytes_max: usize,
}

impl Node {
    /// Calls the engine. A panic of it poisons the node.
    fn engine<R>(&mut self, work: impl FnOnce(&mut RawNode<Mirror>) -> R) -> PyResult<R> {
        if let Some(why) = &self.poisoned {
            return Err(RaftPanic::new_err(why.clone()));
        }
        let (raw, timeouts) = (&mut self.raw, &mut self.timeouts);
        let outcome = guard::catch(|| {
            let result = work(raw);
            timeouts.settle(&mut raw.raft);
            result
        });
        outcome.map_err(|why| self.poison(why))
    }

    /// Calls the engine where no ready is out.
    fn turn<R>(&mut self, work: impl FnOnce(&mut RawNode<Mirror>) -> R) -> PyResult<R> {
        match &self.out {
            Some(ready) => {
                Err(RaftError::new_err(format!("ready {} is out: advance it first", ready.number())))
            }
            None => self.engine(work),
        }
    }

    fn poison(&mut self, why: String) -> PyErr {
        self.poisoned = Some(why.clone());
        RaftPanic::new_err(why)
    }

    fn lead(&self) -> PyResult<()> {
        match self.is_leader() {
            true => Ok(()),
            false => Err(NotLeader::new_err(self.raw.raft.leader_id)),
        }
    }

    /// Takes back the ready that is out, which must be this one, and mirrors what it made durable.
    fn take_back(&mut self, ready: &Ready) -> PyResult<raft::Ready> {
        let id = self.raw.raft.id;
        let Some(out) = self.out.take_if(|out| ready.is(id, out.number())) else {
            return Err(RaftError::new_err(format!("this ready is not out of node {id}")));
        };
        self.engine(|raw| {
            let metadata = out.snapshot().get_metadata();
            if !out.snapshot().is_empty() {
                raw.mut_store().restore(metadata.index, metadata.term);
            }
            raw.mut_store().append(out.entries());
        })?;
        self.advanced = out.number();
        Ok(out)
    }

    fn light(&mut self, py: Python<'_>, light: raft::LightReady) -> PyResult<LightReady> {
        self.hand_out(light.committed_entries());
        LightReady::new(py, light).map_err(|error| self.poison(format!("a light ready was lost: {error}")))
    }

    fn hand_out(&mut self, committed: &[Entry]) {
        self.handed_out = committed.last().map_or(self.handed_out, |entry| entry.index);
    }

    /// Checks a message and gives it to the engine.
    fn take(&mut self, data: &[u8], sender: u64) -> PyResult<()> {
        let message = wire::parse(data, self.message_bytes_max)?;
        wire::check_address(&message, self.raw.raft.id, sender)?;
        let read = message.get_msg_type() == MessageType::MsgReadIndex;
        if read && self.raw.raft.pending_read_count() >= PENDING_READS_MAX {
            return Err(StepError::new_err("too many reads wait for a quorum"));
        }
        self.turn(|raw| raw.step(message))?.map_err(refused)
    }

    fn new_entry(&self, data: Octets<'_>, context: Octets<'_>) -> PyResult<Entry> {
        self.check_size("an entry", data.len() + context.len())?;
        let (data, context) = (data.into_vec().into(), context.into_vec().into());
        Ok(Entry { data, context, ..Entry::default() })
    }

    fn check_size(&self, what: &str, bytes: usize) -> PyResult<()> {
        let bytes_max = self.message_bytes_max - MESSAGE_OVERHEAD_BYTES;
        if bytes > bytes_max {
            return Err(PyValueError::new_err(format!(
                "{what} of {bytes} bytes, at most {bytes_max} fit a message"
            )));
        }
        Ok(())
    }

    /// Proposes entries of the leader; gives their term, and the index of the last.
    fn propose_entries(&mut self, entries: Vec<Entry>) -> PyResult<(u64, u64)> {
        self.lead()?;
        let proposed = self.turn(|raw| {
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgPropose);
            message.from = raw.raft.id;
            message.set_entries(entries.into());
            raw.raft.step(message).map(|()| (raw.raft.term, raw.raft.raft_log.last_index()))
        })?;
        proposed.map_err(refused)
    }
}

#[pymethods]
impl Node {
    #[new]
    #[pyo3(signature = (
        id, *, conf_state, hard_state = (0, 0, 0), entries = None, truncated = (0, 0), applied = 0,
        election_tick = 10, election_tick_max = None, heartbeat_tick = 1, max_size_per_msg = 1_048_576,
        max_inflight_msgs = 64, pre_vote = true, check_quorum = true, priority = 0, max_uncommitted_size = 67_108_864,
        max_committed_size_per_ready = 4_194_304, max_message_bytes = 16_777_216, skip_bcast_commit = false,
        seed = None, log_level = 20
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        id: u64,
        conf_state: Conf,
        hard_state: (u64, u64, u64),
        entries: Option<Vec<EntryRow<'_>>>,
        truncated: (u64, u64),
        applied: u64,
        election_tick: u32,
        election_tick_max: Option<u32>,
        heartbeat_tick: u32,
        max_size_per_msg: u32,
        max_inflight_msgs: u16,
        pre_vote: bool,
        check_quorum: bool,
        priority: i64,
        max_uncommitted_size: u64,
        max_committed_size_per_ready: u64,
        max_message_bytes: u32,
        skip_bcast_commit: bool,
        seed: Option<u64>,
        log_level: u8,
    ) -> PyResult<Node> {
        let config = Config {
            id,
            election_tick: election_tick as usize,
            // 0 is the engine's word for the default; from a caller it is an empty range, as 1 is.
            max_election_tick: election_tick_max.map_or(0, |ticks| ticks.max(1) as usize),
            heartbeat_tick: heartbeat_tick as usize,
            applied,
            max_size_per_msg: u64::from(max_size_per_msg),
            max_inflight_msgs: usize::from(max_inflight_msgs),
            pre_vote,
            check_quorum,
            priority,
            max_uncommitted_size,
            max_committed_size_per_ready,
            skip_bcast_commit,
            ..Config::default()
        };
        config.validate().map_err(|error| PyValueError::new_err(error.to_string()))?;
        let message_bytes_max = max_message_bytes as usize;
        if message_bytes_max < max_size_per_msg as usize + MESSAGE_OVERHEAD_BYTES {
            return Err(PyValueError::new_err("max_message_bytes leaves no room for max_size_per_msg"));
        }
        let mirror = start(hard_state, conf_state, truncated, entries.unwrap_or_default(), applied)?;
        let logs = Logs::new(log_level);
        let mut timeouts = Timeouts::new(seed, id, &config);
        let built = guard::catch(|| {
            let mut raw = RawNode::new(&config, mirror, &logs.logger())?;
            timeouts.settle(&mut raw.raft);
            Ok(raw)
        });
        let raw = built.map_err(RaftPanic::new_err)?.map_err(refused)?;
        let (advanced, handed_out) = (0, applied);
        Ok(Node { raw, out: None, advanced, handed_out, poisoned: None, timeouts, logs, message_bytes_max })
    }

    // --- what happens to a node ---------------------------------------------------------------------------------

    fn tick(&mut self) -> PyResult<bool> {
        self.turn(RawNode::tick)
    }

    #[pyo3(signature = (data, /, *, sender = 0))]
    fn step(&mut self, data: Octets<'_>, sender: u64) -> PyResult<()> {
        self.take(&data, sender)
    }

    #[pyo3(signature = (messages, /, *, sender = 0))]
    fn step_many(&mut self, py: Python<'_>, messages: Vec<Octets<'_>>, sender: u64) -> PyResult<usize> {
        self.turn(|_| ())?;
        let mut refused = 0;
        for message in messages {
            match self.take(&message, sender) {
                Err(error) if error.is_instance_of::<RaftPanic>(py) => return Err(error),
                outcome => refused += usize::from(outcome.is_err()),
            }
        }
        Ok(refused)
    }

    fn campaign(&mut self) -> PyResult<()> {
        if !self.raw.raft.promotable() {
            return Err(RaftError::new_err("only a voter stands for election")); // the engine would let a learner try
        }
        self.turn(RawNode::campaign)?.map_err(refused)
    }

    #[pyo3(signature = (id, /))]
    fn report_unreachable(&mut self, id: u64) -> PyResult<()> {
        self.turn(|raw| raw.report_unreachable(id))
    }

    #[pyo3(signature = (id, ok, /))]
    fn report_snapshot(&mut self, id: u64, ok: bool) -> PyResult<()> {
        let outcome = if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.turn(|raw| raw.report_snapshot(id, outcome))
    }

    // --- what the application wants -----------------------------------------------------------------------------

    #[pyo3(signature = (data, context = Octets::NONE), text_signature = "(data, context=b'')")]
    fn propose(&mut self, data: Octets<'_>, context: Octets<'_>) -> PyResult<(u64, u64)> {
        let entry = self.new_entry(data, context)?;
        self.propose_entries(vec![entry])
    }

    #[pyo3(signature = (datas, /))]
    fn propose_many(&mut self, datas: Vec<Octets<'_>>) -> PyResult<(u64, u64, u64)> {
        let entries =
            datas.into_iter().map(|data| self.new_entry(data, Octets::NONE)).collect::<PyResult<Vec<_>>>()?;
        let count = entries.len() as u64;
        if count == 0 {
            return Err(PyValueError::new_err("nothing to propose"));
        }
        let (term, last) = self.propose_entries(entries)?;
        Ok((term, last + 1 - count, last))
    }

    #[pyo3(
        signature = (changes, transition = "auto", context = Octets::NONE),
        text_signature = "(changes, transition='auto', context=b'')"
    )]
    fn propose_conf_change(
        &mut self,
        changes: Vec<Change>,
        transition: &str,
        context: Octets<'_>,
    ) -> PyResult<(u64, u64)> {
        self.check_size("a change", context.len() + changes.len() * 16)?;
        let mut change = conf::change(changes, transition)?;
        change.context = context.into_vec().into();
        self.lead()?;
        let proposed = self.turn(|raw| {
            conf::check_change(&raw.raft, &change)?;
            raw.propose_conf_change(vec![], change)?;
            Ok((raw.raft.term, raw.raft.raft_log.last_index()))
        })?;
        proposed.map_err(refused)
    }

    #[pyo3(signature = (entry_type, data, /))]
    fn apply_conf_change(&mut self, entry_type: u8, data: Octets<'_>) -> PyResult<Conf> {
        let change = conf::entry_type(entry_type).and_then(|kind| conf::parse(kind, &data));
        let change = change.map_err(PyValueError::new_err)?;
        let applied = self.engine(|raw| raw.apply_conf_change(&change))?;
        applied.map(|state| conf::to_python(&state)).map_err(refused)
    }

    #[pyo3(signature = (context, /))]
    fn read_index(&mut self, context: Octets<'_>) -> PyResult<bool> {
        if !(1..=READ_CONTEXT_BYTES_MAX).contains(&context.len()) {
            let why = format!("a read's context has 1 to {READ_CONTEXT_BYTES_MAX} bytes");
            return Err(PyValueError::new_err(why));
        }
        self.turn(|raw| {
            let raft = &raw.raft;
            let known = match raft.state {
                StateRole::Leader => raft.commit_to_current_term(),
                StateRole::Follower => raft.leader_id != 0,
                StateRole::Candidate | StateRole::PreCandidate => false,
            };
            let taken = known && raft.pending_read_count() < PENDING_READS_MAX;
            if taken {
                raw.read_index(context.into_vec());
            }
            taken
        })
    }

    #[pyo3(signature = (to, /))]
    fn transfer_leader(&mut self, to: u64) -> PyResult<()> {
        self.lead()?;
        if !self.raw.raft.prs().conf().voters().contains(to) {
            return Err(RaftError::new_err(format!("node {to} is no voter")));
        }
        self.turn(|raw| raw.transfer_leader(to))
    }

    fn step_down(&mut self) -> PyResult<()> {
        self.lead()?;
        // What the engine itself does where a leader does not hear from a majority.
        self.turn(|raw| raw.raft.become_follower(raw.raft.term, INVALID_ID))
    }

    fn request_snapshot(&mut self) -> PyResult<()> {
        self.turn(RawNode::request_snapshot)?.map_err(refused)
    }

    // --- readies ------------------------------------------------------------------------------------------------

    fn has_ready(&mut self) -> PyResult<bool> {
        self.engine(|raw| raw.has_ready())
    }

    fn ready(&mut self, py: Python<'_>) -> PyResult<Option<Ready>> {
        let Some(mut ready) = self.turn(|raw| raw.has_ready().then(|| raw.ready()))? else {
            return Ok(None);
        };
        let told = Ready::new(py, self.raw.raft.id, &mut ready);
        if !ready.snapshot().is_empty() {
            self.handed_out = ready.snapshot().get_metadata().index;
        }
        self.hand_out(ready.committed_entries());
        self.out = Some(ready);
        told.map(Some).map_err(|error| self.poison(format!("a ready was lost: {error}")))
    }

    #[pyo3(signature = (ready, /))]
    fn advance(&mut self, py: Python<'_>, ready: &Ready) -> PyResult<LightReady> {
        let out = self.take_back(ready)?;
        let light = self.engine(|raw| raw.advance(out))?;
        self.light(py, light)
    }

    #[pyo3(signature = (ready, /))]
    fn advance_append(&mut self, py: Python<'_>, ready: &Ready) -> PyResult<LightReady> {
        let out = self.take_back(ready)?;
        let light = self.engine(|raw| raw.advance_append(out))?;
        self.light(py, light)
    }

    #[pyo3(signature = (ready, /))]
    fn advance_append_async(&mut self, ready: &Ready) -> PyResult<()> {
        let out = self.take_back(ready)?;
        self.engine(|raw| raw.advance_append_async(out))
    }

    #[pyo3(signature = (number, /))]
    fn on_persist_ready(&mut self, number: u64) -> PyResult<()> {
        if number > self.advanced {
            return Err(PyValueError::new_err(format!("ready {number} is not advanced yet")));
        }
        self.turn(|raw| raw.on_persist_ready(number))
    }

    #[pyo3(signature = (index = None, /))]
    fn advance_apply(&mut self, index: Option<u64>) -> PyResult<()> {
        let log = &self.raw.raft.raft_log;
        let index = index.unwrap_or(self.handed_out);
        let last = self.handed_out.min(log.committed).min(log.persisted);
        if !(log.applied..=last).contains(&index) {
            let why = format!("applied {index}: it is {} now and can be {last} at most", log.applied);
            return Err(PyValueError::new_err(why));
        }
        self.turn(|raw| raw.advance_apply_to(index))
    }

    // --- the log and its snapshots ------------------------------------------------------------------------------

    #[pyo3(signature = (index, /))]
    fn term_at(&mut self, index: u64) -> PyResult<Option<u64>> {
        // The engine says 0 outside of the log.
        self.engine(|raw| raw.raft.raft_log.term(index).ok().filter(|term| *term > 0))
    }

    #[pyo3(signature = (index, /))]
    fn compact(&mut self, index: u64) -> PyResult<()> {
        let applied = self.raw.raft.raft_log.applied;
        if index > applied {
            return Err(PyValueError::new_err(format!("entry {index} is not applied, {applied} is")));
        }
        self.engine(|raw| raw.mut_store().compact(index))
    }

    #[pyo3(signature = (index, conf_state, data = Octets::NONE), text_signature = "(index, conf_state, data=b'')")]
    fn set_snapshot(&mut self, index: u64, conf_state: Conf, data: Octets<'_>) -> PyResult<()> {
        self.check_size("a snapshot", data.len() + 64 * conf_ids(&conf_state))?;
        let conf_state = conf::from_python(conf_state).map_err(PyValueError::new_err)?;
        let applied = self.raw.raft.raft_log.applied;
        let term = self.raw.store().term(index).unwrap_or(0);
        if term == 0 || index > applied || conf_state.voters.is_empty() {
            let first = self.raw.store().truncated().0.max(1);
            let why = format!("a snapshot at {index}: possible from {first} to {applied}, with voters");
            return Err(PyValueError::new_err(why));
        }
        let mut snapshot = Snapshot { data: data.into_vec().into(), ..Snapshot::default() };
        snapshot.mut_metadata().index = index;
        snapshot.mut_metadata().term = term;
        snapshot.mut_metadata().set_conf_state(conf_state);
        self.engine(|raw| raw.mut_store().offer(Some(snapshot)))
    }

    fn clear_snapshot(&mut self) -> PyResult<()> {
        self.engine(|raw| raw.mut_store().offer(None))
    }

    fn take_snapshots_wanted(&mut self) -> PyResult<Vec<u64>> {
        self.engine(|raw| raw.store().take_wanted())
    }

    // --- what a node is -----------------------------------------------------------------------------------------

    #[getter]
    fn id(&self) -> u64 {
        self.raw.raft.id
    }

    #[getter]
    fn term(&self) -> u64 {
        self.raw.raft.term
    }

    #[getter]
    fn leader(&self) -> u64 {
        self.raw.raft.leader_id
    }

    #[getter]
    fn role(&self) -> &'static str {
        role(self.raw.raft.state)
    }

    #[getter]
    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    #[getter]
    fn commit_index(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    #[getter]
    fn applied_index(&self) -> u64 {
        self.raw.raft.raft_log.applied
    }

    #[getter]
    fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    #[getter]
    fn randomized_election_timeout(&self) -> usize {
        self.raw.raft.randomized_election_timeout()
    }

    #[pyo3(signature = (ticks, /))]
    fn set_randomized_election_timeout(&mut self, ticks: usize) -> PyResult<()> {
        let range = self.timeouts.range();
        if !range.contains(&ticks) {
            return Err(PyValueError::new_err(format!(
                "{ticks} ticks: possible from {} to {}",
                range.start,
                range.end - 1
            )));
        }
        self.timeouts.set(&mut self.raw.raft, ticks);
        Ok(())
    }

    fn status<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.engine(|raw| status::status(py, raw))?
    }

    fn take_logs(&self) -> Vec<Line> {
        self.logs.take()
    }

    #[pyo3(signature = (level, /))]
    fn set_log_level(&self, level: u8) {
        self.logs.set_level(level);
    }

    fn __repr__(&self) -> String {
        let raft = &self.raw.raft;
        format!(
            "Node(id={}, role={}, term={}, leader={})",
            raft.id,
            role(raft.state),
            raft.term,
            raft.leader_id
        )
    }
}

fn conf_ids(conf: &Conf) -> usize {
    conf.0.len() + conf.1.len() + conf.2.len() + conf.3.len()
}
