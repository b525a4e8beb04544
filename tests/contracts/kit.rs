//! The contracts, as traits, and the two kinds of objects that keep them.
//!
//! The verbs are those of the types; an error of a proxy is here what it has in common with the version in
//! memory. A call that does not come through fails the test.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use multiproc::{
    AcquireError, Barrier, BarrierError, BarrierProxy, BarrierWaitResult, BoundedSemaphore,
    BoundedSemaphoreProxy, CallError, Condition, ConditionProxy, Event, EventProxy, FinishError,
    GetError, Guard, JoinableQueue, JoinableQueueProxy, Lock, LockProxy, LockProxyGuard, Manager,
    Permit, PermitProxy, ProxyError, PutError, Queue, QueueProxy, RLock, RLockGuard, RLockProxy,
    ReleaseError, Semaphore, SemaphoreProxy, TaskDoneError, Value, ValueProxy,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long a test waits for what must come.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How long it waits for what must not.
pub(crate) const SHORT: Duration = Duration::from_millis(5);

pub(crate) fn soon() -> Instant {
    Instant::now() + SHORT
}

/// What travels.
pub(crate) trait Shared:
    Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
}

impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Shared for T {}

/// A lock, reentrant or not.
///
/// - One thread of one process holds it; its guard gives it back.
/// - `WouldBlock` at once, `TimedOut` after the time, and it can be had when it is free.
/// - `release` is for leaked guards, and refuses with `NotHeld` and `NotOwner`.
/// - Its owner dead, everybody is told `OwnerDied` with pid and name until somebody recovers it.
/// - A cycle of waits without deadlines is `Deadlock` to one of them.
pub(crate) trait LockLike: Shared {
    type Guard<'a>: Debug;
    fn acquire(&self) -> Result<Self::Guard<'_>, AcquireError>;
    fn try_acquire(&self) -> Result<Self::Guard<'_>, AcquireError>;
    fn acquire_timeout(&self, timeout: Duration) -> Result<Self::Guard<'_>, AcquireError>;
    fn acquire_deadline(&self, deadline: Instant) -> Result<Self::Guard<'_>, AcquireError>;
    fn recover(&self) -> Result<Self::Guard<'_>, AcquireError>;
    fn try_recover(&self) -> Result<Self::Guard<'_>, AcquireError>;
    fn recover_timeout(&self, timeout: Duration) -> Result<Self::Guard<'_>, AcquireError>;
    fn recover_deadline(&self, deadline: Instant) -> Result<Self::Guard<'_>, AcquireError>;
    fn release(&self) -> Result<(), ReleaseError>;
    fn is_locked(&self) -> bool;
    fn leak(guard: Self::Guard<'_>);
}

/// A semaphore, bounded or not.
///
/// - So many permits can be taken; `WouldBlock` and `TimedOut` then. A permit gives itself back.
/// - `release` by anybody is one permit more, up to the bound: `AboveBound`.
/// - The permits of a process that dies are free.
pub(crate) trait SemaphoreLike: Shared {
    type Permit<'a>: Debug;
    fn acquire(&self) -> Result<Self::Permit<'_>, AcquireError>;
    fn try_acquire(&self) -> Result<Self::Permit<'_>, AcquireError>;
    fn acquire_timeout(&self, timeout: Duration) -> Result<Self::Permit<'_>, AcquireError>;
    fn acquire_deadline(&self, deadline: Instant) -> Result<Self::Permit<'_>, AcquireError>;
    fn release(&self) -> Result<(), ReleaseError>;
    fn value(&self) -> u32;
    fn leak(permit: Self::Permit<'_>);
}

/// A condition, used with locks `L`.
///
/// - `wait` gives the lock back and has it again when it returns, notified or not.
/// - `notify_n` wakes so many at least, if so many wait.
pub(crate) trait ConditionLike<L: LockLike>: Shared {
    fn wait(&self, guard: &mut L::Guard<'_>) -> Result<(), AcquireError>;
    fn wait_timeout(&self, guard: &mut L::Guard<'_>, t: Duration) -> Result<bool, AcquireError>;
    fn wait_deadline(&self, guard: &mut L::Guard<'_>, d: Instant) -> Result<bool, AcquireError>;
    fn wait_for(
        &self,
        guard: &mut L::Guard<'_>,
        timeout: Duration,
        predicate: impl FnMut() -> bool,
    ) -> Result<bool, AcquireError>;
    fn notify_one(&self);
    fn notify_n(&self, count: usize);
    fn notify_all(&self);
}

/// An event: whoever waits goes on while it is set, and a wait with a deadline says whether it is.
pub(crate) trait EventLike: Shared {
    fn set(&self);
    fn clear(&self);
    fn is_set(&self) -> bool;
    fn wait(&self);
    fn wait_timeout(&self, timeout: Duration) -> bool;
    fn wait_deadline(&self, deadline: Instant) -> bool;
}

/// A barrier.
///
/// - All go on when so many have come, with different indices; the one with 0 leads.
/// - A deadline, `abort`, `reset` and a death break it for all, who are told why; until `reset`.
pub(crate) trait BarrierLike: Shared {
    fn wait(&self) -> Result<BarrierWaitResult, BarrierError>;
    fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BarrierError>;
    fn wait_deadline(&self, deadline: Instant) -> Result<BarrierWaitResult, BarrierError>;
    fn reset(&self);
    fn abort(&self);
    fn parties(&self) -> usize;
    fn waiting(&self) -> usize;
    fn is_broken(&self) -> bool;
}

/// A number that is read, set and changed in place; changes by many lose nothing.
pub(crate) trait ValueLike: Shared {
    fn get(&self) -> u64;
    fn set(&self, value: u64);
    fn add(&self, by: u64) -> u64;
}

/// A queue.
///
/// - Items come in the order in which one process put them, each once.
/// - `Full` and `Empty` at once, `TimedOut` after the time; what was not put comes back.
/// - Closed, it takes no more (`Closed`), and gives what it has, then `Closed`. Who waits is woken.
pub(crate) trait QueueLike: Shared {
    fn put(&self, item: u64) -> Result<(), PutError<u64>>;
    fn try_put(&self, item: u64) -> Result<(), PutError<u64>>;
    fn put_timeout(&self, item: u64, timeout: Duration) -> Result<(), PutError<u64>>;
    fn put_deadline(&self, item: u64, deadline: Instant) -> Result<(), PutError<u64>>;
    fn get(&self) -> Result<u64, GetError>;
    fn try_get(&self) -> Result<u64, GetError>;
    fn get_timeout(&self, timeout: Duration) -> Result<u64, GetError>;
    fn get_deadline(&self, deadline: Instant) -> Result<u64, GetError>;
    fn get_many(&self, most: usize) -> Result<Vec<u64>, GetError>;
    fn drain(&self) -> Vec<u64>;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn is_full(&self) -> bool;
    fn capacity(&self) -> usize;
    fn close(&self);
    fn is_closed(&self) -> bool;
}

/// A queue of work.
///
/// - `join` returns when all items are done, by those who got them; `Unfinished` at the deadline.
/// - `task_done` without an item in hand is refused.
/// - Items in the hands of a process that dies are told once, as `Lost`.
pub(crate) trait JoinableLike: QueueLike {
    fn task_done(&self) -> Result<(), TaskDoneError>;
    fn unfinished(&self) -> usize;
    fn join(&self) -> Result<(), FinishError>;
    fn try_join(&self) -> Result<(), FinishError>;
    fn join_timeout(&self, timeout: Duration) -> Result<(), FinishError>;
    fn join_deadline(&self, deadline: Instant) -> Result<(), FinishError>;
}

/// Where objects are made.
pub(crate) trait Kit: Sync {
    type Lock: LockLike;
    type RLock: LockLike;
    type Semaphore: SemaphoreLike;
    type Bounded: SemaphoreLike;
    type Condition: ConditionLike<Self::Lock> + ConditionLike<Self::RLock>;
    type Event: EventLike;
    type Barrier: BarrierLike;
    type Value: ValueLike;
    type Queue: QueueLike;
    type Joinable: JoinableLike;
    fn lock(&self) -> Self::Lock;
    fn rlock(&self) -> Self::RLock;
    fn semaphore(&self, permits: u32) -> Self::Semaphore;
    fn bounded_semaphore(&self, permits: u32) -> Self::Bounded;
    fn condition(&self) -> Self::Condition;
    fn event(&self) -> Self::Event;
    fn barrier(&self, parties: usize) -> Self::Barrier;
    fn value(&self, value: u64) -> Self::Value;
    fn queue(&self, capacity: usize) -> Self::Queue;
    fn unbounded_queue(&self) -> Self::Queue;
    fn joinable_queue(&self, capacity: usize) -> Self::Joinable;
}

/// In the family's memory.
pub(crate) struct Memory;

/// In a manager's server.
pub(crate) struct Served(Manager);

impl Served {
    /// With lanes after so many answers.
    pub(crate) fn start(lanes_after: u64) -> Served {
        let manager = Manager::builder().shared_memory_after(lanes_after);
        Served(manager.start().expect("a server"))
    }
}

macro_rules! kit {
    ($kit:ty, $made:ty;
     $lock:ident $rlock:ident $semaphore:ident $bounded:ident $condition:ident $event:ident
     $barrier:ident $value:ident $queue:ident $joinable:ident;
     $($verb:ident($($arg:ident: $arg_type:ty)?) -> $what:ident = $make:expr;)*) => {
        impl Kit for $kit {
            type Lock = $lock;
            type RLock = $rlock;
            type Semaphore = $semaphore;
            type Bounded = $bounded;
            type Condition = $condition;
            type Event = $event;
            type Barrier = $barrier;
            type Value = $value<u64>;
            type Queue = $queue<u64>;
            type Joinable = $joinable<u64>;
            $(fn $verb(&self $(, $arg: $arg_type)?) -> Self::$what {
                let make: fn(&$kit $(, $arg_type)?) -> Result<_, _> = $make;
                let made: Result<Self::$what, $made> = make(self $(, $arg)?);
                made.expect("made")
            })*
        }
    };
}

kit! {
    Memory, multiproc::CreateError;
    Lock RLock Semaphore BoundedSemaphore Condition Event Barrier Value Queue JoinableQueue;
    lock() -> Lock = |_| Lock::new();
    rlock() -> RLock = |_| RLock::new();
    semaphore(permits: u32) -> Semaphore = |_, n| Semaphore::new(n);
    bounded_semaphore(permits: u32) -> Bounded = |_, n| BoundedSemaphore::new(n);
    condition() -> Condition = |_| Condition::new();
    event() -> Event = |_| Event::new();
    barrier(parties: usize) -> Barrier = |_, n| Barrier::new(n);
    value(value: u64) -> Value = |_, n| Value::new(n);
    queue(capacity: usize) -> Queue = |_, n| Queue::bounded(n);
    unbounded_queue() -> Queue = |_| Queue::unbounded();
    joinable_queue(capacity: usize) -> Joinable = |_, n| JoinableQueue::bounded(n);
}

kit! {
    Served, CallError;
    LockProxy RLockProxy SemaphoreProxy BoundedSemaphoreProxy ConditionProxy EventProxy BarrierProxy
    ValueProxy QueueProxy JoinableQueueProxy;
    lock() -> Lock = |kit| kit.0.lock();
    rlock() -> RLock = |kit| kit.0.rlock();
    semaphore(permits: u32) -> Semaphore = |kit, n| kit.0.semaphore(n);
    bounded_semaphore(permits: u32) -> Bounded = |kit, n| kit.0.bounded_semaphore(n);
    condition() -> Condition = |kit| kit.0.condition();
    event() -> Event = |kit| kit.0.event();
    barrier(parties: usize) -> Barrier = |kit, n| kit.0.barrier(n);
    value(value: u64) -> Value = |kit, n| kit.0.value(n);
    queue(capacity: usize) -> Queue = |kit, n| kit.0.queue(n);
    unbounded_queue() -> Queue = |kit| kit.0.unbounded_queue();
    joinable_queue(capacity: usize) -> Joinable = |kit, n| kit.0.joinable_queue(n);
}

/// What a verb says, whichever kind it is of.
pub(crate) trait Said {
    type Common;
    fn common(self) -> Self::Common;
}

/// A proxy's verb of which the version in memory cannot fail.
impl<T> Said for Result<T, CallError> {
    type Common = T;

    fn common(self) -> T {
        self.expect("the call comes through")
    }
}

impl<T, E, G> Said for Result<T, ProxyError<E, G>> {
    type Common = Result<T, E>;

    fn common(self) -> Result<T, E> {
        self.map_err(|error| match error {
            ProxyError::Object(error) => error,
            ProxyError::Call(error, _) => panic!("the call comes through: {error}"),
            _ => panic!("an error of another kind"),
        })
    }
}

/// The same verbs for a type in memory, as they are, and for its proxy, by what they have in common.
macro_rules! keeps {
    ($contract:ident for $memory:ty as $by:ty, $proxy:ty;
     $(type $guard:ident = $held:ident, $served:ident;)?
     $(fn $verb:ident($($arg:ident: $arg_type:ty),*) $(-> $said:ty)?;)*) => {
        impl $contract for $memory {
            $(type $guard<'a> = $held<'a>;
            fn leak(held: $held<'_>) {
                held.leak();
            })?
            $(fn $verb(&self $(, $arg: $arg_type)*) $(-> $said)? {
                <$by>::$verb(self $(, $arg)*)
            })*
        }

        impl $contract for $proxy {
            $(type $guard<'a> = $served<'a>;
            fn leak(held: $served<'_>) {
                held.leak();
            })?
            $(fn $verb(&self $(, $arg: $arg_type)*) $(-> $said)? {
                <$proxy>::$verb(self $(, $arg)*).common()
            })*
        }
    };
}

macro_rules! keeps_lock {
    ($memory:ty, $guard:ident, $proxy:ty) => {
        keeps! {
            LockLike for $memory as $memory, $proxy;
            type Guard = $guard, LockProxyGuard;
            fn acquire() -> Result<Self::Guard<'_>, AcquireError>;
            fn try_acquire() -> Result<Self::Guard<'_>, AcquireError>;
            fn acquire_timeout(timeout: Duration) -> Result<Self::Guard<'_>, AcquireError>;
            fn acquire_deadline(deadline: Instant) -> Result<Self::Guard<'_>, AcquireError>;
            fn recover() -> Result<Self::Guard<'_>, AcquireError>;
            fn try_recover() -> Result<Self::Guard<'_>, AcquireError>;
            fn recover_timeout(timeout: Duration) -> Result<Self::Guard<'_>, AcquireError>;
            fn recover_deadline(deadline: Instant) -> Result<Self::Guard<'_>, AcquireError>;
            fn release() -> Result<(), ReleaseError>;
            fn is_locked() -> bool;
        }
    };
}

keeps_lock!(Lock, Guard, LockProxy);
keeps_lock!(RLock, RLockGuard, RLockProxy);

macro_rules! keeps_semaphore {
    ($memory:ty, $proxy:ty) => {
        keeps! {
            SemaphoreLike for $memory as Semaphore, $proxy;
            type Permit = Permit, PermitProxy;
            fn acquire() -> Result<Self::Permit<'_>, AcquireError>;
            fn try_acquire() -> Result<Self::Permit<'_>, AcquireError>;
            fn acquire_timeout(timeout: Duration) -> Result<Self::Permit<'_>, AcquireError>;
            fn acquire_deadline(deadline: Instant) -> Result<Self::Permit<'_>, AcquireError>;
            fn release() -> Result<(), ReleaseError>;
            fn value() -> u32;
        }
    };
}

keeps_semaphore!(Semaphore, SemaphoreProxy);
keeps_semaphore!(BoundedSemaphore, BoundedSemaphoreProxy);

macro_rules! condition {
    ($condition:ty, $lock:ty, $said:path, $predicate:expr) => {
        impl ConditionLike<$lock> for $condition {
            fn wait(&self, guard: &mut <$lock as LockLike>::Guard<'_>) -> Result<(), AcquireError> {
                $said(<$condition>::wait(self, guard))
            }

            fn wait_timeout(
                &self,
                guard: &mut <$lock as LockLike>::Guard<'_>,
                timeout: Duration,
            ) -> Result<bool, AcquireError> {
                $said(<$condition>::wait_timeout(self, guard, timeout))
            }

            fn wait_deadline(
                &self,
                guard: &mut <$lock as LockLike>::Guard<'_>,
                deadline: Instant,
            ) -> Result<bool, AcquireError> {
                $said(<$condition>::wait_deadline(self, guard, deadline))
            }

            fn wait_for(
                &self,
                guard: &mut <$lock as LockLike>::Guard<'_>,
                timeout: Duration,
                predicate: impl FnMut() -> bool,
            ) -> Result<bool, AcquireError> {
                $said(<$condition>::wait_for_timeout(
                    self,
                    guard,
                    $predicate(predicate),
                    timeout,
                ))
            }

            fn notify_one(&self) {
                let _said: () = $said(<$condition>::notify_one(self));
            }

            fn notify_n(&self, count: usize) {
                let _said: () = $said(<$condition>::notify_n(self, count));
            }

            fn notify_all(&self) {
                let _said: () = $said(<$condition>::notify_all(self));
            }
        }
    };
}

fn as_it_is<T>(said: T) -> T {
    said
}

fn with_guard<G>(mut holds: impl FnMut() -> bool) -> impl FnMut(&mut G) -> bool {
    move |_| holds()
}

fn without_guard(mut holds: impl FnMut() -> bool) -> impl FnMut() -> Result<bool, CallError> {
    move || Ok(holds())
}

condition!(Condition, Lock, as_it_is, with_guard);
condition!(Condition, RLock, as_it_is, with_guard);
condition!(ConditionProxy, LockProxy, Said::common, without_guard);
condition!(ConditionProxy, RLockProxy, Said::common, without_guard);

keeps! {
    EventLike for Event as Event, EventProxy;
    fn set();
    fn clear();
    fn is_set() -> bool;
    fn wait();
    fn wait_timeout(timeout: Duration) -> bool;
    fn wait_deadline(deadline: Instant) -> bool;
}

keeps! {
    BarrierLike for Barrier as Barrier, BarrierProxy;
    fn wait() -> Result<BarrierWaitResult, BarrierError>;
    fn wait_timeout(timeout: Duration) -> Result<BarrierWaitResult, BarrierError>;
    fn wait_deadline(deadline: Instant) -> Result<BarrierWaitResult, BarrierError>;
    fn reset();
    fn abort();
    fn parties() -> usize;
    fn waiting() -> usize;
    fn is_broken() -> bool;
}

impl ValueLike for Value<u64> {
    fn get(&self) -> u64 {
        Value::get(self)
    }

    fn set(&self, value: u64) {
        Value::set(self, value);
    }

    fn add(&self, by: u64) -> u64 {
        self.update(|value| {
            *value += by;
            *value
        })
    }
}

impl ValueLike for ValueProxy<u64> {
    fn get(&self) -> u64 {
        ValueProxy::get(self).common()
    }

    fn set(&self, value: u64) {
        ValueProxy::set(self, value).common();
    }

    fn add(&self, by: u64) -> u64 {
        let add = |value: &mut u64, by| {
            *value += by;
            *value
        };
        self.update(add, by).common()
    }
}

macro_rules! queue {
    ($queue:ty, $said:path, $queue_of:expr) => {
        impl QueueLike for $queue {
            fn put(&self, item: u64) -> Result<(), PutError<u64>> {
                $said($queue_of(self).put(item))
            }

            fn try_put(&self, item: u64) -> Result<(), PutError<u64>> {
                $said($queue_of(self).try_put(item))
            }

            fn put_timeout(&self, item: u64, timeout: Duration) -> Result<(), PutError<u64>> {
                $said($queue_of(self).put_timeout(item, timeout))
            }

            fn put_deadline(&self, item: u64, deadline: Instant) -> Result<(), PutError<u64>> {
                $said($queue_of(self).put_deadline(item, deadline))
            }

            fn get(&self) -> Result<u64, GetError> {
                $said($queue_of(self).get())
            }

            fn try_get(&self) -> Result<u64, GetError> {
                $said($queue_of(self).try_get())
            }

            fn get_timeout(&self, timeout: Duration) -> Result<u64, GetError> {
                $said($queue_of(self).get_timeout(timeout))
            }

            fn get_deadline(&self, deadline: Instant) -> Result<u64, GetError> {
                $said($queue_of(self).get_deadline(deadline))
            }

            fn get_many(&self, most: usize) -> Result<Vec<u64>, GetError> {
                got($said($queue_of(self).get_many(most)))
            }

            fn drain(&self) -> Vec<u64> {
                let items = $queue_of(self).iter();
                items.map(|item| $said(item).expect("an item")).collect()
            }

            fn len(&self) -> usize {
                $said($queue_of(self).len())
            }

            fn is_empty(&self) -> bool {
                $said($queue_of(self).is_empty())
            }

            fn is_full(&self) -> bool {
                $said($queue_of(self).is_full())
            }

            fn capacity(&self) -> usize {
                $said($queue_of(self).capacity())
            }

            fn close(&self) {
                let _said: () = $said($queue_of(self).close());
            }

            fn is_closed(&self) -> bool {
                $said($queue_of(self).is_closed())
            }
        }
    };
}

/// Either's error, without the items that came beside it.
fn got<E: Into<GetError>>(items: Result<Vec<u64>, E>) -> Result<Vec<u64>, GetError> {
    items.map_err(Into::into)
}

fn plain(queue: &Queue<u64>) -> &Queue<u64> {
    queue
}

queue!(Queue<u64>, as_it_is, plain);
queue!(JoinableQueue<u64>, as_it_is, plain);
queue!(QueueProxy<u64>, Said::common, as_it_is);
queue!(JoinableQueueProxy<u64>, Said::common, as_it_is);

keeps! {
    JoinableLike for JoinableQueue<u64> as JoinableQueue<u64>, JoinableQueueProxy<u64>;
    fn task_done() -> Result<(), TaskDoneError>;
    fn unfinished() -> usize;
    fn join() -> Result<(), FinishError>;
    fn try_join() -> Result<(), FinishError>;
    fn join_timeout(timeout: Duration) -> Result<(), FinishError>;
    fn join_deadline(deadline: Instant) -> Result<(), FinishError>;
}
