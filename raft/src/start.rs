//! What a node starts with: the log that Python persisted, checked, and given to the mirror.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use raft::eraftpb::{Entry, HardState};

use crate::conf::{self, Conf};
use crate::octets::Octets;
use crate::storage::Mirror;

/// index, term, type, data, context.
pub type EntryRow<'py> = (u64, u64, u8, Octets<'py>, Octets<'py>);

/// The mirror of what a node starts with.
pub fn start(
    (term, vote, commit): (u64, u64, u64),
    conf_state: Conf,
    truncated: (u64, u64),
    rows: Vec<EntryRow<'_>>,
    applied: u64,
) -> PyResult<Mirror> {
    let mut hard_state = HardState::default();
    // A commit index need not be written (LightReady): what is applied was committed, whatever was written.
    (hard_state.term, hard_state.vote, hard_state.commit) = (term, vote, commit.max(applied));
    let entries =
        rows.into_iter().map(entry).collect::<Result<Vec<_>, _>>().map_err(PyValueError::new_err)?;
    check_start(&hard_state, truncated, &entries, applied).map_err(PyValueError::new_err)?;
    let conf_state = conf::from_python(conf_state).map_err(PyValueError::new_err)?;
    Ok(Mirror::new(hard_state, conf_state, truncated, entries))
}

fn entry((index, term, kind, data, context): EntryRow<'_>) -> Result<Entry, String> {
    let mut entry = Entry::default();
    (entry.index, entry.term) = (index, term);
    entry.set_entry_type(conf::entry_type(kind)?);
    entry.data = data.into_vec().into();
    entry.context = context.into_vec().into();
    Ok(entry)
}

/// What must hold of the log that a node starts with; the engine would panic, or worse, go on.
fn check_start(
    hard_state: &HardState,
    (truncated, truncated_term): (u64, u64),
    entries: &[Entry],
    applied: u64,
) -> Result<(), String> {
    let (mut index, mut term) = (truncated, truncated_term);
    for entry in entries {
        if entry.index != index + 1 || entry.term < term.max(1) {
            return Err(format!("entry {} of term {} after {index} of term {term}", entry.index, entry.term));
        }
        (index, term) = (entry.index, entry.term);
    }
    let commit = hard_state.commit;
    if truncated > applied || applied > commit || commit > index {
        return Err(format!(
            "truncated {truncated}, applied {applied}, committed {commit}, last entry {index}: these must not fall"
        ));
    }
    if term > hard_state.term || (truncated == 0) != (truncated_term == 0) {
        return Err(format!(
            "last entry of term {term}, truncated in {truncated_term}, at term {}",
            hard_state.term
        ));
    }
    Ok(())
}
