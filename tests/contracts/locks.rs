//! Locks: who has one, who is refused, and what the others see when its owner dies.

use std::sync::mpsc;
use std::thread;

use multiproc::Process;

use crate::kit::{EventLike, Kit, LONG, LockLike, SHORT, ValueLike, soon};

const ROUNDS: u64 = 200;

fn count<L: LockLike, V: ValueLike>((lock, value): (L, V)) {
    for _ in 0..ROUNDS {
        let _held = lock.acquire().expect("its owners live");
        value.set(value.get() + 1);
    }
}

pub(crate) fn a_lock_excludes<K: Kit>(kit: &K) {
    let (lock, value) = (kit.lock(), kit.value(0));
    let start = || Process::new(count::<K::Lock, K::Value>, (lock.clone(), value.clone())).start();
    let others = [start().expect("started"), start().expect("started")];
    count((lock.clone(), value.clone()));
    for other in others {
        other.join_timeout(LONG).expect("no panic");
    }
    assert_eq!(value.get(), 3 * ROUNDS);
    assert!(!lock.is_locked());
}

/// Runs `act` while another thread has the lock.
fn while_held<L: LockLike>(lock: &L, act: impl FnOnce()) {
    let (held, is_held) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let guard = lock.acquire().expect("free");
            held.send(()).expect("heard");
            let _ = is_done.recv();
            drop(guard);
        });
        is_held.recv().expect("held");
        assert!(lock.is_locked());
        act();
        drop(done);
    });
    assert!(!lock.is_locked());
}

fn is_refused_in_four_ways<L: LockLike>(lock: &L) {
    while_held(lock, || {
        assert!(lock.try_acquire().expect_err("held").is_busy());
        assert!(!lock.try_acquire().expect_err("held").is_timed_out());
        assert!(
            lock.acquire_timeout(SHORT)
                .expect_err("held")
                .is_timed_out()
        );
        assert!(
            lock.acquire_deadline(soon())
                .expect_err("held")
                .is_timed_out()
        );
        assert!(!lock.try_recover().expect_err("held").is_timed_out());
        assert!(
            lock.recover_timeout(SHORT)
                .expect_err("held")
                .is_timed_out()
        );
        assert!(
            lock.recover_deadline(soon())
                .expect_err("held")
                .is_timed_out()
        );
    });
    drop(lock.try_acquire().expect("free"));
    drop(lock.acquire_timeout(LONG).expect("free"));
    drop(lock.acquire_deadline(soon() + LONG).expect("free"));
    drop(lock.recover().expect("free, and sound as it was"));
}

pub(crate) fn a_lock_is_refused_in_four_ways(kit: &impl Kit) {
    is_refused_in_four_ways(&kit.lock());
    is_refused_in_four_ways(&kit.rlock());
}

fn is_released_by_its_owner_only<L: LockLike>(lock: &L) {
    assert!(lock.release().expect_err("free").is_not_held());
    while_held(lock, || {
        assert!(lock.release().expect_err("another's").is_not_owner());
    });
    L::leak(lock.acquire().expect("free"));
    assert!(lock.is_locked());
    lock.release().expect("ours");
    assert!(!lock.is_locked());
    assert!(lock.release().expect_err("free again").is_not_held());
}

pub(crate) fn a_lock_is_released_by_its_owner_only(kit: &impl Kit) {
    is_released_by_its_owner_only(&kit.lock());
    is_released_by_its_owner_only(&kit.rlock());
}

fn hold_until_killed<L: LockLike, E: EventLike>((lock, holds): (L, E)) {
    L::leak(lock.recover().expect("free"));
    holds.set();
    loop {
        thread::park();
    }
}

/// A process that has the lock.
fn holder<L: LockLike, E: EventLike>(lock: &L, holds: &E) -> Process<()> {
    holds.clear();
    let holder = Process::new(hold_until_killed::<L, E>, (lock.clone(), holds.clone()));
    let holder = holder.name("holder").daemon(true).start().expect("started");
    assert!(holds.wait_timeout(LONG));
    holder
}

fn kill(process: &Process<()>) {
    process.kill().expect("killed");
    process.join_timeout(LONG).expect_err("killed");
}

fn is_suspect_until_recovered<L: LockLike, E: EventLike>(lock: &L, holds: &E) {
    let recover: [fn(&L) -> L::Guard<'_>; 4] = [
        |lock| lock.recover().expect("its owner died"),
        |lock| lock.try_recover().expect("its owner died"),
        |lock| lock.recover_timeout(LONG).expect("its owner died"),
        |lock| {
            lock.recover_deadline(soon() + LONG)
                .expect("its owner died")
        },
    ];
    for recover in recover {
        let holder = holder(lock, holds);
        kill(&holder);
        // With patience: the death may not have been noticed.
        for _ in 0..2 {
            let told = lock.acquire_timeout(LONG).expect_err("its owner died");
            assert!(told.is_owner_died(), "{told}");
            let said = told.to_string();
            assert!(
                said.contains(&format!("'holder' (pid {})", holder.pid())),
                "{said}"
            );
        }
        assert!(
            lock.try_acquire()
                .expect_err("still suspect")
                .is_owner_died()
        );
        drop(recover(lock));
        drop(lock.try_acquire().expect("sound"));
    }
}

pub(crate) fn a_lock_whose_owner_died_is_suspect_until_recovered(kit: &impl Kit) {
    let holds = kit.event();
    is_suspect_until_recovered(&kit.lock(), &holds);
    is_suspect_until_recovered(&kit.rlock(), &holds);
}

pub(crate) fn who_waits_to_recover_has_the_lock_when_its_owner_dies(kit: &impl Kit) {
    let (lock, holds) = (kit.lock(), kit.event());
    let holder = holder(&lock, &holds);
    thread::scope(|scope| {
        let recovering = scope.spawn(|| lock.recover_timeout(LONG).map(drop));
        // Both orders are right; this makes the other one likely, too.
        thread::sleep(SHORT);
        kill(&holder);
        let recovered = recovering.join().expect("no panic");
        recovered.expect("it is had, though its owner died");
    });
    drop(lock.acquire_timeout(LONG).expect("sound"));
}

pub(crate) fn an_rlock_is_taken_and_released_as_often<K: Kit>(kit: &K) {
    let lock = kit.rlock();
    let others_are_refused = || {
        thread::scope(|scope| {
            let other = scope.spawn(|| lock.try_acquire().map(drop));
            let said = other.join().expect("no panic");
            assert!(said.expect_err("held").is_busy());
        });
    };
    let outer = lock.acquire().expect("free");
    let inner = lock.try_acquire().expect("ours");
    K::RLock::leak(lock.acquire_timeout(SHORT).expect("ours"));
    others_are_refused();
    lock.release().expect("ours");
    others_are_refused();
    drop(inner);
    others_are_refused();
    drop(outer);
    assert!(!lock.is_locked());
}

/// Two threads, two locks, taken crosswise: whoever is told gives up, and the other goes on.
pub(crate) fn a_cycle_of_waits_is_told<K: Kit>(kit: &K) {
    let locks = [kit.lock(), kit.lock()];
    let both = std::sync::Barrier::new(2);
    let cross = |mine: usize| {
        let first = locks[mine].acquire().expect("free");
        both.wait();
        let second = locks[1 - mine].acquire().map(drop);
        drop(first);
        second.err()
    };
    let told: Vec<_> = thread::scope(|scope| {
        let cross = &cross;
        let threads = [0, 1].map(|mine| scope.spawn(move || cross(mine)));
        let told = threads.map(|thread| thread.join().expect("no panic"));
        told.into_iter().flatten().collect()
    });
    // Both, if they came to wait at the same moment.
    assert!(!told.is_empty(), "nobody is told");
    for error in told {
        assert!(error.is_deadlock(), "{error}");
        let said = error.to_string();
        assert_eq!(said.matches("waits for lock").count(), 2, "{said}");
    }
    for lock in &locks {
        drop(lock.try_acquire().expect("free"));
    }
    let alone = &locks[0];
    let held = alone.acquire().expect("free");
    assert!(alone.acquire().expect_err("one's own").is_deadlock());
    drop(held);
    drop(alone.acquire().expect("free"));
}

pub(crate) fn a_wait_with_a_deadline_is_no_deadlock(kit: &impl Kit) {
    let lock = kit.lock();
    let held = lock.acquire().expect("free");
    assert!(
        lock.acquire_timeout(SHORT)
            .expect_err("one's own")
            .is_timed_out()
    );
    drop(held);
}
