//! The edges that Python's documentation and tests fix, for every kind alike; those of one kind only
//! stand with that kind.

use std::time::{Duration, Instant};

use multiproc_shm::testing::LIMIT;
use multiproc_sync::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, Mutex, Once, RLock, ReleaseError, RwLock,
    Semaphore,
};

/// Every timed call of every kind, as (name, with a timeout, with a deadline); true if it succeeded.
type Timed<'a> = (
    &'static str,
    Box<dyn Fn(Duration) -> bool + Sync + 'a>,
    Box<dyn Fn(Instant) -> bool + Sync + 'a>,
);

macro_rules! timed {
    ($object:expr, $timeout:ident, $deadline:ident) => {
        (
            stringify!($timeout),
            Box::new(move |time| $object.$timeout(time).is_ok()),
            Box::new(move |at| $object.$deadline(at).is_ok()),
        )
    };
}

struct Kinds {
    lock: Lock,
    rlock: RLock,
    mutex: Mutex<u32>,
    rwlock: RwLock<u32>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
}

impl Kinds {
    fn new() -> Kinds {
        Kinds {
            lock: Lock::new().expect("a lock"),
            rlock: RLock::new().expect("a lock"),
            mutex: Mutex::new(0).expect("a mutex"),
            rwlock: RwLock::new(0).expect("a lock"),
            semaphore: Semaphore::new(1).expect("a semaphore"),
            bounded: BoundedSemaphore::new(1).expect("a semaphore"),
        }
    }

    fn timed(&self) -> Vec<Timed<'_>> {
        let Kinds { lock, rlock, .. } = self;
        let Kinds { mutex, rwlock, .. } = self;
        let Kinds {
            semaphore, bounded, ..
        } = self;
        vec![
            timed!(lock, acquire_timeout, acquire_deadline),
            timed!(rlock, acquire_timeout, acquire_deadline),
            timed!(mutex, lock_timeout, lock_deadline),
            timed!(rwlock, read_timeout, read_deadline),
            timed!(rwlock, write_timeout, write_deadline),
            timed!(semaphore, acquire_timeout, acquire_deadline),
            timed!(bounded, acquire_timeout, acquire_deadline),
        ]
    }
}

/// Python polls once for a timeout of zero or below; here the one below is a deadline gone by.
#[test]
fn no_time_at_all_looks_once() {
    let kinds = Kinds::new();
    let gone = Instant::now();
    let looks = |free: bool| {
        for (name, timeout, deadline) in kinds.timed() {
            let begin = Instant::now();
            assert_eq!(timeout(Duration::ZERO), free, "{name} of zero");
            assert_eq!(deadline(gone), free, "{name} in the past");
            assert!(begin.elapsed() < LIMIT / 4, "{name} waited");
        }
    };
    looks(true);
    let (_lock, _rlock) = (kinds.lock.acquire(), kinds.rlock.acquire());
    let (_mutex, _write) = (kinds.mutex.lock(), kinds.rwlock.write());
    let (_permit, _bounded) = (kinds.semaphore.acquire(), kinds.bounded.acquire());
    std::thread::scope(|scope| {
        scope.spawn(|| looks(false)).join().expect("no panic");
    });
}

#[test]
fn no_time_at_all_looks_once_at_events_barriers_conditions_and_onces() {
    let gone = Instant::now();
    let event = Event::new().expect("an event");
    assert!(!event.wait_timeout(Duration::ZERO) && !event.wait_deadline(gone));
    event.set();
    assert!(event.wait_timeout(Duration::ZERO) && event.wait_deadline(gone));

    let alone = Barrier::new(1).expect("a barrier");
    assert!(alone.wait_timeout(Duration::ZERO).is_ok() && alone.wait_deadline(gone).is_ok());
    let two = Barrier::new(2).expect("a barrier");
    let error = two.wait_timeout(Duration::ZERO).expect_err("nobody else");
    assert!(error.is_timed_out() && two.is_broken(), "{error}");

    let condition = Condition::new().expect("a condition");
    let lock = Lock::new().expect("a lock");
    let mut guard = lock.acquire().expect("free");
    let waited = condition.wait_timeout(&mut guard, Duration::ZERO);
    assert_eq!(waited, Ok(false));
    assert_eq!(condition.wait_deadline(&mut guard, gone), Ok(false));

    let once = Once::new().expect("a once");
    assert_eq!(once.call_once_timeout(|| {}, Duration::ZERO), Ok(true));
    assert_eq!(once.call_once_deadline(|| {}, gone), Ok(false));
}

/// A time no clock can hold is no time limit.
#[test]
fn a_timeout_without_end_waits_until_it_is_free() {
    let kinds = Kinds::new();
    for (name, timeout, _) in kinds.timed() {
        assert!(timeout(Duration::MAX), "{name}");
    }
}

#[test]
fn a_release_too_many_is_an_error_and_changes_nothing() {
    let kinds = Kinds::new();
    assert_eq!(kinds.lock.release(), Err(ReleaseError::NotHeld));
    assert_eq!(kinds.rlock.release(), Err(ReleaseError::NotHeld));
    assert_eq!(kinds.bounded.release(), Err(ReleaseError::AboveBound));
    let full = Semaphore::new(u32::MAX).expect("a semaphore");
    assert_eq!(full.release(), Err(ReleaseError::AboveBound));
    assert_eq!((kinds.bounded.value(), full.value()), (1, u32::MAX));
    for (name, timeout, _) in kinds.timed() {
        assert!(timeout(Duration::ZERO), "{name}");
        assert!(timeout(Duration::ZERO), "{name} again");
    }
    // By somebody else, while it is held.
    let (lock, rlock) = (kinds.lock.acquire(), kinds.rlock.acquire());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| (kinds.lock.release(), kinds.rlock.release()));
        let refused = (Err(ReleaseError::NotOwner), Err(ReleaseError::NotOwner));
        assert_eq!(other.join().expect("no panic"), refused);
    });
    assert!(kinds.lock.is_locked() && kinds.rlock.is_locked());
    drop((lock, rlock));
    assert!(!kinds.lock.is_locked() && !kinds.rlock.is_locked());
}

/// Notifications that change nothing do not prolong the wait: the deadline is one for all of it.
#[test]
fn wait_for_has_one_deadline_however_often_it_is_notified() {
    let (lock, condition) = (
        Lock::new().expect("a lock"),
        Condition::new().expect("a condition"),
    );
    let over = Event::new().expect("an event");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.wait_timeout(Duration::from_millis(1)) {
                condition.notify_all();
            }
        });
        let mut guard = lock.acquire().expect("free");
        let (begin, short) = (Instant::now(), Duration::from_millis(60));
        let mut asked = 0;
        let never = |_: &mut _| {
            asked += 1;
            false
        };
        let held = condition.wait_for_timeout(&mut guard, never, short);
        let took = begin.elapsed();
        over.set();
        assert_eq!(held, Ok(false));
        assert!(took >= short && took < LIMIT / 2, "{took:?}");
        assert!(asked >= 2, "asked {asked} times");
    });
}

#[test]
fn the_debug_text_of_a_lock_names_its_owners_process_and_thread() {
    let kinds = Kinds::new();
    let all = |kinds: &Kinds| {
        let Kinds {
            lock,
            rlock,
            mutex,
            rwlock,
            ..
        } = kinds;
        [
            format!("{lock:?}"),
            format!("{rlock:?}"),
            format!("{mutex:?}"),
            format!("{rwlock:?}"),
        ]
    };
    for text in all(&kinds) {
        assert!(text.contains("held: false"), "{text}");
    }
    let _held = (
        kinds.lock.acquire(),
        kinds.rlock.acquire(),
        kinds.mutex.lock(),
        kinds.rwlock.write(),
    );
    let pid = std::process::id();
    let thread = multiproc_sys::robust::tid();
    for text in all(&kinds) {
        let whole = text.contains(&format!("pid: {pid}"))
            && text.contains(&format!("thread: {thread}"))
            && text.contains("held_by: \"");
        assert!(whole, "{text}");
    }
}
