//! What the engine has to say: a bounded queue that Python empties when it likes.
//!
//! Nothing is written here and nothing calls back into Python. When the queue is full the oldest lines go, and the next
//! `take` says how many.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

/// Lines kept until they are taken.
const LINES_MAX: usize = 1024;

/// A line with its level in the numbers of Python's `logging`.
pub type Line = (u8, String);

#[derive(Default)]
struct Queue {
    lines: VecDeque<Line>,
    lost: usize,
}

/// A handle on the queue; clones share it.
#[derive(Clone)]
pub struct Logs {
    queue: Arc<Mutex<Queue>>,
    level: Arc<AtomicUsize>,
}

impl Logs {
    /// A queue for lines of this level (as in `logging`) and above.
    pub fn new(level: u8) -> Logs {
        let logs = Logs { queue: Arc::default(), level: Arc::default() };
        logs.set_level(level);
        logs
    }

    /// The logger to give to the engine.
    pub fn logger(&self) -> Logger {
        Logger::root(self.clone(), slog::o!())
    }

    pub fn set_level(&self, level: u8) {
        self.level.store(usize::from(level), Ordering::Relaxed);
    }

    /// All lines since the last call.
    pub fn take(&self) -> Vec<Line> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = std::mem::take(&mut queue.lost);
        let mut lines = Vec::from(std::mem::take(&mut queue.lines));
        if lost > 0 {
            lines.insert(
                0,
                (number(Level::Warning), format!("{lost} lines were not taken in time and are lost")),
            );
        }
        lines
    }
}

impl Drain for Logs {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let level = number(record.level());
        if usize::from(level) < self.level.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut pairs = Pairs(record.msg().to_string());
        let _ = record.kv().serialize(record, &mut pairs); // writing to a String cannot fail
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.lines.len() == LINES_MAX {
            queue.lines.pop_front();
            queue.lost += 1;
        }
        queue.lines.push_back((level, pairs.0));
        Ok(())
    }
}

/// A line that grows by ` key=value`.
struct Pairs(String);

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        Ok(write!(self.0, " {key}={value}")?)
    }
}

fn number(level: Level) -> u8 {
    match level {
        Level::Critical => 50,
        Level::Error => 40,
        Level::Warning => 30,
        Level::Info => 20,
        Level::Debug | Level::Trace => 10,
    }
}
