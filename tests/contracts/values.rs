//! A value that several processes change.

use multiproc::Process;

use crate::kit::{Kit, LONG, ValueLike};

pub(crate) fn a_value_is_set_and_read(kit: &impl Kit) {
    let value = kit.value(5);
    assert_eq!(value.get(), 5);
    value.set(u64::MAX);
    assert_eq!(value.clone().get(), u64::MAX);
    value.set(1);
    assert_eq!(value.add(2), 3);
}

fn add_up<V: ValueLike>(value: V) {
    for _ in 0..300 {
        value.add(1);
    }
}

pub(crate) fn no_update_is_lost<K: Kit>(kit: &K) {
    let value = kit.value(0);
    let start = |()| Process::new(add_up::<K::Value>, value.clone()).start();
    let others = [(); 4].map(start);
    for other in others {
        other
            .expect("started")
            .join_timeout(LONG)
            .expect("no panic");
    }
    assert_eq!(value.get(), 1200);
}
