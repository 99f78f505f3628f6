//! The engine's state in one dictionary, for health, metrics and tests.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use raft::{Progress, ProgressState, RawNode, StateRole};

use crate::conf;
use crate::ready::role;
use crate::storage::Mirror;

/// The status of a node; its peers' progress only where it leads.
pub fn status<'py>(py: Python<'py>, raw: &RawNode<Mirror>) -> PyResult<Bound<'py, PyDict>> {
    let raft = &raw.raft;
    let log = &raft.raft_log;
    let told = PyDict::new(py);
    for (name, number) in [
        ("id", raft.id),
        ("term", raft.term),
        ("vote", raft.vote),
        ("leader", raft.leader_id),
        ("commit", log.committed),
        ("applied", log.applied),
        ("persisted", log.persisted),
        ("first_index", log.first_index()),
        ("last_index", log.last_index()),
        ("last_term", log.last_term()),
        ("truncated_index", raw.store().truncated().0),
        ("snapshot_index", raw.store().offered().unwrap_or(0)),
        ("log_entries", raw.store().last() - raw.store().truncated().0),
        ("log_bytes", raw.store().bytes()),
        ("uncommitted_bytes", raft.uncommitted_size() as u64),
        ("pending_reads", raft.pending_read_count() as u64),
        ("transferring_to", raft.lead_transferee.unwrap_or(0)),
    ] {
        told.set_item(name, number)?;
    }
    told.set_item("role", role(raft.state))?;
    told.set_item("promotable", raft.promotable())?;
    told.set_item("conf", conf::to_python(&raft.prs().conf().to_conf_state()))?;
    told.set_item("pending_conf_change", raft.state == StateRole::Leader && raft.has_pending_conf())?;
    told.set_item("progress", progress(py, raw)?)?;
    Ok(told)
}

fn progress<'py>(py: Python<'py>, raw: &RawNode<Mirror>) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    if raw.raft.state == StateRole::Leader {
        let mut peers: Vec<_> = raw.raft.prs().iter().collect();
        peers.sort_by_key(|(id, _)| **id);
        for (id, progress) in peers {
            told.set_item(id, peer(py, progress)?)?;
        }
    }
    Ok(told)
}

fn peer<'py>(py: Python<'py>, progress: &Progress) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("matched", progress.matched)?;
    told.set_item("next", progress.next_idx)?;
    told.set_item("commit", progress.committed_index)?;
    told.set_item("state", state(progress.state))?;
    told.set_item("paused", progress.is_paused())?;
    told.set_item("pending_snapshot", progress.pending_snapshot)?;
    told.set_item("requested_snapshot", progress.pending_request_snapshot)?;
    told.set_item("recently_active", progress.recent_active)?;
    told.set_item("inflight", progress.ins.count())?;
    Ok(told)
}

fn state(state: ProgressState) -> &'static str {
    match state {
        ProgressState::Probe => "probe",
        ProgressState::Replicate => "replicate",
        ProgressState::Snapshot => "snapshot",
    }
}
