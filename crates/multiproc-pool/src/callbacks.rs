//! Callbacks: run one after the other on one thread, as soon as their results are there.
//!
//! The thread is made for the first callback and ends when there have been none for a while. While
//! callbacks are open it waits for their results like any other waiting thread, and so collects when
//! nobody else does. It holds no lock and no turn while it runs one: a callback may close or end the
//! pool, hand in more, wait, block or panic.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use parking_lot::{Condvar, Mutex};

use crate::collect::{Goal, Then};
use crate::hub::Hub;
use crate::job::Job;
use crate::turn::Waiter;

/// How long the thread waits for another callback.
const LINGER: Duration = Duration::from_secs(1);

type Call = Box<dyn FnOnce() + Send>;

/// The callbacks of one pool.
pub(crate) struct Callbacks {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// To be run now.
    due: VecDeque<Call>,
    /// Registered, and not run to their end.
    open: usize,
    /// Where the thread waits while another one collects.
    waiter: Option<Arc<Waiter>>,
    thread: Option<ThreadId>,
}

impl Callbacks {
    pub(crate) fn new() -> Arc<Callbacks> {
        Arc::new(Callbacks {
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn set_due(&self, call: Call) {
        let mut state = self.state.lock();
        state.due.push_back(call);
        if let Some(waiter) = &state.waiter {
            waiter.poke();
        }
        self.changed.notify_all();
    }

    /// Waits until all have been run. On their own thread: does not. `false`: the deadline came first.
    #[must_use = "the deadline may have come first"]
    pub(crate) fn wait(&self, deadline: Deadline) -> bool {
        let mut state = self.state.lock();
        while state.open > 0 && state.thread != Some(std::thread::current().id()) {
            match deadline.remaining() {
                None => self.changed.wait(&mut state),
                Some(left) if left.is_zero() => return false,
                Some(left) => {
                    self.changed.wait_for(&mut state, left);
                }
            }
        }
        true
    }

    /// The next one that is due.
    fn next(&self) -> Option<Call> {
        self.state.lock().due.pop_front()
    }

    fn has_run(&self) {
        self.state.lock().open -= 1;
        self.changed.notify_all();
    }

    /// Waits for a while that there are some. `false`: there are none, and the thread is to end.
    fn linger(&self) -> bool {
        let mut state = self.state.lock();
        let until = std::time::Instant::now() + LINGER;
        while state.open == 0 {
            if self.changed.wait_until(&mut state, until).timed_out() && state.open == 0 {
                state.thread = None;
                return false;
            }
        }
        true
    }
}

impl Goal for Callbacks {
    fn is_reached(&self) -> bool {
        !self.state.lock().due.is_empty()
    }

    fn subscribe(&self, waiter: &Arc<Waiter>) -> bool {
        let mut state = self.state.lock();
        let waits = state.due.is_empty();
        if waits {
            state.waiter = Some(Arc::clone(waiter));
        }
        waits
    }

    fn unsubscribe(&self, _: &Arc<Waiter>) {
        self.state.lock().waiter = None;
    }
}

impl Hub {
    /// Has `call` run on the callbacks' thread once `total` items of `job` are answered.
    pub(crate) fn call_back(self: &Arc<Hub>, job: &Job, total: usize, call: Call) {
        let mut state = self.callbacks.state.lock();
        state.open += 1;
        if state.thread.is_none() {
            let (hub, callbacks) = (Arc::downgrade(self), Arc::clone(&self.callbacks));
            let thread = std::thread::Builder::new()
                .name(format!("{} callbacks", self.crew.name()))
                .spawn(move || run(&hub, &callbacks))
                .expect("a thread for the callbacks can be made");
            state.thread = Some(thread.thread().id());
        }
        self.callbacks.changed.notify_all();
        drop(state);
        let callbacks = Arc::clone(&self.callbacks);
        let due = Box::new(move || callbacks.set_due(call));
        job.lock().when_reached(total, due);
        // The thread may collect, and then sleeps where results are announced.
        self.board.bell().ring();
    }
}

/// The thread's whole life.
fn run(hub: &Weak<Hub>, callbacks: &Callbacks) {
    while callbacks.linger() {
        while let Some(call) = callbacks.next() {
            // The hook has printed the panic, and it is nobody else's business.
            if catch_unwind(AssertUnwindSafe(call)).is_err() {
                eprintln!("multiproc: a callback panicked; the pool and the others go on");
            }
            callbacks.has_run();
        }
        if callbacks.state.lock().open == 0 {
            continue;
        }
        // Whoever has registered one holds the hub, and has it end with all answered.
        let Some(hub) = hub.upgrade() else {
            continue;
        };
        let _reached = hub.wait_for(callbacks, Then::Nothing, Deadline::NEVER);
    }
}
