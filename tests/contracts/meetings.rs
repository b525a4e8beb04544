//! Events, barriers and conditions: who waits for whom.

use std::thread;
use std::time::Instant;

use multiproc::{BarrierError, Process};

use crate::kit::{
    BarrierLike, ConditionLike, EventLike, Kit, LONG, LockLike, SHORT, ValueLike, soon,
};

fn answer<E: EventLike>((there, back): (E, E)) {
    there.wait();
    back.set();
}

pub(crate) fn an_event_is_waited_for<K: Kit>(kit: &K) {
    let (there, back) = (kit.event(), kit.event());
    assert!(!there.is_set());
    assert!(!there.wait_timeout(SHORT));
    assert!(!there.wait_deadline(soon()));
    let other = Process::new(answer::<K::Event>, (there.clone(), back.clone()));
    let other = other.start().expect("started");
    there.set();
    assert!(back.wait_timeout(LONG));
    other.join_timeout(LONG).expect("no panic");
    assert!(there.is_set() && there.wait_timeout(SHORT));
    there.clear();
    assert!(!there.is_set());
}

fn meet<B: BarrierLike>(barrier: B) -> (usize, bool) {
    let place = barrier.wait().expect("all come");
    (place.index(), place.is_leader())
}

pub(crate) fn a_barrier_lets_all_go_and_one_leads<K: Kit>(kit: &K) {
    let barrier = kit.barrier(3);
    assert_eq!((barrier.parties(), barrier.waiting()), (3, 0));
    for _ in 0..3 {
        let start = |()| Process::new(meet::<K::Barrier>, barrier.clone()).start();
        let others = [(); 2].map(start);
        let mut places = vec![meet(barrier.clone())];
        for other in others {
            let other = other.expect("started");
            places.push(other.join_timeout(LONG).expect("no panic"));
        }
        places.sort_unstable();
        assert_eq!(places, [(0, true), (1, false), (2, false)]);
    }
    assert!(!barrier.is_broken());
}

/// Has two wait at a barrier for three, breaks it, and gives what they are told.
fn broken<B: BarrierLike>(barrier: &B, breaks: impl FnOnce()) -> [BarrierError; 2] {
    thread::scope(|scope| {
        let waits = [(); 2].map(|()| scope.spawn(|| barrier.wait().expect_err("it breaks")));
        let until = Instant::now() + LONG;
        while barrier.waiting() < 2 {
            assert!(Instant::now() < until, "they do not come");
            thread::yield_now();
        }
        breaks();
        waits.map(|wait| wait.join().expect("no panic"))
    })
}

fn assert_said(told: &[BarrierError], why: &str) {
    for told in told {
        assert!(
            told.is_broken() && format!("{told:?}").contains(why),
            "{told:?}"
        );
    }
}

pub(crate) fn a_barrier_breaks_for_all_by_abort(kit: &impl Kit) {
    let barrier = kit.barrier(3);
    assert_said(&broken(&barrier, || barrier.abort()), "Aborted");
    assert!(barrier.is_broken());
    assert_said(&[barrier.wait().expect_err("broken")], "Aborted");
    barrier.reset();
    assert!(!barrier.is_broken());
}

pub(crate) fn a_barrier_breaks_for_all_by_reset(kit: &impl Kit) {
    let barrier = kit.barrier(3);
    assert_said(&broken(&barrier, || barrier.reset()), "Reset");
    assert!(!barrier.is_broken());
}

pub(crate) fn a_barrier_breaks_for_all_by_a_deadline(kit: &impl Kit) {
    let barrier = kit.barrier(4);
    let alone = || {
        let late = barrier.wait_timeout(SHORT).expect_err("nobody else comes");
        assert!(late.is_timed_out(), "{late}");
    };
    assert_said(&broken(&barrier, alone), "TimedOut");
    assert!(barrier.is_broken());
    barrier.reset();
    let late = barrier
        .wait_deadline(soon())
        .expect_err("nobody else comes");
    assert!(late.is_timed_out(), "{late}");
}

fn wait_until_killed<B: BarrierLike>(barrier: B) {
    let _ = barrier.wait();
}

pub(crate) fn a_barrier_breaks_for_all_by_a_death<K: Kit>(kit: &K) {
    let barrier = kit.barrier(4);
    let doomed = Process::new(wait_until_killed::<K::Barrier>, barrier.clone());
    let doomed = doomed.daemon(true).start().expect("started");
    let until = Instant::now() + LONG;
    while barrier.waiting() < 1 {
        assert!(Instant::now() < until, "it does not come");
        thread::yield_now();
    }
    let die = || {
        // Of three that wait, the other two are told.
        while barrier.waiting() < 3 {
            assert!(Instant::now() < until, "they do not come");
            thread::yield_now();
        }
        doomed.kill().expect("killed");
    };
    assert_said(&broken(&barrier, die), "Died");
}

/// Waits until the value is not 0, and takes one from it.
fn take_one<L: LockLike, C: ConditionLike<L>, V: ValueLike>(lock: &L, changed: &C, value: &V) {
    let mut guard = lock.acquire().expect("sound");
    while value.get() == 0 {
        changed.wait(&mut guard).expect("sound");
    }
    value.set(value.get() - 1);
}

fn wakes<L: LockLike, C: ConditionLike<L>, V: ValueLike>(lock: &L, changed: &C, value: &V) {
    thread::scope(|scope| {
        let waits = [(); 4].map(|()| scope.spawn(|| take_one(lock, changed, value)));
        for notify in [(|changed: &C| changed.notify_one()) as fn(&C), |changed| {
            changed.notify_n(1)
        }] {
            let guard = lock.acquire().expect("sound");
            value.set(value.get() + 1);
            notify(changed);
            drop(guard);
        }
        let guard = lock.acquire().expect("sound");
        value.set(value.get() + 2);
        changed.notify_all();
        drop(guard);
        for wait in waits {
            wait.join().expect("no panic");
        }
    });
    assert_eq!(value.get(), 0);
    assert!(!lock.is_locked());
}

pub(crate) fn a_condition_wakes_as_many_as_it_is_told(kit: &impl Kit) {
    let (changed, value) = (kit.condition(), kit.value(0));
    wakes(&kit.lock(), &changed, &value);
    wakes(&kit.rlock(), &changed, &value);
}

pub(crate) fn a_condition_is_left_at_the_deadline_with_the_lock(kit: &impl Kit) {
    is_left_at_the_deadline(&kit.rlock(), &kit.condition());
}

fn is_left_at_the_deadline<L: LockLike, C: ConditionLike<L>>(lock: &L, changed: &C) {
    let outer = lock.acquire().expect("free");
    let mut guard = lock.acquire().expect("ours");
    assert!(!changed.wait_timeout(&mut guard, SHORT).expect("sound"));
    assert!(!changed.wait_deadline(&mut guard, soon()).expect("sound"));
    let mut looks = 0;
    let looked = changed.wait_for(&mut guard, SHORT, || {
        looks += 1;
        false
    });
    assert!(!looked.expect("sound") && looks >= 2);
    assert!(changed.wait_for(&mut guard, LONG, || true).expect("sound"));
    // It is held as often as before.
    let refused = || {
        thread::scope(|scope| {
            let other = scope.spawn(|| lock.try_acquire().map(drop));
            other.join().expect("no panic").is_err()
        })
    };
    drop(guard);
    assert!(refused());
    drop(outer);
    assert!(!refused());
}
