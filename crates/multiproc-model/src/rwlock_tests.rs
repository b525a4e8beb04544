//! The gate for readers and writers: nobody reads beside a writer, a death inside is told, and one
//! outside is not.

use loom::thread;

use crate::door::{Deadline, LockError, Object};
use crate::mortal::{check, for_ever, live};
use crate::raw::copies::{Copies, words_of};
use crate::raw::rwlock::{CONTENT, Gate, IfDied, Reading};

type Content = u64;

struct Shared(Object);

impl Shared {
    /// One row for each of two members.
    fn new() -> Shared {
        Shared(Object::with_words(
            CONTENT + words_of::<Content>() + 7 + 2 * 8,
        ))
    }

    fn gate(&self) -> Gate<'_> {
        Gate::of(&self.0, words_of::<Content>())
    }

    fn copies(&self) -> Copies<'_, Content> {
        Copies::at(&self.0.words()[CONTENT..])
    }

    /// True if somebody died while writing.
    fn read(&self) -> bool {
        match self.gate().read(Deadline::NEVER) {
            Ok(reading) => {
                let content = self.copies().read();
                assert_eq!(content, self.copies().read(), "somebody writes");
                if let Reading::Counted(me) = reading {
                    self.gate().leave(me);
                }
                false
            }
            Err(LockError::OwnerDied) => true,
            Err(error) => panic!("{error}"),
        }
    }

    fn write(&self) {
        let gate = self.gate();
        let held = match gate.write(Deadline::NEVER, IfDied::Report) {
            Err(LockError::OwnerDied) => gate.write(Deadline::NEVER, IfDied::Recover),
            answer => answer,
        };
        let held = held.expect("no deadline");
        self.copies().replace(&(self.copies().read() + 1));
        gate.open();
        drop(held);
    }
}

#[test]
fn a_writer_may_die_and_whoever_comes_next_is_told() {
    check("gate, a writer may die", |last| {
        for_ever(Shared::new(), |shared| {
            let mortal = thread::spawn(move || live(1, last, || shared.write()));
            let mut told = false;
            live(2, None, || told = shared.read());
            let lived = mortal.join().expect("no panic");
            live(2, None, || {
                assert!(!told || !lived, "told without a death");
                assert!(shared.read() || !told, "told, and no longer");
                shared.write();
                assert!(!shared.read(), "recovered");
                let content = shared.copies().read();
                assert!(content == 2 || !lived && content == 1, "{content}");
            });
            lived
        })
    });
}

#[test]
fn a_reader_may_die_and_nobody_is_told() {
    check("gate, a reader may die", |last| {
        for_ever(Shared::new(), |shared| {
            let mortal = thread::spawn(move || live(1, last, || assert!(!shared.read())));
            live(2, None, || shared.write());
            let lived = mortal.join().expect("no panic");
            live(2, None, || {
                shared.write();
                assert!(!shared.read());
                assert_eq!(shared.copies().read(), 2);
            });
            lived
        })
    });
}

#[test]
fn two_writers_and_a_reader_all_get_through() {
    check("gate, two writers", |last| {
        for_ever(Shared::new(), |shared| {
            let mortal = thread::spawn(move || live(1, last, || shared.write()));
            let other = thread::spawn(move || live(2, None, || shared.write()));
            let lived = mortal.join().expect("no panic");
            other.join().expect("no panic");
            live(2, None, || {
                shared.write();
                let content = shared.copies().read();
                assert!(content == 3 || !lived && content == 2, "{content}");
            });
            lived
        })
    });
}
