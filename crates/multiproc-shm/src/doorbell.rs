//! Threads that sleep on words of the arena for whoever sleeps on descriptors.
//!
//! A process can sleep on descriptors or on words, not on both, and another process cannot write to
//! its descriptors. So a thread of this process, started when it is first needed, sleeps on the words
//! and makes a local descriptor readable when one has changed. A thread takes [`MOST`] words; for
//! more there are more threads. One without work ends after a while.
//!
//! Not here: which words ([`Sources`](crate::Sources)), and looking whether anything is ready.
//!
//! # A ringer's table, under its mutex
//!
//! | field | meaning | who changes it |
//! |---|---|---|
//! | `entries` | words to watch, and what to do when one has changed | added by who needs it; taken out by the thread at the change, or by who no longer needs it |
//! | `left` | words taken out though they had not changed: the thread may still sleep on them | added by who takes out, emptied by the thread |
//! | `room` | places nobody has | whoever takes or gives back a [`Place`] |
//! | `ended` | the thread is gone, or about to go | the thread, once |
//!
//! 1. The thread reads `control`, then, under the mutex, rings for all entries that have changed, and
//!    takes down the others.
//! 2. It sleeps on them and on `control`.
//! 3. Who adds an entry moves `control` afterwards, so the sleep ends, or does not begin.
//!
//! An entry's word is read under the mutex only, and who registered it takes it out before it lets go
//! of the word's object. The thread may still *sleep* on that word then: to the kernel it is an
//! address, and the arena stays mapped. If the place has become another word meanwhile, the thread may
//! get a wake that was meant for a sleeper of that word; so a thread that was woken by another word
//! than `control` passes one on for each word of `left`.
//!
//! # After a fork
//!
//! The child has neither the threads nor, perhaps, free mutexes. The whole doorbell carries the mark
//! of its process; a child never looks into its parent's, and begins its own.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use multiproc_sys::child::block_all_signals;
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex::{self, Woken};
use multiproc_sys::{poll, rest};

use crate::arena;
use crate::error::CreateError;
use crate::own::{Own, Stamped, stamp};
use crate::waitable::Armed;
use crate::watch::Watched;

/// Words one thread sleeps on, beside its own.
pub(crate) const MOST: usize = futex::MOST_WORDS - 1;

/// A thread that had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(5);

/// How often a thread looks at what it watches for good, as every sleeper does.
const LOOKS_EVERY: Duration = Duration::from_secs(2);

const STACK: usize = 128 * 1024;

/// All threads of one process.
#[derive(Default)]
pub(crate) struct Doorbell {
    ringers: Mutex<Vec<Arc<Ringer>>>,
    tickets: AtomicU64,
}

struct Ringer {
    control: AtomicU32,
    table: Mutex<Table>,
}

pub(crate) struct Table {
    entries: Vec<Entry>,
    left: Vec<&'static AtomicU32>,
    room: usize,
    ended: bool,
}

struct Entry {
    ticket: u64,
    word: &'static AtomicU32,
    expected: u32,
    then: Then,
}

/// What to do when an entry's word has changed.
#[derive(Clone)]
pub(crate) enum Then {
    Ring(Arc<poll::Bell>),
    /// Is the thing ready, and if not, watch on.
    Look(Arc<Watched>),
}

/// Room for some words in one ringer's table, until dropped.
pub(crate) struct Place {
    stamp: u64,
    ringer: Arc<Ringer>,
    ticket: u64,
    words: usize,
}

/// Rings `bell` once one of the `armed` words no longer has its value, as long as `meanwhile` runs.
///
/// # Errors
///
/// [`CreateError::Limit`] if no thread can be had; `meanwhile` has not been called then.
pub fn ring_when_changed<R>(
    armed: &[Armed<'_>],
    bell: &Arc<poll::Bell>,
    meanwhile: impl FnOnce() -> R,
) -> Result<R, CreateError> {
    let doorbell = current();
    let mut places = Vec::new();
    let mut rest = armed;
    while !rest.is_empty() {
        let place = doorbell.take(1, rest.len())?;
        let (here, others) = rest.split_at(place.words);
        let ring = Then::Ring(Arc::clone(bell));
        place.change(|ticket, table| table.add(ticket, here, &ring));
        places.push(place);
        rest = others;
    }
    // The words are borrowed until this function ends, also by a panic: the places go before.
    let result = meanwhile();
    drop(places);
    Ok(result)
}

static CURRENT: Own<Doorbell> = Own::new();

/// This process's doorbell.
pub(crate) fn current() -> &'static Stamped<Doorbell> {
    CURRENT.get()
}

impl Stamped<Doorbell> {
    /// Takes a place for at least `least` and at most `wanted` words.
    pub(crate) fn take(&self, least: usize, wanted: usize) -> Result<Place, CreateError> {
        let place = |ringer: &Arc<Ringer>, words| Place {
            stamp: self.stamp(),
            ringer: Arc::clone(ringer),
            ticket: self.tickets.fetch_add(1, Ordering::Relaxed),
            words,
        };
        let mut ringers = self.ringers.lock().unwrap_or_else(PoisonError::into_inner);
        ringers.retain(|ringer| !ringer.table().ended);
        for ringer in ringers.iter() {
            let mut table = ringer.table();
            if table.room >= least && !table.ended {
                let words = table.room.min(wanted);
                table.room -= words;
                return Ok(place(ringer, words));
            }
        }
        let words = wanted.min(MOST);
        let ringer = Arc::new(Ringer {
            control: AtomicU32::new(0),
            table: Mutex::new(Table {
                entries: Vec::new(),
                left: Vec::new(),
                room: MOST - words,
                ended: false,
            }),
        });
        start(&ringer)?;
        let place = place(&ringer, words);
        ringers.push(ringer);
        Ok(place)
    }
}

fn start(ringer: &Arc<Ringer>) -> Result<(), CreateError> {
    let ringer = Arc::clone(ringer);
    let thread = std::thread::Builder::new()
        .name("multiproc-bell".into())
        .stack_size(STACK)
        .spawn(move || {
            // A signal's handler is the program's business, and not for this thread.
            block_all_signals();
            ringer.work();
        });
    thread.map(drop).map_err(|error| {
        CreateError::Limit(format!(
            "cannot start the thread that waits for shared memory beside descriptors: {error}; \
             raise RLIMIT_NPROC (ulimit -u)"
        ))
    })
}

impl Ringer {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's life.
    fn work(&self) {
        const CONTROL: usize = 0;
        let me = rest::register();
        let (mut woken, mut by) = (Woken::Changed, None);
        loop {
            let control = (&self.control, self.control.load(Ordering::SeqCst));
            let (words, next_look) = {
                let mut table = self.table();
                for word in table.left.drain(..) {
                    // Several may have been woken, of which the kernel names the last.
                    if by.is_some_and(|by| by != CONTROL) {
                        futex::wake(word, 1);
                    }
                }
                table.ring();
                if table.room == MOST && woken == Woken::TimedOut {
                    table.ended = true;
                    return;
                }
                (table.words(control), table.next_look())
            };
            (woken, by) = me.rest(|| futex::wait_any(&words, next_look));
        }
    }

    fn call(&self) {
        self.control.fetch_add(1, Ordering::SeqCst);
        futex::wake(&self.control, 1);
    }
}

impl Table {
    /// What the thread sleeps on.
    fn words<'a>(&self, control: Armed<'a>) -> Vec<Armed<'a>> {
        let of = |entry: &Entry| -> Armed<'a> { (entry.word, entry.expected) };
        let entries = self.entries.iter().map(of);
        std::iter::once(control).chain(entries).collect()
    }

    fn next_look(&self) -> Deadline {
        let is_for_good = |entry: &Entry| matches!(entry.then, Then::Look(_));
        let nobody_else_looks = self.entries.iter().any(is_for_good);
        Deadline::after(if nobody_else_looks { LOOKS_EVERY } else { IDLE })
    }

    /// Does what is to be done for all entries that have changed.
    fn ring(&mut self) {
        let mut fired: Vec<(u64, Then)> = Vec::new();
        for entry in &self.entries {
            let known = fired
                .last()
                .is_some_and(|(ticket, _)| *ticket == entry.ticket);
            if !known && entry.has_changed() {
                fired.push((entry.ticket, entry.then.clone()));
            }
        }
        for (ticket, then) in fired {
            // This thread does not sleep on them now, so nothing is left.
            self.entries.retain(|entry| entry.ticket != ticket);
            match then {
                Then::Ring(bell) => bell.ring(),
                Then::Look(watched) => watched.look(ticket, self),
            }
        }
    }
}

impl Entry {
    fn has_changed(&self) -> bool {
        self.word.load(Ordering::SeqCst) != self.expected
            // A wake may have been lost with its sender: for these, nobody else looks again.
            || matches!(&self.then, Then::Look(watched) if watched.thing.is_ready())
    }
}

impl Place {
    /// Changes what is registered here, and tells the thread.
    pub(crate) fn change<R>(&self, change: impl FnOnce(u64, &mut Table) -> R) -> R {
        let result = change(self.ticket, &mut self.ringer.table());
        self.ringer.call();
        result
    }
}

impl Table {
    /// Registers words, of which the place has room for as many.
    pub(crate) fn add(&mut self, ticket: u64, armed: &[Armed<'_>], then: &Then) {
        let entries = armed.iter().map(|&(word, expected)| Entry {
            ticket,
            word: for_good(word),
            expected,
            then: then.clone(),
        });
        self.entries.extend(entries);
    }
}

/// A word of the arena as what it is to the kernel: an address that stays mapped.
///
/// Its value belongs to whoever holds the object it lies in.
fn for_good(word: &AtomicU32) -> &'static AtomicU32 {
    let arena = arena::existing().expect("there are words, so there is an arena");
    let offset = arena
        .offset_of(word)
        .expect("waitables have their words in the arena");
    // SAFETY: it comes from a reference into the arena, which stays mapped for the life of the
    // process. Entries are read under the table's mutex while who gave the reference keeps it (see
    // the first lines); after that only the kernel uses the address.
    unsafe { arena.view(offset) }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.stamp != stamp() {
            // The thread, and perhaps the mutex, are another process's.
            return;
        }
        let mut table = self.ringer.table();
        let Table { entries, left, .. } = &mut *table;
        entries.retain(|entry| {
            let mine = entry.ticket == self.ticket;
            if mine {
                left.push(entry.word);
            }
            !mine
        });
        table.room += self.words;
    }
}
