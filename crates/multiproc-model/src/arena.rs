//! As much of an arena as the log and the lock need: a header, and a few words.

use crate::door::robust::{MOST_HELD, Word};
use crate::door::{AtomicU64, Deadline};
use crate::lock::{self, LockError};
use crate::log::{self, Log, Transaction};

#[derive(Default)]
pub(crate) struct Arena {
    header: Header,
    words: [AtomicU64; 3],
}

#[derive(Default)]
pub(crate) struct Header {
    pub(crate) log: Log,
    lock: Word,
}

/// None: the locks of these models lie outside of it, and there is nothing to settle.
pub(crate) fn existing() -> Option<&'static Arena> {
    None
}

impl Arena {
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn word(&self, offset: u64) -> &AtomicU64 {
        &self.words[offset as usize / 8]
    }

    pub(crate) fn holds_word(&self, offset: u64) -> bool {
        offset < 24
    }

    pub(crate) fn settle(&'static self) {
        drop(self.lock(Deadline::NEVER));
    }

    pub(crate) fn lock(&'static self, deadline: Deadline) -> Result<Locked<'static>, LockError> {
        if lock::take(&self.header.lock, deadline, MOST_HELD)?.is_after_death() {
            log::replay(self);
        }
        Ok(Locked {
            arena: self,
            _here: std::marker::PhantomData,
        })
    }
}

pub(crate) struct Locked<'a> {
    arena: &'static Arena,
    _here: std::marker::PhantomData<&'a ()>,
}

impl Locked<'_> {
    pub(crate) fn arena(&self) -> &'static Arena {
        self.arena
    }

    pub(crate) fn begin(&self) -> Transaction<'_> {
        Transaction::new(self)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.arena.header.lock.release();
    }
}
