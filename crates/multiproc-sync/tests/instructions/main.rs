//! Members killed at every instruction of what they do with a shared object: the survivors find it as
//! before or as after, or are told, and go on.
//!
//! See `multiproc_shm::testing::instructions` for `CHAOS=n`, `SEED=n` and `STEP=n`.

mod locks;
mod meetings;
mod values;

use std::cell::RefCell;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a survivor does the same after each kill.
const OFTEN: usize = 100;

/// Long enough to fall asleep, and to wake up for want of time.
const SHORT: Duration = Duration::from_millis(1);

/// A thread of the survivors that waits for something while somebody else is killed.
struct Waiter<R>(RefCell<Option<JoinHandle<R>>>);

impl<R: Send + 'static> Waiter<R> {
    fn none() -> Waiter<R> {
        Waiter(RefCell::new(None))
    }

    fn start(&self, wait: impl FnOnce() -> R + Send + 'static) {
        let before = self.0.replace(Some(thread::spawn(wait)));
        assert!(before.is_none(), "one for each kill");
    }

    fn end(&self) -> R {
        let waiter = self.0.take().expect("one for each kill");
        waiter.join().expect("it did not wait in vain")
    }
}
