//! raft-rs, the consensus engine inside TiKV, as a Python module.
//!
//! This crate owns the border between the two languages and nothing else: a `Node` wraps raft-rs's `RawNode` over a
//! log held in memory, takes messages and gives out what has to be persisted, sent and applied. It opens no socket
//! and no file, reads no clock, and knows nothing of what an entry means.

mod conf;
mod errors;
mod guard;
mod logs;
mod messages;
mod node;
mod octets;
mod ready;
mod start;
mod status;
mod storage;
mod timeouts;
mod wire;

use pyo3::prelude::*;

#[pymodule]
mod scribe_raft {
    use super::*;

    #[pymodule_export]
    use super::conf::decode_conf_change;
    #[pymodule_export]
    use super::errors::{ConfChangeRefused, NotLeader, ProposalDropped, RaftError, RaftPanic, StepError};
    #[pymodule_export]
    use super::messages::describe;
    #[pymodule_export]
    use super::node::Node;
    #[pymodule_export]
    use super::ready::{LightReady, Ready};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        guard::install();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
