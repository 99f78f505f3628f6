//! Panics of the engine, caught at the border.
//!
//! raft-rs panics where one of its invariants is broken: its state can no longer be trusted, but the process must be
//! able to say so, and to stop in good order. A panic inside `catch` prints nothing and comes back as text with the place
//! it came from; any other panic of this library prints as always.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sets the hook that keeps a caught panic off stderr. Rust's hook is one a library: no other module sees this one.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if CATCHING.get() {
                CAUGHT.set(Some(describe(panic)));
            } else {
                usual(panic);
            }
        }));
    });
}

/// Does the work; a panic in it is an error that says what and where. What it touched must not be used again.
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    CATCHING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    outcome.map_err(|_| CAUGHT.take().unwrap_or_else(|| "panic".to_owned()))
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("panic");
    match panic.location() {
        Some(place) => {
            let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
            format!("{text} ({file}:{})", place.line())
        }
        None => text.to_owned(),
    }
}
