//! An object of the arena, with few words: a table in one has a row or two.

use crate::bell::Bell;
use crate::door::{AtomicU32, AtomicU64};
use crate::lock::RawLock;

/// What a semaphore takes with two rows, and nothing else is made with [`Object::create`].
const MOST_WORDS: usize = 7;

/// As many half words as the highest in use.
const HALF_WORDS: usize = 9;

#[derive(Debug, Default)]
pub(crate) struct Object {
    lock: RawLock,
    bell: Bell,
    words: Vec<AtomicU64>,
    half_words: [AtomicU32; HALF_WORDS],
}

#[derive(Debug)]
pub(crate) struct CreateError;

#[derive(Debug)]
pub(crate) enum Kind {
    Locked,
}

impl Object {
    /// With that many words.
    pub(crate) fn with_words(count: usize) -> Object {
        Object {
            words: (0..count).map(|_| AtomicU64::default()).collect(),
            ..Object::default()
        }
    }

    pub(crate) fn create(
        _kind: Kind,
        _tag: u32,
        len: usize,
        _init: impl FnOnce(()),
    ) -> Result<Object, CreateError> {
        Ok(Object::with_words((len / 8).min(MOST_WORDS)))
    }

    pub(crate) fn lock(&self) -> &RawLock {
        &self.lock
    }

    /// In the real one, a half word like the others.
    pub(crate) fn bell(&self, _half_word: usize) -> &Bell {
        &self.bell
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    pub(crate) fn half_words(&self) -> &[AtomicU32] {
        &self.half_words
    }
}
