//! What may come in from a peer: the checks between bytes and the engine.
//!
//! The engine trusts its messages: a field that contradicts another makes it panic. So bytes are judged in three steps.
//! `scan` walks the protobuf without building anything (deep groups would overflow the parser's stack,
//! RUSTSEC-2024-0437), the parser reads it, and `check` holds the fields against each other. Who sent a message is the
//! transport's business: it names the peer that it authenticated.

use protobuf::Message as _;
use pyo3::PyErr;
use pyo3::exceptions::PyValueError;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use crate::conf;
use crate::errors::StepError;

/// Terms and indexes above this are nonsense; below, the engine's sums cannot overflow.
const NUMBER_MAX: u64 = u64::MAX >> 2;

/// The longest context of a read.
pub const READ_CONTEXT_BYTES_MAX: usize = 1024;

/// The least bytes of an entry: term and index. It bounds what a message can grow to in memory.
const ENTRY_BYTES_MIN: usize = 4;

/// Why a message was not taken.
pub enum Refusal {
    /// No node sends this.
    Malformed(String),
    /// Well formed, but not for this node, or not now.
    Refused(String),
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> PyErr {
        match refusal {
            Refusal::Malformed(why) => PyValueError::new_err(why),
            Refusal::Refused(why) => StepError::new_err(why),
        }
    }
}

/// The message in these bytes, if it is one.
pub fn parse(data: &[u8], bytes_max: usize) -> Result<Message, Refusal> {
    let malformed = |why: String| Refusal::Malformed(format!("malformed message: {why}"));
    if data.len() > bytes_max {
        return Err(malformed(format!("{} bytes, at most {bytes_max} are taken", data.len())));
    }
    scan(data, Shape::Message).map_err(malformed)?;
    let message = Message::parse_from_bytes(data).map_err(|error| malformed(error.to_string()))?;
    check(&message).map_err(malformed)?;
    Ok(message)
}

/// Whether a message may go to the node `me`. `sender` is the peer that delivered it, 0 if that is not known.
pub fn check_address(message: &Message, me: u64, sender: u64) -> Result<(), Refusal> {
    let kind = message.get_msg_type();
    let why = if message.to != me {
        format!("a message to node {}, this is node {me}", message.to)
    } else if message.from == me {
        "a message from this node itself".to_owned()
    } else if sender != 0 && message.from != sender {
        format!("a message from node {}, delivered by node {sender}", message.from)
    } else if is_local(kind) {
        format!("{kind:?} is never sent")
    } else if matches!(kind, MessageType::MsgPropose | MessageType::MsgTransferLeader) {
        format!("{kind:?}: what the leader is asked for does not come forwarded")
    } else {
        return Ok(());
    };
    Err(Refusal::Refused(why))
}

/// Whether these bytes may be parsed as a change of the configuration.
pub fn check_change(data: &[u8]) -> Result<(), String> {
    scan(data, Shape::ConfChange)
}

fn is_local(kind: MessageType) -> bool {
    use MessageType::{MsgBeat, MsgCheckQuorum, MsgHup, MsgSnapStatus, MsgUnreachable};
    matches!(kind, MsgHup | MsgBeat | MsgUnreachable | MsgSnapStatus | MsgCheckQuorum)
}

// --- the fields, held against each other ------------------------------------------------------------------------

fn check(message: &Message) -> Result<(), String> {
    let kind = message.get_msg_type();
    check_numbers(message)?;
    if message.from == 0 {
        return Err("no sender".to_owned());
    }
    // 0 marks a local message inside of the engine; of all that travel, only a forwarded read carries it.
    let untermed = matches!(kind, MessageType::MsgReadIndex | MessageType::MsgPropose) || is_local(kind);
    if (message.term == 0) != untermed && kind != MessageType::MsgTransferLeader {
        return Err(format!("{kind:?} of term {}", message.term));
    }
    match kind {
        MessageType::MsgAppend => check_entries(message),
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => check_read(message),
        MessageType::MsgSnapshot => check_snapshot(message),
        MessageType::MsgPropose => Ok(()),
        _ if !message.entries.is_empty() => Err(format!("{kind:?} with entries")),
        _ => Ok(()),
    }
}

fn check_numbers(message: &Message) -> Result<(), String> {
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.request_snapshot,
    ];
    match numbers.iter().find(|number| **number > NUMBER_MAX) {
        Some(number) => Err(format!("{number} is no term and no index")),
        None => Ok(()),
    }
}

fn check_entries(message: &Message) -> Result<(), String> {
    // Every entry has a term; 0 is that of the place before the first.
    if message.index > 0 && message.log_term == 0 {
        return Err(format!("entries after {} of term 0", message.index));
    }
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in message.entries.iter() {
        if entry.index != index + 1 || entry.term < term.max(1) || entry.term > message.term {
            return Err(format!(
                "entry {} of term {} after {index} of term {term}, in a message of term {}",
                entry.index, entry.term, message.term
            ));
        }
        check_entry(entry)?;
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}

fn check_entry(entry: &Entry) -> Result<(), String> {
    match entry.get_entry_type() {
        EntryType::EntryNormal => Ok(()),
        changing => conf::parse(changing, &entry.data).map(|_| ()),
    }
}

fn check_read(message: &Message) -> Result<(), String> {
    match message.entries.as_ref() {
        [entry] if (1..=READ_CONTEXT_BYTES_MAX).contains(&entry.data.len()) => Ok(()),
        _ => Err("a read without one context".to_owned()),
    }
}

fn check_snapshot(message: &Message) -> Result<(), String> {
    let metadata = message.get_snapshot().get_metadata();
    let numbered = (1..=NUMBER_MAX).contains(&metadata.index) && (1..=message.term).contains(&metadata.term);
    if !numbered || metadata.get_conf_state().voters.is_empty() || !message.entries.is_empty() {
        return Err(format!("a snapshot at {} of term {}", metadata.index, metadata.term));
    }
    conf::check(metadata.get_conf_state())
}

// --- the protobuf, before it is parsed --------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Message,
    Entry,
    Snapshot,
    Metadata,
    ConfState,
    ConfChange,
    Single,
}

impl Shape {
    /// The message that a field of this one holds.
    fn inner(self, field: u64) -> Option<Shape> {
        match (self, field) {
            (Shape::Message, 7) => Some(Shape::Entry),
            (Shape::Message, 9) => Some(Shape::Snapshot),
            (Shape::Snapshot, 2) => Some(Shape::Metadata),
            (Shape::Metadata, 1) => Some(Shape::ConfState),
            (Shape::ConfChange, 2) => Some(Shape::Single),
            _ => None,
        }
    }

    /// The largest number of a field. Unknown ones would be kept, in maps that take many times their bytes.
    fn fields(self) -> u64 {
        match self {
            Shape::Message => 16,
            Shape::Entry => 6,
            Shape::Snapshot | Shape::Single => 2,
            Shape::Metadata => 3,
            Shape::ConfState => 5,
            Shape::ConfChange => 4,
        }
    }

    /// The largest value of an enumeration: the parser would read a larger one as 0.
    fn largest(self, field: u64) -> u64 {
        match (self, field) {
            (Shape::Message, 1) => 18,
            (Shape::Entry, 1) | (Shape::ConfChange, 1 | 2) | (Shape::Single, 1) => 2,
            _ => u64::MAX,
        }
    }
}

fn scan(mut data: &[u8], shape: Shape) -> Result<(), String> {
    if shape == Shape::Entry && data.len() < ENTRY_BYTES_MIN {
        return Err("an entry without term and index".to_owned());
    }
    while !data.is_empty() {
        let key = varint(&mut data)?;
        let field = key >> 3;
        if !(1..=shape.fields()).contains(&field) {
            return Err(format!("unknown field {field}"));
        }
        match key & 7 {
            0 if varint(&mut data)? > shape.largest(field) => {
                return Err(format!("unknown value of field {field}"));
            }
            0 => {}
            1 => drop(take(&mut data, 8)?),
            2 => {
                let length = varint(&mut data)?;
                let content = take(&mut data, length)?;
                if let Some(inner) = shape.inner(field) {
                    scan(content, inner)?;
                }
            }
            5 => drop(take(&mut data, 4)?),
            other => return Err(format!("field {field} of wire type {other}")),
        }
    }
    Ok(())
}

fn varint(data: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(data, 1)?[0];
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number of more than ten bytes".to_owned())
}

fn take<'a>(data: &mut &'a [u8], count: u64) -> Result<&'a [u8], String> {
    let split = usize::try_from(count).ok().and_then(|count| data.split_at_checked(count));
    let (taken, rest) = split.ok_or_else(|| "it ends too early".to_owned())?;
    *data = rest;
    Ok(taken)
}
