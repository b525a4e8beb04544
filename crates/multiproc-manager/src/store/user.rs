//! An object of the user's own type, made in the server by the user's function.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

/// The value, behind a lock that nobody has to wait for: the core lets a function at it only when
/// nothing stands against it.
pub(crate) struct User {
    pub(crate) value: RwLock<Box<dyn Any + Send + Sync>>,
    /// A function that may have changed the value panicked. Written by whoever ran it.
    poisoned: AtomicBool,
}

impl User {
    pub(crate) fn new(value: Box<dyn Any + Send + Sync>) -> User {
        User {
            value: RwLock::new(value),
            poisoned: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let poisoned = self.is_poisoned();
        f.debug_struct("User")
            .field("poisoned", &poisoned)
            .finish_non_exhaustive()
    }
}
