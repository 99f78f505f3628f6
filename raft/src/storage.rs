//! The engine's view of the log: a volatile mirror of what Python has persisted.
//!
//! Invariants: entries are contiguous and begin right after the truncated index, whose term is kept. The mirror changes
//! only when a ready is advanced (`append`, `restore`), when Python cuts the log (`compact`) or offers a snapshot. It is not
//! raft-rs's `MemStorage`, whose `compact` forgets the truncated term and may move `last_index` backwards.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

/// What an entry takes beside its data and context.
const ENTRY_OVERHEAD_BYTES: u64 = 160;

/// The log since its last cut, and the snapshot on offer.
pub struct Mirror {
    initial: RaftState,
    entries: VecDeque<Entry>,
    truncated: (u64, u64),
    bytes: u64,
    snapshot: Option<Snapshot>,
    /// Peers for which the engine asked for a snapshot that is not there.
    wanted: Mutex<BTreeSet<u64>>,
}

impl Mirror {
    /// The mirror of a log as it was found at the start.
    pub fn new(
        hard_state: HardState,
        conf_state: ConfState,
        truncated: (u64, u64),
        entries: Vec<Entry>,
    ) -> Mirror {
        let bytes = entries.iter().map(size).sum();
        let initial = RaftState::new(hard_state, conf_state);
        Mirror {
            initial,
            entries: entries.into(),
            truncated,
            bytes,
            snapshot: None,
            wanted: Mutex::default(),
        }
    }

    pub fn truncated(&self) -> (u64, u64) {
        self.truncated
    }

    pub fn last(&self) -> u64 {
        self.truncated.0 + self.entries.len() as u64
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds entries; from the first of them on, what was there before is replaced.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let keep = first.index.checked_sub(self.truncated.0 + 1).expect("entries below the log") as usize;
        assert!(keep <= self.entries.len(), "a gap between the log and entry {}", first.index);
        self.bytes -= self.entries.drain(keep..).map(|entry| size(&entry)).sum::<u64>();
        self.bytes += entries.iter().map(size).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Starts again behind a snapshot that was received.
    pub fn restore(&mut self, index: u64, term: u64) {
        self.entries.clear();
        self.bytes = 0;
        self.truncated = (index, term);
        self.forget_old_snapshot();
    }

    /// Drops entries up to and including `index`, which must be in the log; its term stays known.
    pub fn compact(&mut self, index: u64) {
        let Ok(term) = self.term(index) else { return };
        let count = (index - self.truncated.0) as usize;
        self.bytes -= self.entries.drain(..count).map(|entry| size(&entry)).sum::<u64>();
        self.truncated = (index, term);
        self.forget_old_snapshot();
    }

    pub fn offer(&mut self, snapshot: Option<Snapshot>) {
        self.snapshot = snapshot;
        self.forget_old_snapshot();
    }

    pub fn offered(&self) -> Option<u64> {
        self.snapshot.as_ref().map(|snapshot| snapshot.get_metadata().index)
    }

    /// The peers that wait for a snapshot, once each.
    pub fn take_wanted(&self) -> Vec<u64> {
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    /// A snapshot from before the log begins leads nowhere: the entries after it are gone.
    fn forget_old_snapshot(&mut self) {
        if self.offered().is_some_and(|index| index < self.truncated.0) {
            self.snapshot = None;
        }
    }
}

impl Storage for Mirror {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.truncated.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last() + 1, "entries up to {high} of a log that ends at {}", self.last());
        let begin = (low - self.truncated.0 - 1) as usize;
        let end = (high - self.truncated.0 - 1) as usize;
        let mut room = max_size.into().unwrap_or(u64::MAX);
        let mut found = Vec::new();
        for entry in self.entries.range(begin..end) {
            let size = u64::from(entry.compute_size());
            if size > room && !found.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            found.push(entry.clone()); // the data is shared, not copied
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> Result<u64> {
        let (truncated, term) = self.truncated;
        if index == truncated {
            return Ok(term);
        }
        let position = index.checked_sub(truncated + 1).ok_or(Error::Store(StorageError::Compacted))?;
        self.entries
            .get(position as usize)
            .map(|entry| entry.term)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.truncated.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> Result<Snapshot> {
        match &self.snapshot {
            Some(snapshot) if snapshot.get_metadata().index >= request_index => Ok(snapshot.clone()),
            _ => {
                self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(to);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

fn size(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64 + ENTRY_OVERHEAD_BYTES
}
