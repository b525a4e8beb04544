//! The objects, as the server keeps them: one file per kind. None of them knows of connections or
//! threads; each answers a request at once or keeps the caller in a line.

mod barrier;
mod condition;
mod event;
mod list;
mod lock;
mod map;
mod queue;
mod semaphore;
mod set;
mod user;

pub(crate) use barrier::Barrier;
pub(crate) use condition::{Condition, Waiter};
pub(crate) use event::Event;
pub(crate) use list::List;
pub(crate) use lock::{Claim, Lock, Owner};
pub(crate) use map::Map;
pub(crate) use queue::Queue;
pub(crate) use semaphore::Semaphore;
pub(crate) use set::Set;
pub(crate) use user::User;

use std::sync::Arc;

use crate::desk::{Caller, Desk, Done};
use crate::message::{Failure, Make, Op};

/// Any object.
#[derive(Debug)]
pub(crate) enum Store {
    Map(Map),
    List(List),
    Set(Set),
    Queue(Queue),
    Lock(Lock),
    Semaphore(Semaphore),
    Condition(Condition),
    Event(Event),
    Barrier(Barrier),
    User(Arc<User>),
}

/// Which object a request is for, and who asked: what every operation gets.
#[derive(Debug)]
pub(crate) struct Counter<'a> {
    pub(crate) desk: &'a mut Desk,
    pub(crate) object: u64,
    pub(crate) caller: Caller,
}

impl Store {
    /// A new object; one of the user's is made elsewhere, by the user's function.
    pub(crate) fn make(make: Make, desk: &Desk) -> Result<Store, Failure> {
        Ok(match make {
            Make::Map => Store::Map(Map::default()),
            Make::List { items, fixed } => Store::List(List::new(items, fixed, desk)?),
            Make::Set => Store::Set(Set::default()),
            Make::Queue { capacity: 0 } => {
                return Err(Failure::Refused(
                    "a queue has room for one item at least".into(),
                ));
            }
            Make::Queue { capacity } => Store::Queue(Queue::new(capacity)),
            Make::Lock { reentrant } => Store::Lock(Lock::new(reentrant)),
            Make::Semaphore { permits, most } => Store::Semaphore(Semaphore::new(permits, most)),
            Make::Condition => Store::Condition(Condition::default()),
            Make::Event => Store::Event(Event::default()),
            Make::Barrier { parties } => Store::Barrier(Barrier::new(parties)),
            Make::User { .. } => return Err(Failure::WrongKind),
        })
    }

    /// Carries a request out, or keeps the caller waiting.
    pub(crate) fn handle(&mut self, op: Op, at: &mut Counter<'_>) -> Done {
        match (self, op) {
            (Store::Map(map), Op::Map(op)) => Some(map.handle(op, at)),
            (Store::List(list), Op::List(op)) => Some(list.handle(op, at)),
            (Store::Set(set), Op::Set(op)) => Some(set.handle(op)),
            (Store::Queue(queue), Op::Queue(op)) => queue.handle(op, at),
            (Store::Lock(lock), Op::Lock(op)) => lock.handle(op, at),
            (Store::Semaphore(semaphore), Op::Semaphore(op)) => semaphore.handle(op, at),
            (Store::Event(event), Op::Event(op)) => event.handle(op, at),
            (Store::Barrier(barrier), Op::Barrier(op)) => barrier.handle(op, at),
            _ => Some(Err(Failure::WrongKind)),
        }
    }

    /// The patience of `at.caller` is over, if it still waits here.
    pub(crate) fn expire(&mut self, at: &mut Counter<'_>) {
        match self {
            Store::Queue(queue) => queue.expire(at),
            Store::Lock(lock) => lock.expire(at),
            Store::Semaphore(semaphore) => semaphore.expire(at),
            Store::Event(event) => event.expire(at),
            Store::Barrier(barrier) => barrier.expire(at),
            // A condition's callers are looked after by the core, which knows their locks.
            _ => {}
        }
    }

    /// A client has gone: it waits no longer, and gives back what it held. `at.caller` is the client.
    pub(crate) fn forget(&mut self, pid: u32, name: &str, at: &mut Counter<'_>) {
        match self {
            Store::Queue(queue) => queue.forget(at),
            Store::Lock(lock) => lock.forget(pid, name, at),
            Store::Semaphore(semaphore) => semaphore.forget(at),
            Store::Condition(condition) => condition.forget(at.caller.client),
            Store::Event(event) => event.forget(at.caller.client),
            Store::Barrier(barrier) => barrier.forget(at),
            _ => {}
        }
    }
}
