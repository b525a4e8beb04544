//! What the arena promises to those who build on it: no descriptor for each object, and that a handle does
//! not arrive as something else.

use std::fs;

use multiproc_shm::testing::alone;
use multiproc_sync::{Array, Event, Lock, Mutex, Value};
use multiproc_wire::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .count()
}

#[test]
fn ten_thousand_locks_take_no_descriptor() {
    alone(|| {
        let before = descriptors();
        let locks: Vec<Lock> = (0..10_000).map(|_| Lock::new().expect("a lock")).collect();
        let guards: Vec<_> = (locks.iter().step_by(100))
            .map(|lock| lock.acquire().expect("free"))
            .collect();
        assert_eq!(descriptors(), before);
        drop(guards);
        drop(locks);
        assert_eq!(descriptors(), before);
    });
}

/// What arriving as `To` says of a `From`.
fn arrive<From: Serialize + 'static, To: DeserializeOwned + 'static>(from: &From) -> String {
    let parcel = codec::encode(from).expect("encodes");
    match codec::decode::<To>(&parcel.bytes, &parcel.attachments) {
        Ok(_) => panic!("it arrived as something else"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn fault_37_a_handle_does_not_arrive_as_another_type_or_with_elements_of_another_size() {
    alone(|| {
        let value = Value::new(7u32).expect("a value");
        let array = Array::<u32>::new(10).expect("an array");
        let errors = [
            arrive::<_, Value<u64>>(&value),
            arrive::<_, Value<u8>>(&value),
            arrive::<_, Mutex<u32>>(&value),
            arrive::<_, Array<u64>>(&array),
            arrive::<_, Array<u16>>(&array),
            arrive::<_, Value<u32>>(&array),
            arrive::<_, Lock>(&Event::new().expect("an event")),
        ];
        for error in errors {
            assert!(
                error.contains("expected") && error.contains("found"),
                "{error}"
            );
        }
    });
}
