//! What a barrier promises, between threads and between processes, whoever dies.

use std::time::{Duration, Instant};

use multiproc_shm::testing::{self, Chance, Counters, LIMIT, kills, until};
use multiproc_sync::{Barrier, BarrierError, BrokenWhy, RawValue};

fn barrier(parties: usize) -> Barrier {
    Barrier::new(parties).expect("a barrier")
}

fn broken(why: BrokenWhy) -> BarrierError {
    BarrierError::Broken { why }
}

/// Children that wait once and must be told that `why` broke the barrier.
fn told(barrier: &Barrier, count: usize, why: BrokenWhy) -> Vec<testing::Forked> {
    let children: Vec<_> = (0..count)
        .map(|_| {
            let barrier = barrier.clone();
            testing::fork(move || {
                let end = barrier.wait_timeout(LIMIT);
                assert_eq!(end.expect_err("it breaks"), broken(why));
            })
        })
        .collect();
    until(|| barrier.waiting() == count, "the arrival of all");
    children
}

fn all_ended_well(children: Vec<testing::Forked>) {
    assert!(children.into_iter().all(testing::Forked::join));
}

#[test]
fn nobody_passes_before_all_have_come_and_indices_are_distinct() {
    const ROUNDS: u64 = 300;
    let (barrier, shared) = (barrier(4), Counters::new(2));
    let work = |barrier: &Barrier, shared: &Counters| {
        for round in 0..ROUNDS {
            shared.add(0);
            let here = barrier.wait_timeout(LIMIT).expect("whole");
            assert!(shared.get(0) >= (round + 1) * 4, "released too early");
            assert_eq!(here.is_leader(), here.index() == 0);
            for _ in 0..here.index() {
                shared.add(1);
            }
            barrier.wait_timeout(LIMIT).expect("whole");
            // 0 + 1 + 2 + 3, each index once.
            assert_eq!(shared.get(1), (round + 1) * 6);
            barrier.wait_timeout(LIMIT).expect("whole");
        }
    };
    let children: Vec<_> = (0..2)
        .map(|_| {
            let (barrier, shared) = (barrier.clone(), shared.clone());
            testing::fork(move || work(&barrier, &shared))
        })
        .collect();
    let (theirs, counters) = (barrier.clone(), shared.clone());
    let thread = std::thread::spawn(move || work(&theirs, &counters));
    work(&barrier, &shared);
    thread.join().expect("no panic");
    all_ended_well(children);
}

#[test]
fn a_barrier_for_nobody_is_refused() {
    let error = Barrier::new(0).expect_err("for nobody");
    assert!(error.is_invalid(), "{error}");
    assert!(Barrier::new(usize::MAX).expect_err("too many").is_invalid());
    assert_eq!(barrier(1).wait().expect("alone").index(), 0);
}

#[test]
fn a_timeout_breaks_it_for_all() {
    let barrier = barrier(4);
    let children = told(&barrier, 2, BrokenWhy::TimedOut);
    let begin = Instant::now();
    let end = barrier.wait_timeout(Duration::from_millis(20));
    assert_eq!(end, Err(BarrierError::TimedOut));
    assert!(begin.elapsed() >= Duration::from_millis(20));
    all_ended_well(children);
    assert!(barrier.is_broken());
    assert_eq!(barrier.wait(), Err(broken(BrokenWhy::TimedOut)));
    barrier.reset();
    assert!(!barrier.is_broken());
    assert_eq!(
        barrier.wait_timeout(Duration::ZERO),
        Err(BarrierError::TimedOut)
    );
}

#[test]
fn a_reset_breaks_those_who_wait_and_nobody_else() {
    let barrier = barrier(3);
    let children = told(&barrier, 2, BrokenWhy::Reset);
    barrier.reset();
    assert!(!barrier.is_broken());
    assert_eq!((barrier.waiting(), barrier.parties()), (0, 3));
    all_ended_well(children);
}

#[test]
fn an_abort_breaks_it_until_a_reset() {
    let barrier = barrier(3);
    let children = told(&barrier, 2, BrokenWhy::Aborted);
    barrier.abort();
    all_ended_well(children);
    assert_eq!(barrier.wait(), Err(broken(BrokenWhy::Aborted)));
    let text = barrier.wait().expect_err("broken").to_string();
    assert_eq!(text, "the barrier is broken: somebody aborted it");
}

#[test]
fn a_participant_that_dies_breaks_it() {
    for stopped in [false, true] {
        let barrier = barrier(4);
        let theirs = barrier.clone();
        let dying = testing::fork(move || {
            let _ = theirs.wait();
        });
        until(|| barrier.waiting() == 1, "the arrival");
        let others = (0..2).map(|_| {
            let barrier = barrier.clone();
            std::thread::spawn(move || barrier.wait_timeout(LIMIT))
        });
        let others: Vec<_> = others.collect();
        until(|| barrier.waiting() == 3, "the arrival of all");
        if stopped {
            multiproc_sys::testing::stop(dying.pid, true).expect("it runs");
        }
        dying.kill();
        for other in others {
            let end = other.join().expect("no panic");
            assert_eq!(end, Err(broken(BrokenWhy::Died)));
        }
        assert_eq!(barrier.wait(), Err(broken(BrokenWhy::Died)));
    }
}

#[test]
fn the_action_runs_once_before_anybody_is_released() {
    const ROUNDS: u32 = 50;
    let count = RawValue::new(0u32).expect("a value");
    let add = |(count, by): (RawValue<u32>, u32)| {
        count.update(|count| count + by);
    };
    let acts = Barrier::with_action(3, add, (count.clone(), 5)).expect("a barrier");
    let rests = barrier(3);
    let work = move || {
        for round in 1..=ROUNDS {
            acts.wait_timeout(LIMIT).expect("whole");
            assert_eq!(count.get(), round * 5);
            rests.wait_timeout(LIMIT).expect("whole");
        }
    };
    let children: Vec<_> = (0..2).map(|_| testing::fork(work.clone())).collect();
    work();
    all_ended_well(children);
}

#[test]
fn an_action_that_panics_breaks_it() {
    let fails = |text: String| panic!("{text}");
    let barrier = Barrier::with_action(2, fails, String::from("no")).expect("a barrier");
    let children = told(&barrier, 1, BrokenWhy::ActionFailed);
    let run = std::panic::AssertUnwindSafe(|| barrier.wait());
    let panic = std::panic::catch_unwind(run).expect_err("the action's panic");
    assert_eq!(panic.downcast_ref::<String>().expect("its text"), "no");
    all_ended_well(children);
    assert!(barrier.is_broken());
}

#[test]
fn a_process_that_dies_in_the_action_breaks_it() {
    let sleep = |()| {
        loop {
            std::thread::park();
        }
    };
    let barrier = Barrier::with_action(2, sleep, ()).expect("a barrier");
    let theirs = barrier.clone();
    let waiter = std::thread::spawn(move || theirs.wait_timeout(LIMIT));
    until(|| barrier.waiting() == 1, "the arrival");
    let theirs = barrier.clone();
    let dying = testing::fork(move || {
        let _ = theirs.wait();
    });
    until(|| barrier.waiting() == 2, "the action");
    let early = barrier.clone();
    let early = std::thread::spawn(move || early.wait_timeout(LIMIT));
    dying.kill();
    for waiter in [waiter, early] {
        let end = waiter.join().expect("no panic");
        assert_eq!(end, Err(broken(BrokenWhy::Died)));
    }
}

/// A participant is killed anywhere in its waits: the others are told or have passed, and a reset
/// makes the barrier whole.
#[test]
fn killed_at_any_moment_the_others_are_told() {
    let barrier = barrier(3);
    let mut chance = Chance::new();
    let mut deaths = 0;
    for _ in 0..kills(150) {
        let wait_on = |barrier: Barrier| {
            loop {
                match barrier.wait_timeout(LIMIT) {
                    Ok(_) => {}
                    end => return end.expect_err("not Ok"),
                }
            }
        };
        let theirs = barrier.clone();
        let dying = testing::fork(move || {
            let _ = wait_on(theirs);
        });
        let others = (0..2).map(|_| {
            let barrier = barrier.clone();
            std::thread::spawn(move || wait_on(barrier))
        });
        let others: Vec<_> = others.collect();
        until(|| barrier.waiting() > 0, "the first arrival");
        chance.moment(Duration::from_micros(300));
        multiproc_sys::testing::kill(dying.pid).expect("it runs");
        dying.join();
        // Killed between two waits, it is one that does not come: somebody has to say so.
        until(
            || {
                let broken = barrier.is_broken();
                if !broken && barrier.waiting() == 2 {
                    barrier.abort();
                }
                broken
            },
            "the break",
        );
        for other in others {
            match other.join().expect("no panic") {
                BarrierError::Broken {
                    why: BrokenWhy::Died,
                } => deaths += 1,
                BarrierError::Broken {
                    why: BrokenWhy::Aborted,
                } => {}
                error => panic!("{error}"),
            }
        }
        assert_eq!(barrier.waiting(), 0);
        barrier.reset();
    }
    println!("{deaths} times somebody was told of a death");
}
