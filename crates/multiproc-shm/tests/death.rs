//! Members that are killed at any moment leave the arena consistent and as full as before.
//!
//! Run with `CHAOS=n` for thousands of kills. The seed is printed; `SEED=n` repeats a run's choices.

use std::sync::atomic::Ordering;
use std::time::Duration;

use multiproc_shm::testing::{self, Chance, Forked, alone, kills, until};
use multiproc_shm::{Frame, Kind, Object, Outbox, Ring, family, parcel};
use multiproc_sys::clock::Deadline;
use multiproc_sys::{liveness, testing as raw};
use multiproc_wire::codec;

/// Everything a member can do with objects, for ever.
fn live(seed: u64, ring: &Ring) {
    let mut random = Chance::from_seed(seed);
    let mut held: Vec<Object> = Vec::new();
    let mut buffer = Vec::new();
    loop {
        match random.below(6) {
            0 => held.push(Object::create(Kind::Plain, 5, 100, |_| {}).expect("creates")),
            1 => held.extend(held.last().cloned()),
            2 if !held.is_empty() => {
                held.swap_remove(random.below(held.len() as u64) as usize);
            }
            3 => {
                // Of plain objects only: parcels of parcels of .. would grow for ever.
                let plain = held.iter().filter(|object| object.tag() == 5).cloned();
                let plain: Vec<Object> = plain.take(4).collect();
                let stored = parcel::store(&codec::encode(&plain).expect("encodes"));
                held.push(stored.expect("stores"));
            }
            4 => {
                let stored =
                    parcel::store(&codec::encode(&held.first().cloned()).expect("encodes"));
                let mut tail = ring.tail(Deadline::NEVER).expect("the tail");
                let _full = tail.push_parcel(&stored.expect("stores"));
                let _full = tail.push(&[&[9; 40]], 0);
            }
            5 => {
                let mut head = ring.head(Deadline::NEVER).expect("the head");
                if let Some(Frame::Parcel(parcel)) = head.pop(&mut buffer).expect("true frames") {
                    drop(head);
                    let loaded = parcel::load(&parcel).expect("loads");
                    let value: Option<Object> =
                        codec::decode(&loaded.bytes, &loaded.attachments).expect("decodes");
                    held.extend(value);
                }
                buffer.clear();
            }
            _ => {}
        }
        held.truncate(30);
    }
}

#[test]
fn random_kills_leak_nothing_and_free_nothing_in_use() {
    alone(|| {
        let mut random = Chance::new();
        let ring = Ring::create(9, 4096).expect("a ring");
        let start = |random: &mut Chance| {
            let (seed, ring) = (random.below(u64::MAX), ring.clone());
            testing::fork(move || live(seed, &ring))
        };
        let mut members: Vec<Forked> = (0..3).map(|_| start(&mut random)).collect();
        for kill in 0..kills(400) {
            random.moment(Duration::from_millis(2));
            members.swap_remove(random.below(3) as usize).kill();
            testing::audit().unwrap_or_else(|what| panic!("after kill {kill}: {what}"));
            members.push(start(&mut random));
        }
        members.into_iter().for_each(Forked::kill);
    });
}

/// `CHAOS=n` kills 10,000.
#[test]
fn killed_holders_of_handles_leave_the_used_size_exactly_where_it_was() {
    alone(|| {
        let shared: Vec<Object> = (0..20)
            .map(|len| Object::create(Kind::Plain, 5, len * 40, |_| {}).expect("creates"))
            .collect();
        let ready = Object::create(Kind::Plain, 5, 8, |_| {}).expect("an object");
        let used = || family::usage().expect("an arena").used;
        let before = used();
        for kill in 1..=kills(500) as u64 {
            let (theirs, word) = (&shared, &ready);
            let member = testing::fork(move || {
                let parcel = codec::encode(&theirs.clone()).expect("encodes");
                let held = [
                    parcel::store(&parcel).expect("stores"),
                    Object::create(Kind::Plain, 5, 300, |_| {}).expect("creates"),
                ];
                word.words()[0].store(kill, Ordering::Release);
                loop {
                    std::hint::black_box(&held);
                    std::thread::park();
                }
            });
            wait_for(&ready, kill);
            assert!(used() > before);
            member.kill();
            assert_eq!(used(), before, "after kill {kill}");
        }
    });
}

#[test]
fn a_member_killed_with_ten_thousand_references_gives_them_all_back() {
    alone(|| {
        let ready = Object::create(Kind::Plain, 5, 8, |_| {}).expect("an object");
        let word = ready.clone();
        let member = testing::fork(move || {
            let held: Vec<Object> = (0..10_000)
                .map(|_| Object::create(Kind::Plain, 5, 24, |_| {}).expect("creates"))
                .collect();
            word.words()[0].store(1, Ordering::Release);
            loop {
                std::hint::black_box(&held);
                std::thread::park();
            }
        });
        wait_for(&ready, 1);
        assert!(family::usage().expect("an arena").used > 640_000);
        member.kill();
    });
}

fn wait_for(object: &Object, value: u64) {
    let until = Deadline::after(Duration::from_secs(20));
    while object.words()[0].load(Ordering::Acquire) != value {
        assert!(!until.has_passed(), "the child has not said {value}");
        std::thread::yield_now();
    }
}

#[test]
fn a_child_that_ends_without_a_word_is_swept() {
    alone(|| {
        let member = testing::fork(|| {
            let object = Object::create(Kind::Plain, 5, 8, |_| {}).expect("creates");
            std::mem::forget(object);
        });
        assert!(member.join());
    });
}

#[test]
fn what_a_child_puts_into_an_outbox_outlives_it() {
    alone(|| {
        let outbox = Outbox::create().expect("an outbox");
        let theirs = outbox.clone();
        let member = testing::fork(move || {
            let inner = Object::create(Kind::Plain, 5, 8, |_| {}).expect("creates");
            inner.words()[0].store(77, Ordering::Relaxed);
            let stored = parcel::store(&codec::encode(&inner).expect("encodes")).expect("stores");
            theirs.fill(&stored).expect("room");
            raw::exit_now(0);
        });
        assert!(member.join());
        let stored = outbox.content().expect("readable").expect("filled");
        let loaded = parcel::load(&stored).expect("loads");
        let inner: Object = codec::decode(&loaded.bytes, &loaded.attachments).expect("decodes");
        assert_eq!(inner.words()[0].load(Ordering::Relaxed), 77);
    });
}

#[test]
fn the_grandchildren_of_a_killed_member_are_swept_too() {
    alone(|| {
        let ready = Object::create(Kind::Plain, 5, 16, |_| {}).expect("an object");
        let word = ready.clone();
        let member = testing::fork(move || {
            let grandchild = testing::fork(|| {
                loop {
                    std::thread::park();
                }
            });
            word.words()[1].store(u64::from(grandchild.pid), Ordering::Relaxed);
            until(|| family::is_alive(grandchild.id), "its seat");
            word.words()[0].store(1, Ordering::Release);
            loop {
                std::thread::park();
            }
        });
        wait_for(&ready, 1);
        let grandchild = ready.words()[1].load(Ordering::Relaxed) as u32;
        member.kill();
        raw::kill(grandchild).expect("it runs still");
    });
}

#[test]
fn an_orphan_whose_id_another_process_has_is_swept_all_the_same() {
    let own = std::process::id();
    if liveness::number_of(own) == liveness::number_of(1) {
        return println!("left out: this kernel does not number processes");
    }
    alone(|| {
        let ready = Object::create(Kind::Plain, 5, 16, |_| {}).expect("an object");
        let word = ready.clone();
        let member = testing::fork(move || {
            let grandchild = testing::fork(|| {
                loop {
                    std::thread::park();
                }
            });
            word.words()[1].store(u64::from(grandchild.pid), Ordering::Relaxed);
            until(|| family::is_alive(grandchild.id), "its seat");
            // As if it had ended, and the kernel had given its id to this test's process.
            testing::forge_pid(grandchild.id, own);
            word.words()[0].store(1, Ordering::Release);
            loop {
                std::thread::park();
            }
        });
        wait_for(&ready, 1);
        let grandchild = ready.words()[1].load(Ordering::Relaxed) as u32;
        member.kill();
        raw::kill(grandchild).expect("it runs still");
    });
}

#[test]
fn a_seat_that_nobody_takes_goes_back_with_what_it_was_endowed_with() {
    alone(|| {
        let object = Object::create(Kind::Plain, 5, 8, |_| {}).expect("an object");
        let seat = family::reserve("nobody").expect("a seat");
        seat.endow(&object).expect("a reference");
        assert_eq!(family::name_of(seat.id()).as_deref(), Some("nobody"));
        drop(seat);
    });
}

#[test]
fn a_lock_held_by_a_killed_member_goes_to_the_next_and_says_so() {
    alone(|| {
        let ring = Ring::create(9, 256).expect("a ring");
        let ready = Object::create(Kind::Plain, 5, 8, |_| {}).expect("an object");
        let (theirs, word) = (ring.clone(), ready.clone());
        let member = testing::fork(move || {
            let _held = theirs.head(Deadline::NEVER).expect("the head");
            word.words()[0].store(1, Ordering::Release);
            loop {
                std::thread::park();
            }
        });
        wait_for(&ready, 1);
        let busy = ring
            .head(Deadline::after(Duration::from_millis(5)))
            .map(drop);
        assert_eq!(busy, Err(multiproc_shm::LockError::TimedOut));
        let (pid, waiting) = (member.pid, ring.clone());
        let waiter = std::thread::spawn(move || {
            waiting
                .head(Deadline::after(Duration::from_secs(10)))
                .map(|head| head.taken())
        });
        raw::kill(pid).expect("it runs");
        let taken = waiter
            .join()
            .expect("no panic")
            .expect("the lock is free after the death");
        assert!(taken.is_after_death());
        member.join();
    });
}
