//! Messages on their way out, and one message told in words.

use protobuf::{CodedOutputStream, Message as _};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use raft::eraftpb::{Entry, Message, MessageType};

use crate::conf;
use crate::octets::Octets;
use crate::wire;

/// What goes out, by peer: bytes for its connection, and snapshots, which travel apart.
pub struct Outgoing {
    pub messages: Py<PyDict>,
    pub snapshots: Py<PyList>,
}

impl Outgoing {
    /// Encodes messages; those to one peer keep their order.
    pub fn encode(py: Python<'_>, messages: &[Message]) -> PyResult<Outgoing> {
        let by_peer = PyDict::new(py);
        let snapshots = PyList::empty(py);
        for message in messages {
            let encoded = bytes(py, message)?;
            if message.get_msg_type() == MessageType::MsgSnapshot {
                snapshots.append((message.to, message.get_snapshot().get_metadata().index, encoded))?;
            } else if let Some(others) = by_peer.get_item(message.to)? {
                others.cast::<PyList>()?.append(encoded)?;
            } else {
                by_peer.set_item(message.to, PyList::new(py, [encoded])?)?;
            }
        }
        Ok(Outgoing { messages: by_peer.unbind(), snapshots: snapshots.unbind() })
    }
}

/// The wire bytes of a message, written once, where Python keeps them.
fn bytes<'py>(py: Python<'py>, message: &Message) -> PyResult<Bound<'py, PyBytes>> {
    let failed = |error| PyRuntimeError::new_err(format!("a message could not be encoded: {error}"));
    PyBytes::new_with(py, message.compute_size() as usize, |buffer| {
        let mut stream = CodedOutputStream::bytes(buffer);
        message.write_to_with_cached_sizes(&mut stream).map_err(failed)
    })
}

/// Entries as Python sees them: (index, term, type, data, context).
pub fn entries(py: Python<'_>, entries: &[Entry]) -> PyResult<Py<PyList>> {
    let rows = entries.iter().map(|entry| {
        let data = PyBytes::new(py, &entry.data);
        let context = PyBytes::new(py, &entry.context);
        (entry.index, entry.term, entry.get_entry_type() as u8, data, context)
    });
    Ok(PyList::new(py, rows)?.unbind())
}

/// What a message says, for logs and tests.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub fn describe<'py>(py: Python<'py>, data: Octets<'py>) -> PyResult<Bound<'py, PyDict>> {
    let message = wire::parse(&data, usize::MAX)?;
    let told = PyDict::new(py);
    told.set_item("type", format!("{:?}", message.get_msg_type()))?;
    for (name, number) in [
        ("from", message.from),
        ("to", message.to),
        ("term", message.term),
        ("log_term", message.log_term),
        ("index", message.index),
        ("commit", message.commit),
        ("commit_term", message.commit_term),
        ("reject_hint", message.reject_hint),
        ("request_snapshot", message.request_snapshot),
    ] {
        told.set_item(name, number)?;
    }
    told.set_item("priority", message.priority)?;
    told.set_item("reject", message.reject)?;
    told.set_item("context", PyBytes::new(py, &message.context))?;
    told.set_item("entries", entries(py, &message.entries)?)?;
    told.set_item("snapshot", snapshot(py, &message)?)?;
    Ok(told)
}

fn snapshot<'py>(py: Python<'py>, message: &Message) -> PyResult<Option<Bound<'py, PyAny>>> {
    if message.get_msg_type() != MessageType::MsgSnapshot {
        return Ok(None);
    }
    let metadata = message.get_snapshot().get_metadata();
    let data = PyBytes::new(py, &message.get_snapshot().data);
    let told = (metadata.index, metadata.term, conf::to_python(metadata.get_conf_state()), data);
    Ok(Some(told.into_pyobject(py)?.into_any()))
}
