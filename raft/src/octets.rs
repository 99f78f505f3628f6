//! Bytes that Python hands in: a `bytes` is read where it lies, any other buffer is copied first.

use std::ops::Deref;

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The argument of a function that takes any contiguous buffer of bytes.
pub enum Octets<'py> {
    Bytes(Bound<'py, PyBytes>),
    Copied(Vec<u8>),
}

impl Octets<'_> {
    /// No bytes: the default of optional arguments.
    pub const NONE: Octets<'static> = Octets::Copied(Vec::new());

    /// The bytes, for Rust to keep.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Octets::Bytes(bytes) => bytes.as_bytes().to_vec(),
            Octets::Copied(bytes) => bytes,
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Octets<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Octets::Bytes(bytes.to_owned()));
        }
        Ok(Octets::Copied(PyBuffer::<u8>::get(&object)?.to_vec(object.py())?))
    }
}

impl Deref for Octets<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Octets::Bytes(bytes) => bytes.as_bytes(),
            Octets::Copied(bytes) => bytes,
        }
    }
}
