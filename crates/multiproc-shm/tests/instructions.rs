//! Members killed at every instruction of every operation: nothing leaks, nothing is freed that is in
//! use, nothing contradicts itself, and the survivors go on with the same objects.
//!
//! See `multiproc_shm::testing::instructions` for `CHAOS=n`, `SEED=n` and `STEP=n`.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, Once};
use std::time::Duration;

use multiproc_shm::testing::instructions::{kill_at_each, place};
use multiproc_shm::testing::{self, Forked};
use multiproc_shm::{Frame, Kind, MemberId, Object, Outbox, Ring, family, parcel};
use multiproc_sys::clock::Deadline;
use multiproc_sys::testing as raw;
use multiproc_sys::testing::steps::{self, Reached};
use multiproc_wire::codec;

const LIMIT: Duration = Duration::from_secs(20);
/// The size of most objects here; nothing else has it, so that the tests know its free list.
const LEN: usize = 300;
static TURN: Mutex<()> = Mutex::new(());
static WARM: Once = Once::new();

/// Runs a test with the arena to itself.
fn alone(test: impl FnOnce(&Survivor)) {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let survivor = Survivor::new();
    // When so many members have come and gone, every slot of the regular rotation has its ledger
    // blocks, so that an operation is the same instructions each time.
    WARM.call_once(|| (0..70).for_each(|_| assert!(testing::fork(|| drop(plain())).join())));
    test(&survivor);
    survivor.goes_on();
    drop(survivor);
    assert!(testing::settle(LIMIT), "members are left");
    testing::audit().expect("nothing contradicts itself");
}

fn plain() -> Object {
    Object::create(Kind::Plain, 5, LEN, |_| {}).expect("an object")
}

fn stored(objects: &[Object]) -> Object {
    parcel::store(&codec::encode(&objects.to_vec()).expect("encodes")).expect("stored")
}

fn until() -> Deadline {
    Deadline::after(LIMIT)
}

/// A member that does `prepare`, then `operation` between the marks, and holds what that returns.
fn member<P, R>(prepare: impl FnOnce() -> P, operation: impl FnOnce(&mut P) -> R) -> Forked {
    testing::fork(|| {
        let mut prepared = prepare();
        steps::begin();
        let held = operation(&mut prepared);
        steps::end();
        drop((held, prepared));
    })
}

/// What the dead used, and the survivor goes on using.
struct Survivor {
    ring: Ring,
    shared: Object,
}

impl Survivor {
    fn new() -> Survivor {
        Survivor {
            ring: Ring::create(9, 8192).expect("a ring"),
            shared: plain(),
        }
    }

    /// About twenty operations on what the dead has just used, with a deadline each.
    fn goes_on(&self) {
        self.empty();
        for round in 0..4u8 {
            let object = plain();
            let parcel = stored(&[object.clone(), self.shared.clone()]);
            self.push_bytes(&[round; 24]);
            let mut tail = self.ring.tail(until()).expect("the tail");
            tail.push_parcel(&parcel).expect("room");
            drop((tail, parcel, object));
            assert_eq!(self.pop(), Some(Popped::Bytes(vec![round; 24])));
            assert_eq!(self.pop(), Some(Popped::Objects(2)));
        }
        assert_eq!(self.pop(), None);
    }

    fn push_bytes(&self, bytes: &[u8]) {
        let mut tail = self.ring.tail(until()).expect("the tail");
        tail.push(&[bytes], 0).expect("room");
    }

    fn push_parcel(&self, parcel: &Object) {
        let mut tail = self.ring.tail(until()).expect("the tail");
        tail.push_parcel(parcel).expect("room");
    }

    fn pop(&self) -> Option<Popped> {
        let mut bytes = Vec::new();
        let mut head = self.ring.head(until()).expect("the head");
        let frame = head.pop(&mut bytes).expect("a true frame");
        drop(head);
        frame.map(|frame| match frame {
            Frame::Bytes => Popped::Bytes(bytes),
            Frame::Parcel(parcel) => {
                let loaded = parcel::load(&parcel).expect("a true parcel");
                let objects: Vec<Object> =
                    codec::decode(&loaded.bytes, &loaded.attachments).expect("decodes");
                Popped::Objects(objects.len())
            }
        })
    }

    fn empty(&self) -> Vec<Popped> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Popped {
    Bytes(Vec<u8>),
    Objects(usize),
}

#[test]
fn killed_at_any_instruction_of_a_create() {
    alone(|survivor| {
        let create = |(): &mut ()| plain();
        let after = |_| survivor.goes_on();
        drop(plain());
        kill_at_each("create from the free list", || member(|| (), create), after);
        let carve = || {
            testing::hide_free(LEN, false);
            member(|| (), create)
        };
        kill_at_each("create by carving", carve, after);
        let refill = || {
            testing::hide_free(LEN, true);
            member(|| (), create)
        };
        kill_at_each("create from a new chunk", refill, after);
        let both = |(): &mut ()| drop(plain());
        kill_at_each("create and drop", || member(|| (), both), after);
    });
}

#[test]
fn killed_at_any_instruction_of_a_create_that_needs_more_than_a_header() {
    alone(|survivor| {
        const LARGE: usize = 900_000;
        // A ring, as it does not zero its megabyte.
        let large = |(): &mut ()| Ring::create(9, LARGE).expect("a ring");
        let after = |_| survivor.goes_on();
        kill_at_each("create a large ring", || member(|| (), large), after);
        let fresh = || {
            testing::hide_free(2 * LARGE, true);
            member(|| (), large)
        };
        kill_at_each(
            "create a large ring in a new MiB of the ledger",
            fresh,
            after,
        );
    });
}

#[test]
fn killed_at_any_instruction_of_giving_memory_back() {
    alone(|survivor| {
        // With another that lies idle more than may, so the last drop punches it out.
        const HUGE: usize = 64 << 20;
        let create = || Ring::create(9, HUGE).expect("a ring");
        let ring = || {
            let (ring, idle) = (create(), create());
            drop(idle);
            Some(ring)
        };
        let last = |ring: &mut Option<Ring>| *ring = None;
        kill_at_each(
            "last drop of 64 MiB",
            || member(ring, last),
            |_| {
                let ring = ring().expect("there is room");
                let mut tail = ring.tail(until()).expect("the tail");
                tail.push(&[&[7; 1 << 20]], 0)
                    .expect("room, with memory behind it");
                drop(tail);
                survivor.goes_on();
            },
        );
    });
}

#[test]
fn killed_at_any_instruction_of_a_drop() {
    alone(|survivor| {
        let after = |_| survivor.goes_on();
        let last = |object: &mut Option<Object>| *object = None;
        kill_at_each("last drop", || member(|| Some(plain()), last), after);
        let prepare = || Some(stored(&[plain(), survivor.shared.clone(), plain()]));
        kill_at_each("last drop of a parcel", || member(prepare, last), after);
        let ring = || {
            let ring = Ring::create(9, 512).expect("a ring");
            let parcel = stored(&[plain()]);
            for _ in 0..3 {
                let mut tail = ring.tail(until()).expect("the tail");
                tail.push(&[&[1; 20]], 0).expect("room");
                tail.push_parcel(&parcel).expect("room");
            }
            Some(ring)
        };
        let last = |ring: &mut Option<Ring>| *ring = None;
        kill_at_each("last drop of a ring", || member(ring, last), after);
    });
}

#[test]
fn killed_at_any_instruction_of_a_parcel_stored_and_loaded() {
    alone(|survivor| {
        let after = |_| survivor.goes_on();
        let two = || codec::encode(&vec![plain(), survivor.shared.clone()]).expect("encodes");
        let store = |parcel: &mut multiproc_wire::Parcel| parcel::store(parcel).expect("stored");
        kill_at_each("store a parcel", || member(two, store), after);

        let parcel = stored(&[plain(), plain()]);
        let load = |parcel: &mut Object| parcel::load(parcel).expect("loaded");
        kill_at_each("load a parcel", || member(|| parcel.clone(), load), after);

        let boxed = std::cell::RefCell::new(None);
        let fill = || {
            let outbox = Outbox::create().expect("an outbox");
            *boxed.borrow_mut() = Some(outbox.clone());
            member(
                || stored(&[plain()]),
                move |parcel| outbox.fill(parcel).expect("room"),
            )
        };
        kill_at_each("fill an outbox", fill, |reached| {
            let outbox: Outbox = boxed.take().expect("one for each kill");
            let content = outbox.content().expect("readable");
            assert!(content.is_some() || reached != Reached::End);
            if let Some(parcel) = content {
                assert_eq!(parcel::load(&parcel).expect("whole").attachments.len(), 1);
            }
            survivor.goes_on();
        });
    });
}

#[test]
fn killed_at_any_instruction_of_a_push() {
    alone(|survivor| {
        let ring = &survivor.ring;
        let bytes = |(): &mut ()| {
            let mut tail = ring.tail(until()).expect("the tail");
            tail.push(&[&[7; 40], &[8; 3]], 1).expect("room");
        };
        let whole = [[7; 40].as_slice(), &[8; 3]].concat();
        kill_at_each(
            "push bytes",
            || member(|| (), bytes),
            |reached| {
                let found = survivor.empty();
                let there = found == [Popped::Bytes(whole.clone())];
                let nothing = found.is_empty() && reached != Reached::End;
                assert!(there || nothing, "killed {}: {found:?}", place(reached));
                survivor.goes_on();
            },
        );
        let parcel = |parcel: &mut Object| {
            let mut tail = ring.tail(until()).expect("the tail");
            tail.push_parcel(parcel).expect("room");
        };
        let start = || member(|| stored(&[plain()]), parcel);
        kill_at_each("push a parcel", start, |reached| {
            let found = survivor.empty();
            let there = found == [Popped::Objects(1)];
            let nothing = found.is_empty() && reached != Reached::End;
            assert!(there || nothing, "killed {}: {found:?}", place(reached));
            survivor.goes_on();
        });
    });
}

#[test]
fn killed_at_any_instruction_of_a_pop() {
    alone(|survivor| {
        let pop = |buffer: &mut Vec<u8>| {
            let mut head = survivor.ring.head(until()).expect("the head");
            head.pop(buffer).expect("a true frame").expect("a frame")
        };
        let at_most_the_first_is_gone = |reached: Reached, mut all: Vec<Popped>| {
            let found = survivor.empty();
            let there = found == all && reached != Reached::End;
            all.remove(0);
            assert!(
                there || found == all,
                "killed {}: {found:?}",
                place(reached)
            );
            survivor.goes_on();
        };
        let start = || {
            survivor.push_bytes(&[1; 40]);
            survivor.push_bytes(&[2; 40]);
            member(Vec::new, pop)
        };
        kill_at_each("pop bytes", start, |reached| {
            let all = [1, 2].map(|byte| Popped::Bytes(vec![byte; 40]));
            at_most_the_first_is_gone(reached, Vec::from(all));
        });
        let start = || {
            survivor.push_parcel(&stored(&[plain()]));
            survivor.push_bytes(&[2; 40]);
            member(Vec::new, pop)
        };
        kill_at_each("pop a parcel", start, |reached| {
            let all = [Popped::Objects(1), Popped::Bytes(vec![2; 40])];
            at_most_the_first_is_gone(reached, Vec::from(all));
        });
        let known = std::cell::RefCell::new(None);
        let start = || {
            let parcel = stored(&[plain()]);
            survivor.push_parcel(&parcel);
            survivor.push_bytes(&[2; 40]);
            *known.borrow_mut() = Some(parcel);
            member(Vec::new, pop)
        };
        kill_at_each(
            "pop a parcel that the taker holds already",
            start,
            |reached| {
                known.take();
                let all = [Popped::Objects(1), Popped::Bytes(vec![2; 40])];
                at_most_the_first_is_gone(reached, Vec::from(all));
            },
        );
    });
}

#[test]
fn killed_at_any_instruction_of_a_sweep() {
    alone(|survivor| {
        let dead = std::cell::Cell::new(None::<MemberId>);
        let start = || {
            let victim = testing::fork(|| {
                std::mem::forget((plain(), stored(&[plain(), survivor.shared.clone()])));
            });
            // Reaped, and neither buried nor swept.
            assert_eq!(raw::wait(victim.pid), Ok(true));
            dead.set(Some(victim.id));
            member(move || victim.id, |id| family::sweep_now(*id))
        };
        kill_at_each("sweep", start, |_| {
            family::sweep_now(dead.take().expect("one for each kill"));
            survivor.goes_on();
        });
    });
}

#[test]
fn killed_at_any_instruction_of_taking_a_seat() {
    alone(|survivor| {
        let start = || {
            testing::fork_unseated(|id| {
                steps::begin();
                family::take_seat(id).expect("the seat is ours");
                steps::end();
            })
        };
        kill_at_each("take a seat", start, |_| survivor.goes_on());
        let reserve = |(): &mut ()| {
            let seat = family::reserve("a child's child").expect("a seat");
            seat.endow(&survivor.shared).expect("a reference");
            seat
        };
        kill_at_each(
            "reserve a seat and endow it",
            || member(|| (), reserve),
            |_| {
                assert!(testing::settle(LIMIT), "the seat is left");
                survivor.goes_on();
            },
        );
    });
}

#[test]
fn killed_at_any_instruction_of_a_lock() {
    alone(|survivor| {
        let object = Object::create(Kind::Locked, 5, 64, |_| {}).expect("an object");
        let change = |object: &mut Object| {
            let _guard = object.lock().lock(until()).expect("free");
            object.words()[0].fetch_add(1, Ordering::Relaxed);
            object.words()[1].fetch_add(1, Ordering::Relaxed);
        };
        let start = || member(|| object.clone(), change);
        kill_at_each("take a lock and release it", start, |reached| {
            assert!(!object.lock().is_held(), "held by the dead");
            let guard = object.lock().lock(until()).expect("free");
            let [first, second] = [0, 1].map(|index| object.words()[index].load(Ordering::Relaxed));
            let told = guard.taken().is_after_death();
            assert!(
                told || first == second,
                "half changed, killed {}",
                place(reached)
            );
            object.words()[1].store(first, Ordering::Relaxed);
            drop(guard);
            for _ in 0..20 {
                let taken = object
                    .lock()
                    .lock(until())
                    .map(|guard| guard.taken().is_after_death());
                assert_eq!(taken, Ok(false));
            }
            survivor.goes_on();
        });
    });
}

#[test]
fn killed_at_any_instruction_of_going_to_sleep() {
    alone(|survivor| {
        // A bell that has rung since it was armed: nobody sleeps, and every step is taken but that.
        let sleep = |(): &mut ()| {
            let bell = survivor.ring.items();
            let armed = bell.arm();
            bell.ring();
            let mut sleeper = multiproc_shm::Sleeper::new(until());
            let _changed = bell.sleep(armed, &mut sleeper);
        };
        kill_at_each(
            "arm a bell, ring it, go to sleep",
            || member(|| (), sleep),
            |_| {
                survivor.ring.items().ring();
                assert!(!survivor.ring.items().is_armed(), "nobody sleeps");
                survivor.goes_on();
            },
        );
    });
}
