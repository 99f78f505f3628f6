//! What the engine gives out: what to persist, to send and to apply. Plain data, with no way back to the engine.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use raft::StateRole;

use crate::conf::{self, Conf};
use crate::messages::{self, Outgoing};

/// One turn of the engine.
#[pyclass(frozen, get_all, module = "scribe_raft")]
pub struct Ready {
    node: u64,
    number: u64,
    must_sync: bool,
    hard_state: Option<(u64, u64, u64)>,
    soft_state: Option<(u64, &'static str)>,
    snapshot: Option<(u64, u64, Conf, Py<PyBytes>)>,
    entries: Py<PyList>,
    committed_entries: Py<PyList>,
    messages: Py<PyDict>,
    persisted_messages: Py<PyDict>,
    snapshot_messages: Py<PyList>,
    read_states: Py<PyList>,
}

impl Ready {
    /// Copies the ready for Python and takes its messages; entries and snapshot stay for the mirror.
    pub fn new(py: Python<'_>, node: u64, ready: &mut raft::Ready) -> PyResult<Ready> {
        let now = Outgoing::encode(py, &ready.take_messages())?;
        let later = Outgoing::encode(py, &ready.take_persisted_messages())?;
        let snapshots = if now.snapshots.bind(py).is_empty() { later.snapshots } else { now.snapshots };
        let reads = ready.take_read_states();
        let reads = reads.iter().map(|read| (read.index, PyBytes::new(py, &read.request_ctx)));
        Ok(Ready {
            node,
            number: ready.number(),
            must_sync: ready.must_sync(),
            hard_state: ready.hs().map(|state| (state.term, state.vote, state.commit)),
            soft_state: ready.ss().map(|state| (state.leader_id, role(state.raft_state))),
            snapshot: snapshot(py, ready),
            entries: messages::entries(py, ready.entries())?,
            committed_entries: messages::entries(py, ready.committed_entries())?,
            messages: now.messages,
            persisted_messages: later.messages,
            snapshot_messages: snapshots,
            read_states: PyList::new(py, reads)?.unbind(),
        })
    }

    /// Whether this is the ready of that node and number.
    pub fn is(&self, node: u64, number: u64) -> bool {
        (self.node, self.number) == (node, number)
    }
}

#[pymethods]
impl Ready {
    fn __repr__(&self, py: Python<'_>) -> String {
        format!(
            "Ready(node={}, number={}, entries={}, committed_entries={}, must_sync={})",
            self.node,
            self.number,
            self.entries.bind(py).len(),
            self.committed_entries.bind(py).len(),
            self.must_sync
        )
    }
}

/// What became possible because a ready is durable.
#[pyclass(frozen, get_all, module = "scribe_raft")]
pub struct LightReady {
    commit_index: Option<u64>,
    committed_entries: Py<PyList>,
    messages: Py<PyDict>,
    snapshot_messages: Py<PyList>,
}

impl LightReady {
    /// Copies the light ready for Python and takes its messages.
    pub fn new(py: Python<'_>, mut light: raft::LightReady) -> PyResult<LightReady> {
        let outgoing = Outgoing::encode(py, &light.take_messages())?;
        Ok(LightReady {
            commit_index: light.commit_index(),
            committed_entries: messages::entries(py, light.committed_entries())?,
            messages: outgoing.messages,
            snapshot_messages: outgoing.snapshots,
        })
    }
}

/// A role in a word.
pub fn role(role: StateRole) -> &'static str {
    match role {
        StateRole::Follower => "follower",
        StateRole::PreCandidate => "pre-candidate",
        StateRole::Candidate => "candidate",
        StateRole::Leader => "leader",
    }
}

fn snapshot(py: Python<'_>, ready: &raft::Ready) -> Option<(u64, u64, Conf, Py<PyBytes>)> {
    let snapshot = ready.snapshot();
    let metadata = snapshot.get_metadata();
    if snapshot.is_empty() {
        return None;
    }
    let conf = conf::to_python(metadata.get_conf_state());
    Some((metadata.index, metadata.term, conf, PyBytes::new(py, &snapshot.data).unbind()))
}
