//! The exceptions, and which of them an error of the engine becomes.
//!
//! Bad arguments and malformed bytes are a plain `ValueError`. What is well formed and still cannot be done now is a
//! `RaftError`. Only `RaftPanic` says that the node itself is broken.

use pyo3::PyErr;
use pyo3::create_exception;
use pyo3::exceptions::PyRuntimeError;
use raft::Error;

create_exception!(scribe_raft, RaftError, PyRuntimeError, "The engine cannot do this now.");
create_exception!(
    scribe_raft,
    ProposalDropped,
    RaftError,
    "The leader took nothing: too much is uncommitted, or it is handing over."
);
create_exception!(
    scribe_raft,
    NotLeader,
    RaftError,
    "Only the leader can do this. `args[0]` is the leader's id, 0 if unknown."
);
create_exception!(
    scribe_raft,
    StepError,
    RaftError,
    "A well-formed message that this node refuses; its state is as before."
);
create_exception!(
    scribe_raft,
    ConfChangeRefused,
    RaftError,
    "A change of the configuration that cannot follow the present one."
);
create_exception!(
    scribe_raft,
    RaftPanic,
    RaftError,
    "An invariant of the engine is broken. The node answers nothing any more: stop the process."
);

/// The exception for an error that the engine returned.
pub fn refused(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::ProposalDropped => ProposalDropped::new_err(text),
        Error::StepLocalMsg | Error::StepPeerNotFound => StepError::new_err(text),
        Error::ConfChangeError(_) | Error::Exists { .. } | Error::NotExists { .. } => {
            ConfChangeRefused::new_err(text)
        }
        _ => RaftError::new_err(text),
    }
}
