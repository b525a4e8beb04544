//! Ends killed at every instruction of a send, a receive, and of going away: at most the one message that
//! was being moved is lost or in, nothing leaks, and the survivors go on.
//!
//! See `multiproc_shm::testing::instructions` for `CHAOS=n`, `SEED=n` and `STEP=n`.

use std::cell::RefCell;
use std::time::Duration;

use multiproc_pipe::{Receiver, RecvError, Sender, channel};
use multiproc_shm::testing::instructions::{kill_at_each, place};
use multiproc_shm::testing::{self, Forked, alone};
use multiproc_shm::{Kind, Object};
use multiproc_sys::testing::steps::{self, Reached};
use multiproc_wire::Bytes;

const LIMIT: Duration = Duration::from_secs(60);

/// A message that proves itself: short, with an object in it, or in two pieces.
type Item = (u64, Bytes, Option<Object>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Short,
    WithObject,
    Long,
}

const FORMS: [Form; 3] = [Form::Short, Form::WithObject, Form::Long];

fn item(number: u64, form: Form) -> Item {
    let len = if form == Form::Long { 10_000 } else { 20 };
    let object = || Object::create(Kind::Plain, 7, 8, |_| {}).expect("an object");
    let object = (form == Form::WithObject).then(object);
    (number, Bytes::from(vec![number as u8; len]), object)
}

/// Receives all there is, and says which they were.
fn drain(receiver: &Receiver<Item>) -> Vec<u64> {
    let items = std::iter::from_fn(|| match receiver.try_recv() {
        Ok((number, bytes, _object)) => {
            assert!(bytes.iter().all(|byte| *byte == number as u8));
            Some(number)
        }
        Err(RecvError::Empty) => None,
        Err(error) => panic!("{error}"),
    });
    items.collect()
}

/// A long message may not fit into the ring at once, so it needs a receiver meanwhile.
fn goes_on(sender: &Sender<Item>, receiver: &Receiver<Item>) {
    for (number, form) in (100..).zip(FORMS) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sender
                    .send_timeout(&item(number, form), LIMIT)
                    .expect("room")
            });
            assert_eq!(receiver.recv_timeout(LIMIT).expect("a message").0, number);
        });
    }
}

fn member<P, R>(prepare: impl FnOnce() -> P, operation: impl FnOnce(P) -> R) -> Forked {
    testing::fork(|| {
        let prepared = prepare();
        steps::begin();
        let held = operation(prepared);
        steps::end();
        drop(held);
    })
}

fn with_pipe(test: impl FnOnce(&Sender<Item>, &Receiver<Item>)) {
    alone(|| {
        let (sender, receiver) = channel().expect("a pipe");
        test(&sender, &receiver);
        goes_on(&sender, &receiver);
    });
}

/// A pipe for each kill: in a new one, all that is sent here fits at once.
type Ends = RefCell<Option<(Sender<Item>, Receiver<Item>)>>;

fn new_pipe(ends: &Ends) -> (Sender<Item>, Receiver<Item>) {
    let new = channel().expect("a pipe");
    *ends.borrow_mut() = Some(new.clone());
    new
}

#[test]
fn killed_at_any_instruction_of_a_send() {
    alone(|| {
        let ends = Ends::default();
        for form in FORMS {
            let start = || {
                let (sender, _receiver) = new_pipe(&ends);
                sender.send(&item(1, Form::Short)).expect("room");
                let prepare = || item(2, form);
                member(prepare, |item| {
                    sender.send_timeout(&item, LIMIT).expect("room")
                })
            };
            kill_at_each(&format!("send {form:?}"), start, |reached| {
                let (sender, receiver) = ends.take().expect("one for each kill");
                let found = drain(&receiver);
                let without = found == [1] && reached != Reached::End;
                assert!(
                    without || found == [1, 2],
                    "{found:?}, killed {}",
                    place(reached)
                );
                goes_on(&sender, &receiver);
            });
        }
    });
}

#[test]
fn killed_at_any_instruction_of_a_receive() {
    alone(|| {
        let ends = Ends::default();
        for form in FORMS {
            let start = || {
                let (sender, receiver) = new_pipe(&ends);
                sender.send(&item(1, form)).expect("room");
                sender.send(&item(2, Form::Short)).expect("room");
                member(|| (), |()| receiver.recv_timeout(LIMIT).expect("a message"))
            };
            kill_at_each(&format!("receive {form:?}"), start, |reached| {
                let (sender, receiver) = ends.take().expect("one for each kill");
                let found = drain(&receiver);
                let with = found == [1, 2] && reached != Reached::End;
                assert!(with || found == [2], "{found:?}, killed {}", place(reached));
                goes_on(&sender, &receiver);
            });
        }
    });
}

/// Sends and receives until this thread has both sides of the pipe to itself.
fn have_to_itself(sender: &Sender<Item>, receiver: &Receiver<Item>) {
    for number in 1000..1200 {
        sender.send(&item(number, Form::Short)).expect("room");
        assert_eq!(receiver.recv().expect("a message").0, number);
    }
}

/// What lies in the pipe after it, and whether a message of the killed operation may be missing.
fn check_left(ends: &Ends, reached: Reached, before: &[u64], after: &[u64]) {
    let (sender, receiver) = ends.take().expect("one for each kill");
    let found = drain(&receiver);
    let undone = found == before && reached != Reached::End;
    assert!(
        undone || found == after,
        "{found:?}, killed {}",
        place(reached)
    );
    goes_on(&sender, &receiver);
}

#[test]
fn killed_at_any_instruction_by_one_that_has_its_side_to_itself() {
    alone(|| {
        let ends = Ends::default();
        let start = || {
            let (sender, receiver) = new_pipe(&ends);
            let prepare = || {
                have_to_itself(&sender, &receiver);
                item(2, Form::Short)
            };
            member(prepare, |item| {
                sender.send_timeout(&item, LIMIT).expect("room")
            })
        };
        kill_at_each("send, alone", start, |reached| {
            check_left(&ends, reached, &[], &[2]);
        });
        let start = || {
            let (sender, receiver) = new_pipe(&ends);
            let prepare = || {
                have_to_itself(&sender, &receiver);
                sender.send(&item(1, Form::Short)).expect("room");
                sender.send(&item(2, Form::Short)).expect("room");
            };
            member(prepare, |()| {
                receiver.recv_timeout(LIMIT).expect("a message")
            })
        };
        kill_at_each("receive, alone", start, |reached| {
            check_left(&ends, reached, &[1, 2], &[2]);
        });
    });
}

#[test]
fn killed_at_any_instruction_of_taking_a_side_away() {
    alone(|| {
        let ends = Ends::default();
        let start = || {
            let (sender, receiver) = new_pipe(&ends);
            have_to_itself(&sender, &receiver);
            let prepare = || item(2, Form::Short);
            member(prepare, |item| {
                sender.send_timeout(&item, LIMIT).expect("room")
            })
        };
        kill_at_each("send, taken away", start, |reached| {
            check_left(&ends, reached, &[], &[2]);
        });
        let start = || {
            let (sender, receiver) = new_pipe(&ends);
            have_to_itself(&sender, &receiver);
            sender.send(&item(1, Form::Short)).expect("room");
            member(|| (), |()| receiver.recv_timeout(LIMIT).expect("a message"))
        };
        kill_at_each("receive, taken away", start, |reached| {
            check_left(&ends, reached, &[1], &[]);
        });
    });
}

#[test]
fn killed_at_any_instruction_of_making_a_pipe_and_of_dropping_an_end() {
    with_pipe(|sender, receiver| {
        let start = || member(|| (), |()| channel::<u64>().expect("a pipe"));
        kill_at_each("make a pipe", start, |_| goes_on(sender, receiver));

        let ours = RefCell::new(None);
        let start = || {
            let (theirs, end) = channel::<u64>().expect("a pipe");
            theirs.send(&1).expect("room");
            *ours.borrow_mut() = Some(end.clone());
            member(|| (theirs, end), |(theirs, _end)| drop(theirs))
        };
        kill_at_each("drop the last sender", start, |reached| {
            let end: Receiver<u64> = ours.take().expect("one for each kill");
            assert_eq!(end.recv_timeout(LIMIT), Ok(1));
            let after = end.recv_timeout(LIMIT);
            assert_eq!(
                after,
                Err(RecvError::Disconnected),
                "killed {}",
                place(reached)
            );
        });
    });
}

#[test]
fn killed_at_any_instruction_of_taking_an_end_out_of_a_message() {
    with_pipe(|sender, receiver| {
        let (carry, carried) = channel::<Sender<u64>>().expect("a pipe");
        let ours = RefCell::new(None);
        let start = || {
            let (theirs, end) = channel::<u64>().expect("a pipe");
            carry.send(&theirs).expect("room");
            *ours.borrow_mut() = Some(end);
            drop(theirs);
            member(|| (), |()| carried.recv_timeout(LIMIT).expect("the end"))
        };
        kill_at_each("receive an end", start, |reached| {
            let end: Receiver<u64> = ours.take().expect("one for each kill");
            if let Ok(back) = carried.try_recv() {
                assert_ne!(reached, Reached::End);
                assert_eq!(end.try_recv(), Err(RecvError::Empty));
                drop(back);
            }
            let after = end.recv_timeout(LIMIT);
            assert_eq!(
                after,
                Err(RecvError::Disconnected),
                "killed {}",
                place(reached)
            );
            goes_on(sender, receiver);
        });
    });
}
