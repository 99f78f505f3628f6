//! Configurations and their changes, as Python sees them, and the checks that the engine leaves out.
//!
//! raft-rs turns a change that it refuses into an empty entry, silently, and takes some configurations that contradict
//! themselves. Here both are refused before the engine sees them.

use std::collections::BTreeSet;

use protobuf::Message as _;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use raft::eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, EntryType,
};
use raft::{Changer, Error, Raft, Storage};

use crate::octets::Octets;
use crate::wire;

/// The most ids of one kind in a configuration.
const IDS_MAX: usize = 1024;

/// voters, learners, outgoing voters, next learners, auto leave.
pub type Conf = (Vec<u64>, Vec<u64>, Vec<u64>, Vec<u64>, bool);

/// What happens to which node.
pub type Change = (String, u64);

/// changes, transition, context.
type Decoded<'py> = (Vec<(&'static str, u64)>, &'static str, Bound<'py, PyBytes>);

const KINDS: [(&str, ConfChangeType); 3] = [
    ("voter", ConfChangeType::AddNode),
    ("learner", ConfChangeType::AddLearnerNode),
    ("remove", ConfChangeType::RemoveNode),
];

const TRANSITIONS: [(&str, ConfChangeTransition); 3] = [
    ("auto", ConfChangeTransition::Auto),
    ("implicit", ConfChangeTransition::Implicit),
    ("explicit", ConfChangeTransition::Explicit),
];

/// The state as Python sees it, sorted: the engine's own order means nothing.
pub fn to_python(state: &ConfState) -> Conf {
    let sorted = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    (
        sorted(&state.voters),
        sorted(&state.learners),
        sorted(&state.voters_outgoing),
        sorted(&state.learners_next),
        state.auto_leave,
    )
}

/// The state for the engine, checked.
pub fn from_python((voters, learners, outgoing, next, auto_leave): Conf) -> Result<ConfState, String> {
    let state = ConfState {
        voters,
        learners,
        voters_outgoing: outgoing,
        learners_next: next,
        auto_leave,
        ..ConfState::default()
    };
    check(&state)?;
    Ok(state)
}

/// Whether a configuration makes sense. An empty one does: it is that of a node that waits for a snapshot.
pub fn check(state: &ConfState) -> Result<(), String> {
    let voters = unique(&state.voters, "voters")?;
    let learners = unique(&state.learners, "learners")?;
    let outgoing = unique(&state.voters_outgoing, "outgoing voters")?;
    let next = unique(&state.learners_next, "next learners")?;
    let wrong = if voters.is_empty() && !(learners.is_empty() && outgoing.is_empty() && next.is_empty()) {
        "no voter"
    } else if !learners.is_disjoint(&voters) || !learners.is_disjoint(&outgoing) {
        "a learner that is a voter too"
    } else if !next.is_subset(&outgoing) || !next.is_disjoint(&voters) {
        "a next learner that is not an outgoing voter only"
    } else if state.auto_leave && outgoing.is_empty() {
        "auto leave without outgoing voters"
    } else {
        return Ok(());
    };
    Err(format!("not a configuration: {wrong}"))
}

fn unique(ids: &[u64], what: &str) -> Result<BTreeSet<u64>, String> {
    if ids.len() > IDS_MAX {
        return Err(format!("not a configuration: more than {IDS_MAX} {what}"));
    }
    let set: BTreeSet<u64> = ids.iter().copied().collect();
    if set.len() != ids.len() || set.contains(&0) {
        return Err(format!("not a configuration: the {what} hold an id twice, or 0"));
    }
    Ok(set)
}

/// The change to propose. No changes at all means to leave a joint configuration.
pub fn change(changes: Vec<Change>, transition: &str) -> PyResult<ConfChangeV2> {
    let mut change = ConfChangeV2::default();
    change.set_transition(by_name(&TRANSITIONS, transition)?);
    for (kind, node_id) in changes {
        if node_id == 0 {
            return Err(PyValueError::new_err("no node has the id 0"));
        }
        let mut single = ConfChangeSingle::default();
        single.set_change_type(by_name(&KINDS, &kind)?);
        single.node_id = node_id;
        change.mut_changes().push(single);
    }
    Ok(change)
}

/// Whether the engine could apply this change now. It proposes anything, and may find out too late.
pub fn check_change<S: Storage>(raft: &Raft<S>, change: &ConfChangeV2) -> Result<(), Error> {
    if raft.has_pending_conf() {
        return Err(Error::ConfChangeError("the change before this one is not applied yet".to_owned()));
    }
    let mut changer = Changer::new(raft.prs());
    if change.leave_joint() {
        changer.leave_joint()?;
    } else if change.changes.is_empty() {
        return Err(Error::ConfChangeError("nothing to change".to_owned()));
    } else if let Some(auto_leave) = change.enter_joint() {
        changer.enter_joint(auto_leave, &change.changes)?;
    } else {
        changer.simple(&change.changes)?;
    }
    Ok(())
}

/// The change that an entry holds, of either version.
pub fn parse(entry_type: EntryType, data: &[u8]) -> Result<ConfChangeV2, String> {
    wire::check_change(data)?;
    let unreadable = |error| format!("not a change of the configuration: {error}");
    match entry_type {
        EntryType::EntryNormal => Err("a normal entry holds no change of the configuration".to_owned()),
        EntryType::EntryConfChange => {
            ConfChange::parse_from_bytes(data).map(second_version).map_err(unreadable)
        }
        EntryType::EntryConfChangeV2 => ConfChangeV2::parse_from_bytes(data).map_err(unreadable),
    }
}

fn second_version(old: ConfChange) -> ConfChangeV2 {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(old.get_change_type());
    single.node_id = old.node_id;
    let mut change = ConfChangeV2::default();
    change.mut_changes().push(single);
    change.context = old.context;
    change
}

/// An entry's type from its number.
pub fn entry_type(number: u8) -> Result<EntryType, String> {
    match number {
        0 => Ok(EntryType::EntryNormal),
        1 => Ok(EntryType::EntryConfChange),
        2 => Ok(EntryType::EntryConfChangeV2),
        _ => Err(format!("no entry has the type {number}")),
    }
}

/// What a committed entry of type 1 or 2 changes: (changes, transition, context).
#[pyfunction]
#[pyo3(signature = (entry_type, data, /))]
pub fn decode_conf_change<'py>(py: Python<'py>, entry_type: u8, data: Octets<'py>) -> PyResult<Decoded<'py>> {
    let change =
        self::entry_type(entry_type).and_then(|kind| parse(kind, &data)).map_err(PyValueError::new_err)?;
    let changes =
        change.changes.iter().map(|single| (name(&KINDS, single.get_change_type()), single.node_id));
    Ok((changes.collect(), name(&TRANSITIONS, change.get_transition()), PyBytes::new(py, &change.context)))
}

fn by_name<T: Copy>(table: &[(&str, T)], name: &str) -> PyResult<T> {
    let found = table.iter().find(|row| row.0 == name);
    found.map(|row| row.1).ok_or_else(|| PyValueError::new_err(format!("unknown word: {name:?}")))
}

fn name<T: PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|row| row.1 == value).map_or("", |row| row.0)
}
