//! What can be waited for together with other things, and what it must tell for that.
//!
//! A thing is ready when its memory says so ([`Waitable::is_ready`]) or when one of its descriptors
//! is readable. To sleep until then takes a word of its memory that changes with it, or the
//! descriptor: its [`Sources`].
//!
//! 1. [`Sources::arm`]: each word is marked, and its value kept.
//! 2. [`Sources::ready`]: look at everything.
//! 3. If nothing was ready, sleep until a word no longer has the value of step 1, or a descriptor is
//!    readable.
//!
//! Whoever changes the memory changes the word *after* it and wakes its sleepers if it finds the
//! mark. So a change that step 2 has not seen ends step 3.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use multiproc_sys::Errno;
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll;
use multiproc_wire::Fd;

use crate::arena;
use crate::bell::Bell;

/// What can be waited for together with others: everything of this library that becomes ready, and
/// any descriptor as [`Fd`].
///
/// Ready means that the thing's verb would return at once: a queue has an item to get or is closed,
/// an event is set, a process has ended. It stays so until somebody takes what there is.
///
/// Only this library implements it.
pub trait Waitable {
    /// Whether the thing's memory says that it is ready. Takes no lock and does not wait.
    #[doc(hidden)]
    fn is_ready(&self) -> bool {
        false
    }

    /// Names what changes when the thing becomes ready.
    #[doc(hidden)]
    fn sources<'a>(&'a self, sources: &mut Sources<'a>);
}

/// What one or several things sleep on.
#[derive(Default)]
pub struct Sources<'a> {
    words: Vec<Word<'a>>,
    fds: Vec<Polled<'a>>,
    /// The thing that is being asked.
    index: usize,
}

/// A word that changes with a thing.
struct Word<'a> {
    word: &'a AtomicU32,
    /// What tells whoever changes it that somebody sleeps.
    mark: u32,
    is_bell: bool,
}

/// A descriptor of the thing at `index`, which is ready when it is readable.
struct Polled<'a> {
    fd: BorrowedFd<'a>,
    index: usize,
    /// It becomes readable at a member's death, which also wakes whoever sleeps on words.
    at_death: bool,
}

/// A word to sleep on while it has this value.
pub type Armed<'a> = (&'a AtomicU32, u32);

impl<'a> Sources<'a> {
    /// The sources of all `things`.
    pub fn of(things: &[&'a dyn Waitable]) -> Sources<'a> {
        let mut sources = Sources::default();
        for (index, &thing) in things.iter().enumerate() {
            sources.index = index;
            thing.sources(&mut sources);
        }
        sources
    }

    /// The thing's readiness changes, and then this bell rings.
    pub fn bell(&mut self, bell: &'a Bell) {
        let (word, mark) = bell.watched();
        self.words.push(Word {
            word,
            mark,
            is_bell: true,
        });
    }

    /// The thing's readiness changes, and then this word of the arena; whoever changed it wakes *all*
    /// sleepers if one of the bits of `mark` is set in it. Bits that nobody needs do no harm.
    pub fn word(&mut self, word: &'a AtomicU32, mark: u32) {
        self.words.push(Word {
            word,
            mark,
            is_bell: false,
        });
    }

    /// The thing is ready when `fd` is readable or closed at its other end.
    pub fn fd(&mut self, fd: BorrowedFd<'a>) {
        self.fds.push(Polled {
            fd,
            index: self.index,
            at_death: false,
        });
    }

    /// As [`Sources::fd`], for one that becomes readable when a member of the family dies, before
    /// anybody is told of that death.
    pub fn sentinel(&mut self, fd: BorrowedFd<'a>) {
        self.fds.push(Polled {
            fd,
            index: self.index,
            at_death: true,
        });
    }

    /// Marks all words. Look at the things *after* it. One more is among them: the family's count of
    /// deaths, as a death may make something ready, or take a wake along.
    #[must_use = "the values are what to sleep on"]
    pub fn arm(&self) -> Vec<Armed<'a>> {
        let deaths = arena::existing().map(|arena| &arena.header().deaths);
        let deaths = deaths.map(|word| (word, word.load(Ordering::SeqCst)));
        let mark = |it: &Word<'a>| {
            let before = it.word.fetch_or(it.mark, Ordering::SeqCst);
            if it.is_bell {
                Bell::armed(before);
            }
            (it.word, before | it.mark)
        };
        let armed = deaths.into_iter().chain(self.words.iter().map(mark));
        let armed = armed.collect();
        // SYNC POINT bell (and event): either the ringer sees the mark, or the caller's next look
        // sees the change.
        fence(Ordering::SeqCst);
        armed
    }

    /// Which of `things`, whose sources these are, are ready now, in order.
    ///
    /// # Errors
    ///
    /// Of `poll`: more descriptors than the process may have open.
    pub fn ready(&self, things: &[&dyn Waitable]) -> Result<Vec<usize>, Errno> {
        let mut ready: Vec<usize> = (0..things.len())
            .filter(|&index| things[index].is_ready())
            .collect();
        if !self.fds.is_empty() {
            let fds: Vec<_> = self.fds.iter().map(|polled| polled.fd).collect();
            let readable = poll::any_readable(&fds, Deadline::NOW)?;
            ready.extend(readable.into_iter().map(|at| self.fds[at].index));
            ready.sort_unstable();
            ready.dedup();
        }
        Ok(ready)
    }

    /// How many words there are.
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// All descriptors.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'a>> {
        self.fds.iter().map(|polled| polled.fd)
    }

    /// Whether there is a descriptor that only itself can tell about.
    pub fn must_poll(&self) -> bool {
        self.fds.iter().any(|polled| !polled.at_death)
    }
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("words", &self.words.len())
            .field("fds", &self.fds.len())
            .finish()
    }
}

/// Ready when it is readable, or closed at its other end.
impl<T: AsFd> Waitable for Fd<T> {
    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        sources.fd(self.0.as_fd());
    }
}

macro_rules! pointer {
    ($($pointer:ty),*) => {$(
        impl<T: Waitable + ?Sized> Waitable for $pointer {
            fn is_ready(&self) -> bool {
                (**self).is_ready()
            }

            fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
                (**self).sources(sources);
            }
        }
    )*};
}

pointer!(&T, Box<T>, Arc<T>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Object};
    use std::io::Write;

    /// A flag and a bell, as simple as can be.
    struct Flag(Object);

    impl Flag {
        fn new() -> Flag {
            Flag(Object::create(Kind::Plain, 1, 8, |_| {}).expect("an object"))
        }

        fn set(&self, value: u32) {
            self.0.half_words()[1].store(value, Ordering::Release);
            self.0.bell(0).ring();
        }
    }

    impl Waitable for Flag {
        fn is_ready(&self) -> bool {
            self.0.half_words()[1].load(Ordering::Acquire) != 0
        }

        fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
            sources.bell(self.0.bell(0));
        }
    }

    #[test]
    fn memory_and_descriptors_are_looked_at_in_order() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let (flag, reader) = (Flag::new(), Fd(reader));
        let things: [&dyn Waitable; 3] = [&reader, &flag, &reader];
        let sources = Sources::of(&things);
        assert_eq!(sources.ready(&things), Ok(vec![]));
        flag.set(1);
        assert_eq!(sources.ready(&things), Ok(vec![1]));
        writer.write_all(b"x").expect("written");
        assert_eq!(sources.ready(&things), Ok(vec![0, 1, 2]));
        flag.set(0);
        assert_eq!(sources.ready(&things), Ok(vec![0, 2]));
    }

    #[test]
    fn a_change_moves_the_armed_word() {
        let flag = Flag::new();
        let things: [&dyn Waitable; 2] = [&flag, &Box::new(&flag)];
        let sources = Sources::of(&things);
        let armed = sources.arm();
        let stands = |(word, value): &Armed<'_>| word.load(Ordering::Acquire) == *value;
        assert!(armed.len() == 3 && armed.iter().all(stands));
        flag.set(1);
        assert!(!armed[1..].iter().any(stands));
    }
}
