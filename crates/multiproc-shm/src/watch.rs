//! A descriptor for a thing of the arena, kept readable while the thing is ready.
//!
//! | state | bell | registered | leaves to | by |
//! |---|---|---|---|---|
//! | watching | silent | the thing's words, armed | rung | the doorbell's thread, at a change that made the thing ready |
//! | rung | readable | nothing | watching | [`Watch::settle`], once the thing is no longer ready |
//!
//! Both changes happen under the mutex of the ringer's table, and both end with a look at the thing
//! after its words were armed. Who takes something out of the thing looks at the state without the
//! mutex: so the thread says "rung" and looks once more before it rings; either it sees that nothing is
//! left, or the taker sees that there is something to settle.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use multiproc_sys::{Errno, poll};

use crate::doorbell::{self, MOST, Place, Table, Then};
use crate::error::CreateError;
use crate::own;
use crate::waitable::{Sources, Waitable};

/// A descriptor for a thing of the arena: readable while the thing is ready.
///
/// For event loops. Whoever takes something out of the thing calls [`Watch::settle`] afterwards;
/// where *another* process took it, the descriptor stays readable until then, so take with a `try_`
/// verb. In a process that was forked, it becomes another descriptor.
///
/// The thing is looked at by a thread of its own: its `is_ready` must take no lock that is held while
/// the watch is made, used or dropped, and it must not hold the watch.
pub struct Watch {
    /// First, so that no entry in the table is the last to hold the thing.
    place: Place,
    watched: Arc<Watched>,
    /// The bell and the thing's own descriptors, if it has some.
    set: Option<poll::Watch>,
    stamp: u64,
    /// The same for the child of a fork, whose parent has the first.
    later: OnceLock<Box<Watch>>,
}

pub(crate) struct Watched {
    pub(crate) thing: Arc<dyn Waitable + Send + Sync>,
    bell: poll::Bell,
    /// The bell is rung and nothing is registered. Changed under the table's mutex.
    rung: AtomicBool,
}

impl Watch {
    /// A descriptor for `thing`.
    ///
    /// # Errors
    ///
    /// [`CreateError::Limit`] without a free descriptor or a thread.
    pub fn new(thing: Arc<dyn Waitable + Send + Sync>) -> Result<Watch, CreateError> {
        let os = |errno: Errno| CreateError::from_errno("making a descriptor to wait on", errno);
        let bell = poll::Bell::new().map_err(os)?;
        let sources = Sources::of(&[&*thing]);
        let words = sources.words() + 1;
        if words > MOST {
            return Err(CreateError::Invalid(format!(
                "a watch of {words} words; at most {MOST} are possible"
            )));
        }
        let set = match sources.fds().next() {
            None => None,
            Some(_) => Some(set_of(sources.fds().chain([bell.as_fd()])).map_err(os)?),
        };
        let place = doorbell::current().take(words, words)?;
        let watched = Arc::new(Watched {
            thing,
            bell,
            rung: AtomicBool::new(false),
        });
        place.change(|ticket, table| watched.look(ticket, table));
        Ok(Watch {
            place,
            watched,
            set,
            stamp: own::stamp(),
            later: OnceLock::new(),
        })
    }

    /// The watch of this process.
    fn mine(&self) -> Result<&Watch, CreateError> {
        if self.stamp == own::stamp() {
            return Ok(self);
        }
        if let Some(later) = self.later.get() {
            return later.mine();
        }
        let new = Watch::new(Arc::clone(&self.watched.thing))?;
        self.later.get_or_init(|| Box::new(new)).mine()
    }

    /// The descriptor. Only poll it.
    ///
    /// # Errors
    ///
    /// As [`Watch::new`], in a process that was forked since.
    pub fn fd(&self) -> Result<BorrowedFd<'_>, CreateError> {
        let mine = self.mine()?;
        let bell = || mine.watched.bell.as_fd();
        Ok(mine.set.as_ref().map_or_else(bell, poll::Watch::as_fd))
    }

    /// Something has been taken out of the thing: if nothing is left, the descriptor is readable no
    /// longer. Costs a load where it is not.
    pub fn settle(&self) {
        let Ok(mine) = self.mine() else { return };
        let watched = &mine.watched;
        // SYNC POINT watch
        fence(Ordering::SeqCst);
        if !watched.rung.load(Ordering::Acquire) || watched.thing.is_ready() {
            return;
        }
        mine.place.change(|ticket, table| {
            // Unless another thread has settled it meanwhile.
            if watched.rung.swap(false, Ordering::AcqRel) {
                watched.bell.silence();
                watched.look(ticket, table);
            }
        });
    }
}

fn set_of<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) -> Result<poll::Watch, Errno> {
    let set = poll::Watch::new()?;
    for (token, fd) in fds.enumerate() {
        set.add(fd, token as u64)?;
    }
    Ok(set)
}

impl Watched {
    /// Rings if the thing is ready, else has its words watched.
    pub(crate) fn look(self: &Arc<Watched>, ticket: u64, table: &mut Table) {
        loop {
            let armed = Sources::of(&[&*self.thing]).arm();
            if !self.thing.is_ready() {
                return table.add(ticket, &armed, &Then::Look(Arc::clone(self)));
            }
            self.rung.store(true, Ordering::SeqCst);
            // SYNC POINT watch
            fence(Ordering::SeqCst);
            if self.thing.is_ready() {
                return self.bell.ring();
            }
            self.rung.store(false, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rung = self.watched.rung.load(Ordering::Relaxed);
        f.debug_struct("Watch")
            .field("rung", &rung)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Object};
    use crate::testing;
    use multiproc_sys::clock::Deadline;
    use std::io::{PipeReader, Write};
    use std::time::Duration;

    /// A flag with a bell, beside a descriptor if there is one.
    #[derive(Clone)]
    struct Flag(Object, Option<Arc<PipeReader>>);

    impl Flag {
        fn new() -> Flag {
            let object = Object::create(Kind::Plain, 1, 8, |_| {});
            Flag(object.expect("an object"), None)
        }

        fn set(&self, value: u32) {
            self.0.half_words()[1].store(value, Ordering::Release);
            self.0.bell(0).ring();
        }

        fn watch(&self) -> Watch {
            Watch::new(Arc::new(self.clone())).expect("a watch")
        }
    }

    impl Waitable for Flag {
        fn is_ready(&self) -> bool {
            self.0.half_words()[1].load(Ordering::Acquire) != 0
        }

        fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
            sources.bell(self.0.bell(0));
            if let Some(reader) = &self.1 {
                sources.fd(reader.as_fd());
            }
        }
    }

    fn readable(watch: &Watch, deadline: Deadline) -> bool {
        poll::readable(watch.fd().expect("a descriptor"), deadline).expect("polled")
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn it_is_readable_while_the_thing_is_ready() {
        let flag = Flag::new();
        let watch = flag.watch();
        for _ in 0..20 {
            assert!(!readable(&watch, Deadline::NOW));
            watch.settle();
            flag.set(1);
            assert!(readable(&watch, soon()));
            // Something is left.
            watch.settle();
            assert!(readable(&watch, Deadline::NOW));
            flag.set(0);
            watch.settle();
        }
        flag.set(1);
        assert!(readable(&flag.watch(), Deadline::NOW));
    }

    #[test]
    fn it_is_not_readable_once_what_made_it_so_was_taken() {
        let flag = Flag::new();
        let watch = flag.watch();
        let mut chance = testing::Chance::new();
        for _ in 0..3_000 {
            flag.set(1);
            chance.moment(Duration::from_micros(30));
            flag.set(0);
            watch.settle();
            chance.moment(Duration::from_micros(10));
            assert!(!readable(&watch, Deadline::NOW));
        }
    }

    #[test]
    fn a_thing_with_a_descriptor_has_one_for_both() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let flag = Flag(Flag::new().0, Some(Arc::new(reader)));
        let watch = flag.watch();
        assert!(!readable(&watch, Deadline::NOW));
        flag.set(1);
        assert!(readable(&watch, soon()));
        flag.set(0);
        watch.settle();
        assert!(!readable(&watch, Deadline::NOW));
        writer.write_all(b"x").expect("written");
        assert!(readable(&watch, Deadline::NOW));
    }

    #[test]
    fn hundreds_are_watched_and_let_go_of() {
        let flags: Vec<Flag> = (0..200).map(|_| Flag::new()).collect();
        for _ in 0..3 {
            let watches: Vec<Watch> = flags.iter().map(Flag::watch).collect();
            for flag in &flags {
                flag.set(1);
            }
            assert!(watches.iter().all(|watch| readable(watch, soon())));
            for (flag, watch) in flags.iter().zip(&watches) {
                flag.set(0);
                watch.settle();
            }
            assert!(!watches.iter().any(|watch| readable(watch, Deadline::NOW)));
        }
    }

    #[test]
    fn a_forked_child_has_a_descriptor_of_its_own() {
        let flag = Flag::new();
        let watch = flag.watch();
        let child = testing::fork(|| {
            assert!(!readable(&watch, Deadline::NOW));
            flag.set(1);
            assert!(readable(&watch, soon()));
            flag.set(0);
            watch.settle();
            assert!(!readable(&watch, Deadline::NOW));
            flag.set(1);
        });
        // The child's doing is seen here, and its settling is its own.
        assert!(readable(&watch, soon()));
        assert!(child.join(), "the child was not content");
        assert!(readable(&watch, Deadline::NOW));
    }
}
