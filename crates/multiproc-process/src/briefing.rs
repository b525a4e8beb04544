//! The last word of the starter to a child that is already on its way.
//!
//! Reading one's own surroundings and checking one's own rights takes a starter about as long as the
//! copy of a fork server takes. So the request goes out first, and what the starter has found
//! meanwhile follows through shared memory: most often the child finds it there when it looks.
//!
//! # The state word
//!
//! | state | meaning | set by |
//! |---|---|---|
//! | `WAIT` | the starter is still looking | creation |
//! | `GO` | the rest of the object is complete: take it over and run | the starter |
//! | `END` | the fork server has other rights than the starter: end without running anything | the starter, also by dropping |
//!
//! One who finds `WAIT` may sleep on the word; both changes wake it. A starter that is killed leaves
//! `WAIT`; the child then dies with it, or, if it was to outlive it, notices that its parent changed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use multiproc_shm::{CreateError, Handle, Kind, Object, OpenError};
use multiproc_sys::child::Changes;
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;
use multiproc_wire::codec;
use serde::{Deserialize, Serialize};

/// `b"brie"`
const TAG: u32 = u32::from_le_bytes(*b"brie");

const WAIT: u32 = 0;
const GO: u32 = 1;
const END: u32 = 2;

/// The state, the length of the changes, and room for them: 16 limits and the affinity of 8,192
/// processors.
const STATE: usize = 0;
const LEN: usize = 1;
const CHANGES: usize = 2;
const WORDS: usize = CHANGES + 192;

/// How often a sleeper looks whether there is still somebody to wake it.
const LOOK: Duration = Duration::from_millis(100);

/// The starter's side. Dropped without [`Briefing::go`], the child ends.
#[derive(Debug)]
pub(crate) struct Briefing(Object);

/// [`Changes`] with the traits for the wire.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Changes")]
struct ChangesForm {
    mask: u64,
    ignored: Option<u64>,
    nice: Option<i32>,
    affinity: Vec<u8>,
    limits: Vec<(u32, u64, u64)>,
    oom_score_adj: Option<i32>,
}

#[derive(Serialize, Deserialize)]
struct Wire(#[serde(with = "ChangesForm")] Changes);

impl Briefing {
    pub(crate) fn create() -> Result<Briefing, CreateError> {
        Object::create(Kind::Plain, TAG, WORDS * size_of::<u64>(), |_| ()).map(Briefing)
    }

    pub(crate) fn object(&self) -> &Object {
        &self.0
    }

    pub(crate) fn handle(&self) -> Handle {
        self.0.handle()
    }

    /// Lets the child run, once it has made `changes`.
    pub(crate) fn go(&self, changes: Changes) {
        let bytes = codec::encode(&Wire(changes)).expect("numbers encode").bytes;
        let words = self.0.words();
        let (place, len) = (&words[CHANGES..WORDS], bytes.len());
        assert!(len <= place.len() * 8, "the changes fit by construction");
        words[LEN].store(len as u64, Ordering::Relaxed);
        for (word, chunk) in place.iter().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
        self.set(GO);
    }

    /// The first word said stays. SYNC POINT "briefing": releases what `go` stored.
    fn set(&self, state: u32) {
        let word = state_word(&self.0);
        let first = word.compare_exchange(WAIT, state, Ordering::Release, Ordering::Relaxed);
        if first.is_ok() {
            futex::wake_all(word);
        }
    }
}

impl Drop for Briefing {
    fn drop(&mut self) {
        self.set(END);
    }
}

fn state_word(object: &Object) -> &AtomicU32 {
    &object.half_words()[STATE]
}

/// The child's side: what to change before it runs, or `None` if it is not to run.
///
/// # Errors
///
/// [`OpenError`] for an object that is no briefing, or one that cannot be true.
pub(crate) fn read(object: Object, parent: u32) -> Result<Option<Changes>, OpenError> {
    let object = object.expect_tag(TAG, "a briefing")?;
    let word = state_word(&object);
    loop {
        // SYNC POINT "briefing": acquires what `go` stored.
        match word.load(Ordering::Acquire) {
            WAIT if std::os::unix::process::parent_id() != parent => return Ok(None),
            WAIT => {
                let _ = futex::wait(word, WAIT, Deadline::after(LOOK));
            }
            GO => return changes(object.words()).map(Some),
            _ => return Ok(None),
        }
    }
}

fn changes(words: &[AtomicU64]) -> Result<Changes, OpenError> {
    let corrupt = OpenError::Corrupt("a briefing is not what a starter writes");
    let place = &words[CHANGES..WORDS];
    let word = |word: &AtomicU64| word.load(Ordering::Relaxed).to_le_bytes();
    let bytes: Vec<u8> = place.iter().flat_map(word).collect();
    let len = usize::try_from(words[LEN].load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    let bytes = bytes.get(..len).ok_or(corrupt.clone())?;
    let wire: Wire = codec::decode(bytes, &[]).map_err(|_| corrupt)?;
    Ok(wire.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> u32 {
        std::os::unix::process::parent_id()
    }

    #[test]
    fn what_the_starter_says_arrives() {
        let briefing = Briefing::create().expect("an arena");
        let changes = Changes {
            mask: 5,
            nice: Some(-3),
            affinity: vec![255; 1024],
            limits: (0..16).map(|n| (n, u64::MAX, u64::MAX)).collect(),
            ..Changes::default()
        };
        let object = briefing.object().clone();
        let child = std::thread::spawn(move || read(object, parent()));
        briefing.go(changes.clone());
        drop(briefing);
        assert_eq!(child.join().expect("no panic"), Ok(Some(changes)));
    }

    #[test]
    fn a_starter_that_gives_up_is_heard() {
        let briefing = Briefing::create().expect("an arena");
        let object = briefing.object().clone();
        let child = std::thread::spawn(move || read(object, parent()));
        drop(briefing);
        assert_eq!(child.join().expect("no panic"), Ok(None));
    }

    #[test]
    fn a_starter_that_is_gone_is_noticed() {
        let briefing = Briefing::create().expect("an arena");
        assert_eq!(read(briefing.object().clone(), parent() + 1), Ok(None));
    }
}
