//! Threads that may stop for ever before any step, and what the kernel and the family do then.
//!
//! A step is an atomic operation, a system call, or a place where a word's owner changes only what is
//! its own. A dead thread unwinds without touching anything: its steps do nothing any more.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::door::futex;
use crate::door::robust::Word;
use crate::family;

pub(crate) struct Thread {
    pub(crate) tid: Cell<u32>,
    /// Steps left to live; `None` for the immortal.
    left: Cell<Option<u32>>,
    dead: Cell<bool>,
    /// The robust list: what the kernel is told the thread is about to take or give back ..
    pub(crate) pending: Cell<Option<&'static Word>>,
    /// .. and what it holds.
    pub(crate) held: RefCell<Vec<&'static Word>>,
}

loom::thread_local! {
    static THREAD: Thread = Thread {
        tid: Cell::new(0),
        left: Cell::new(None),
        dead: Cell::new(false),
        pending: Cell::new(None),
        held: RefCell::new(Vec::new()),
    };
}

/// The calling thread.
pub(crate) fn with<R>(act: impl FnOnce(&Thread) -> R) -> R {
    THREAD.with(act)
}

/// Whether the calling thread has died, and unwinds.
pub(crate) fn is_dead() -> bool {
    with(|me| me.dead.get())
}

struct Died;

/// Passes one step. False if the thread is dead, and its step must do nothing.
pub(crate) fn step() -> bool {
    let dies = with(|me| {
        if me.dead.get() {
            return None;
        }
        match me.left.get() {
            Some(0) => me.dead.set(true),
            left => me.left.set(left.map(|left| left - 1)),
        }
        Some(me.dead.get())
    });
    match dies {
        None => false,
        Some(false) => true,
        Some(true) => panic::resume_unwind(Box::new(Died)),
    }
}

/// Lives as thread `tid`, which stops for ever before its step number `last` if there is one. False
/// if it did; the kernel has marked what it held then, and the family has been told.
pub(crate) fn live(tid: u32, last: Option<u32>, life: impl FnOnce()) -> bool {
    with(|me| {
        me.tid.set(tid);
        me.left.set(last);
    });
    let Err(why) = panic::catch_unwind(AssertUnwindSafe(life)) else {
        with(|me| me.left.set(None));
        return true;
    };
    if !why.is::<Died>() {
        panic::resume_unwind(why);
    }
    let held = with(|me| me.held.take());
    let pending = with(|me| me.pending.take());
    // As `exit_robust_list`: the newest first, the pending one last and only once.
    for &word in held.iter().rev() {
        if !pending.is_some_and(|pending| std::ptr::eq(word, pending)) {
            word.owner_died(tid, false);
        }
    }
    if let Some(word) = pending {
        word.owner_died(tid, true);
    }
    // A member's life word is its thread's oldest, and so the last to be marked.
    family::bury(tid);
    futex::everybody_looks_again();
    false
}

/// Runs `model` in every schedule, then, with a mortal thread that stops before its step 0, 1, 2 ..,
/// in every schedule of each, until it lives to its end. `model` gets the last step and returns
/// whether the mortal thread lived.
pub(crate) fn check(
    name: &'static str,
    model: impl Fn(Option<u32>) -> bool + Sync + Send + 'static,
) {
    let model = std::sync::Arc::new(model);
    let mut schedules = 0;
    for last in std::iter::once(None).chain((0..).map(Some)) {
        let some_died = std::sync::Arc::new(AtomicBool::new(false));
        let count = std::sync::Arc::new(AtomicU32::new(0));
        let (died, counted, model) = (some_died.clone(), count.clone(), model.clone());
        let mut builder = loom::model::Builder::new();
        let deep = std::env::var_os("CHAOS").is_some();
        builder.preemption_bound = Some(if deep { 3 } else { 2 });
        builder.max_branches = 20_000;
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            if !model(last) {
                died.store(true, Ordering::Relaxed);
            }
        });
        schedules += count.load(Ordering::Relaxed);
        if last.is_some() && !some_died.load(Ordering::Relaxed) {
            let steps = last.unwrap_or(0);
            println!("{name}: {schedules} schedules, deaths at {steps} steps");
            return;
        }
    }
}

/// Something of one run that its threads share as if it lived for ever, as shared memory does.
pub(crate) fn for_ever<T: 'static, R>(it: T, run: impl FnOnce(&'static T) -> R) -> R {
    let it = Box::into_raw(Box::new(it));
    // SAFETY: just made, and freed below only.
    let result = run(unsafe { &*it });
    // SAFETY: from the box above. `run` joins every thread it starts before it returns, and what the
    // thread-locals and the futex keep of it is gone or never looked at again.
    drop(unsafe { Box::from_raw(it) });
    result
}
