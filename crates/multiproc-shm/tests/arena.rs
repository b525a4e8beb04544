//! One process: what is created is counted, and what is dropped is gone.
//!
//! `used` is one number for the whole arena, so the tests of this file take turns.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use multiproc_shm::testing::alone;
use multiproc_shm::{Bell, Frame, Kind, Object, Outbox, PushError, Ring, family, parcel};
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Parcel, codec};
use proptest::prelude::*;

fn object(len: usize) -> Object {
    Object::create(Kind::Plain, 7, len, |_| {}).expect("an object")
}

#[test]
fn an_object_is_zero_and_recycled_ones_are_too() {
    alone(|| {
        for len in [0, 1, 48, 49, 4000, 65_520, 65_521, 3 << 20] {
            for _ in 0..3 {
                let object = object(len);
                assert!(object.len() >= len);
                let words = object.words();
                assert!(
                    words.iter().all(|word| word.load(Ordering::Relaxed) == 0),
                    "{len}"
                );
                words
                    .iter()
                    .for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
            }
        }
    });
}

#[test]
fn a_hundred_thousand_cycles_leave_the_arena_as_it_was() {
    alone(|| {
        let carved = family::usage().expect("an arena").carved;
        for round in 0..100_000 {
            let object = object(24);
            let clone = object.clone();
            drop(object);
            assert_eq!(clone.tag(), 7, "round {round}");
        }
        let now = family::usage().expect("an arena").carved;
        assert!(
            now - carved <= 64 * 1024,
            "recycling took {} bytes",
            now - carved
        );
    });
}

#[test]
fn threads_create_and_drop_at_once() {
    alone(|| {
        let threads: Vec<_> = (0..4)
            .map(|seed: usize| {
                std::thread::spawn(move || {
                    let mut held = Vec::new();
                    for round in 0..2_000 {
                        held.push(object((round * 37 + seed) % 5_000));
                        if held.len() > 40 {
                            held.swap_remove((round * 13) % 40);
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
}

#[test]
fn what_is_too_large_is_refused_and_leaves_nothing() {
    alone(|| {
        let error = Object::create(Kind::Plain, 1, usize::MAX, |_| {}).expect_err("too large");
        assert!(error.is_invalid(), "{error}");
        let error = Object::create(Kind::Plain, 1, 60 << 30, |_| {}).expect_err("too large");
        assert!(error.is_no_space(), "{error}");
    });
}

#[test]
fn a_parcel_keeps_what_it_carries_alive() {
    alone(|| {
        let inner = object(8);
        inner.words()[0].store(42, Ordering::Relaxed);
        let value = (String::from("with"), vec![inner.clone(), inner]);
        let stored = parcel::store(&codec::encode(&value).expect("encodes")).expect("stores");
        drop(value);
        for _ in 0..2 {
            let parcel = parcel::load(&stored).expect("loads");
            let (text, objects): (String, Vec<Object>) =
                codec::decode(&parcel.bytes, &parcel.attachments).expect("decodes");
            assert_eq!(text, "with");
            assert_eq!(objects.len(), 2);
            assert!(objects[0].is(&objects[1]));
            assert_eq!(objects[1].words()[0].load(Ordering::Relaxed), 42);
        }
    });
}

#[test]
fn parcels_in_parcels_are_given_back() {
    alone(|| {
        let mut nested = object(100);
        for _ in 0..200 {
            let parcel = codec::encode(&nested).expect("encodes");
            nested = parcel::store(&parcel).expect("stores");
        }
    });
}

#[test]
fn something_else_than_an_object_does_not_travel() {
    alone(|| {
        let parcel = Parcel {
            bytes: Vec::new(),
            attachments: vec![Arc::new(1u32)],
        };
        let error = parcel::store(&parcel).expect_err("not an object");
        assert!(error.is_invalid(), "{error}");
    });
}

#[test]
fn an_outbox_is_empty_until_filled() {
    alone(|| {
        let outbox = Outbox::create().expect("an outbox");
        assert!(outbox.content().expect("readable").is_none());
        let stored = parcel::store(&codec::encode(&5u8).expect("encodes")).expect("stores");
        outbox.fill(&stored).expect("room for one");
        drop(stored);
        for _ in 0..2 {
            let content = outbox.content().expect("readable").expect("filled");
            let five = parcel::with_bytes(&content, |bytes, _| bytes.to_vec());
            assert_eq!(five.expect("a parcel"), [5]);
        }
    });
}

fn drain(ring: &Ring) -> Vec<Vec<u8>> {
    let mut head = ring.head(Deadline::NEVER).expect("the head");
    let mut frames = Vec::new();
    let mut buffer = Vec::new();
    while let Some(frame) = head.pop(&mut buffer).expect("true frames") {
        frames.push(match frame {
            Frame::Bytes => std::mem::take(&mut buffer),
            Frame::Parcel(parcel) => {
                parcel::with_bytes(&parcel, <[u8]>::to_vec_with).expect("a parcel")
            }
        });
    }
    frames
}

trait ToVecWith {
    fn to_vec_with(&self, attachments: &[multiproc_wire::Attachment]) -> Vec<u8>;
}

impl ToVecWith for [u8] {
    fn to_vec_with(&self, _: &[multiproc_wire::Attachment]) -> Vec<u8> {
        self.to_vec()
    }
}

#[test]
fn a_full_ring_says_so_and_goes_on_after_a_pop() {
    alone(|| {
        let ring = Ring::create(9, 256).expect("a ring");
        let mut tail = ring.tail(Deadline::NEVER).expect("the tail");
        let mut pushed = 0;
        while tail.push(&[b"0123456789"], 0).is_ok() {
            pushed += 1;
        }
        assert!(pushed >= 8, "{pushed}");
        assert_eq!(tail.push(&[&[0; 4096]], 0), Err(PushError::TooLong));
        drop(tail);
        assert_eq!(drain(&ring), vec![b"0123456789".to_vec(); pushed]);
        assert!(ring.is_empty());
        let mut tail = ring.tail(Deadline::NEVER).expect("the tail");
        assert_eq!(tail.push(&[b"again"], 0), Ok(()));
    });
}

#[test]
fn a_ring_dropped_with_parcels_inside_gives_them_back() {
    alone(|| {
        let ring = Ring::create(9, 1024).expect("a ring");
        let mut tail = ring.tail(Deadline::NEVER).expect("the tail");
        for round in 0..10u32 {
            let value = (round, object(10));
            let stored = parcel::store(&codec::encode(&value).expect("encodes")).expect("stores");
            tail.push(&[b"bytes between"], 0).expect("room");
            tail.push_parcel(&stored).expect("room");
        }
        drop(tail);
    });
}

#[test]
fn a_bell_rung_between_arming_and_sleeping_does_not_sleep() {
    alone(|| {
        let ring = Ring::create(9, 256).expect("a ring");
        let bell: &Bell = ring.items();
        let armed = bell.arm();
        bell.ring();
        let mut sleeper = multiproc_shm::Sleeper::new(Deadline::NEVER);
        assert_eq!(
            bell.sleep(armed, &mut sleeper),
            multiproc_sys::futex::Woken::Changed
        );
        assert!(!bell.is_armed());
    });
}

proptest! {
    /// The ring against a deque, with frames of any length and parcels between.
    #[test]
    fn a_ring_is_a_deque(steps in prop::collection::vec((0u8..4, 0usize..300), 1..400)) {
        alone(|| {
            let ring = Ring::create(9, 2048).expect("a ring");
            let mut model = std::collections::VecDeque::new();
            let mut number = 0u8;
            for (action, len) in steps {
                number = number.wrapping_add(1);
                let body = vec![number; len];
                match action {
                    0 | 1 => {
                        let mut tail = ring.tail(Deadline::NEVER).expect("the tail");
                        if tail.push(&[&body[..len / 2], &body[len / 2..]], 2).is_ok() {
                            model.push_back(body);
                        }
                    }
                    2 => {
                        let parcel = Parcel { bytes: body.clone(), attachments: Vec::new() };
                        let stored = parcel::store(&parcel).expect("stores");
                        let mut tail = ring.tail(Deadline::NEVER).expect("the tail");
                        if tail.push_parcel(&stored).is_ok() {
                            model.push_back(body);
                        }
                    }
                    _ => {
                        let all: Vec<_> = model.drain(..).collect();
                        assert_eq!(drain(&ring), all);
                    }
                }
                assert_eq!(ring.len(), model.len());
            }
        });
    }
}
