//! Row 50 of the fault matrix: the wall clock jumps by a day between any two looks at it. No time-out
//! fires for it, and none is missed.
//!
//! This program brings its own `clock_gettime`, which the linker takes before the C library's, for all the
//! code in it and in the processes it starts.

#![expect(
    unsafe_code,
    reason = "a clock is exchanged under its C name, which is the only way to all who ask for it"
)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use multiproc::{
    Barrier, Condition, Event, JoinableQueue, Lock, Mutex, Pool, Process, Queue, RwLock, Semaphore,
    wait,
};
use multiproc_tests::watchdog;
use nix::libc;

const DAY: i64 = 24 * 60 * 60;
const LIMIT: Duration = Duration::from_secs(120);

/// A time-out that passes, and one that does not.
const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(100);

/// Where the wall clock stands, in days from where it should.
static JUMP: AtomicI64 = AtomicI64::new(1);

/// The kernel's clocks, but for a wall clock that is a day late and a day early in turn.
#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: libc::clockid_t, into: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the caller's promises are those this call asks for: `into` is writable.
    let answer = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) };
    if answer == 0 && clock == libc::CLOCK_REALTIME {
        let jump = JUMP.load(Ordering::Relaxed);
        JUMP.store(-jump, Ordering::Relaxed);
        // SAFETY: the kernel has just written there.
        unsafe { (*into).tv_sec += jump * DAY };
    }
    answer as libc::c_int
}

/// What is over after `SHORT` and not before.
fn times_out(what: &str, timed_out: impl FnOnce() -> bool) {
    let began = Instant::now();
    assert!(timed_out(), "{what} should have timed out");
    let took = began.elapsed();
    assert!(took >= SHORT && took < LONG, "{what} took {took:?}");
}

/// What happens long before `LONG` is over, and does not time out.
fn happens(what: &str, happened: impl FnOnce() -> bool) {
    let began = Instant::now();
    assert!(happened(), "{what} should not have timed out");
    let took = began.elapsed();
    assert!(took < LONG, "{what} took {took:?}");
}

fn nap() {
    thread::sleep(SHORT);
}

#[test]
fn the_wall_clock_of_this_program_jumps_and_the_other_does_not() {
    let (one, two) = (SystemTime::now(), SystemTime::now());
    let apart = one
        .duration_since(two)
        .unwrap_or_else(|error| error.duration());
    assert!(apart > Duration::from_secs(DAY as u64), "{apart:?}");
    let other = Process::new(|()| SystemTime::now(), ())
        .start()
        .expect("it starts");
    let one = other.join().expect("it ends well");
    let other = Process::new(|()| (SystemTime::now(), SystemTime::now()).1, ());
    let two = other
        .start()
        .expect("it starts")
        .join()
        .expect("it ends well");
    let apart = one
        .duration_since(two)
        .unwrap_or_else(|error| error.duration());
    assert!(apart > Duration::from_secs(DAY as u64), "{apart:?}");
    let began = Instant::now();
    nap();
    assert!(began.elapsed() < LONG);
}

#[test]
fn fault_50_locks_and_what_is_waited_for() {
    watchdog::within(LIMIT, || {
        let lock = Lock::new().expect("a lock");
        let held = lock.acquire().expect("free");
        thread::scope(|scope| {
            scope.spawn(|| times_out("a lock", || lock.acquire_timeout(SHORT).is_err()));
        });
        thread::scope(|scope| {
            let waiter = scope.spawn(|| happens("a lock", || lock.acquire_timeout(LONG).is_ok()));
            nap();
            drop(held);
            waiter.join().expect("no panic");
        });
        let mutex = Mutex::new(1u8).expect("a mutex");
        let rwlock = RwLock::new(1u8).expect("a lock");
        let (_mine, _reading) = (mutex.lock().expect("free"), rwlock.read().expect("free"));
        thread::scope(|scope| {
            scope.spawn(|| times_out("a mutex", || mutex.lock_timeout(SHORT).is_err()));
            scope.spawn(|| times_out("a writer", || rwlock.write_timeout(SHORT).is_err()));
        });
        let seats = Semaphore::new(0).expect("a semaphore");
        times_out("a semaphore", || seats.acquire_timeout(SHORT).is_err());
        let barrier = Barrier::new(2).expect("a barrier");
        times_out("a barrier", || barrier.wait_timeout(SHORT).is_err());
        let event = Event::new().expect("an event");
        times_out("an event", || !event.wait_timeout(SHORT));
        thread::scope(|scope| {
            scope.spawn(|| {
                nap();
                event.set();
            });
            happens("an event", || event.wait_timeout(LONG));
        });
        let (condition, lock) = (Condition::new().expect("one"), Lock::new().expect("a lock"));
        let mut guard = lock.acquire().expect("free");
        times_out("a condition", || {
            condition.wait_timeout(&mut guard, SHORT) == Ok(false)
        });
    });
}

#[test]
fn fault_50_queues_and_the_first_of_many() {
    watchdog::within(LIMIT, || {
        let queue = Queue::<u8>::bounded(1).expect("a queue");
        times_out("a get", || queue.get_timeout(SHORT).is_err());
        times_out("a wait", || wait(&[&queue], SHORT) == Ok(vec![]));
        thread::scope(|scope| {
            scope.spawn(|| {
                nap();
                queue.put(1).expect("room");
            });
            happens("a wait", || wait(&[&queue], LONG) == Ok(vec![0]));
        });
        times_out("a put", || queue.put_timeout(2, SHORT).is_err());
        happens("a get", || queue.get_timeout(LONG).is_ok());
        let joined = JoinableQueue::<u8>::bounded(1).expect("a queue");
        joined.put(1).expect("room");
        times_out("a join", || joined.join_timeout(SHORT).is_err());
        let (one, other) = multiproc::pipe::<u8, u8>().expect("a pipe");
        times_out("a receiver", || other.recv_timeout(SHORT).is_err());
        thread::scope(|scope| {
            scope.spawn(|| {
                nap();
                one.send(&3).expect("room");
            });
            happens("a receiver", || other.recv_timeout(LONG).is_ok());
        });
    });
}

#[test]
fn fault_50_processes_and_pools() {
    watchdog::within(LIMIT, || {
        let stop = Event::new().expect("an event");
        let obey = |stop: Event| stop.wait_timeout(LONG);
        let process = Process::new(obey, stop.clone()).start().expect("it starts");
        times_out("a join", || process.join_timeout(SHORT).is_err());
        stop.set();
        happens("a join", || {
            process.join_timeout(LONG).is_ok_and(|told| told)
        });

        let pool = Pool::new(1).expect("a pool");
        stop.clear();
        let result = pool.apply_async(obey, stop.clone());
        times_out("a result", || result.get_timeout(SHORT).is_err());
        stop.set();
        happens("a result", || {
            result.get_timeout(LONG).is_ok_and(|told| told)
        });
        pool.close();
        pool.join().expect("the workers end well");
    });
}
