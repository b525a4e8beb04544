//! Taking turns: what needs more than one object. A wait on a condition gives back a lock and wants it
//! again; a wait for a lock may close a cycle.

use multiproc_sync::DeadlockLink;

use super::Core;
use crate::desk::{Caller, Done, Patience};
use crate::message::{Answer, ConditionOp, Failure, LockOp, Op, Wait};
use crate::store::{Claim, Condition, Counter, Lock, Owner, Store, Waiter};

/// The longest cycle that is found.
const LONGEST: usize = 64;

impl Core {
    pub(super) fn lock_op(&mut self, caller: Caller, object: u64, op: LockOp) -> Done {
        let blocked = match op {
            LockOp::Acquire { thread, wait } | LockOp::Recover { thread, wait } => {
                (wait == Wait(None)).then_some(thread)
            }
            _ => None,
        };
        let store = self.objects.get_mut(&object)?.store.as_mut()?;
        let desk = &mut self.desk;
        let mut at = Counter {
            desk,
            object,
            caller,
        };
        let done = store.handle(Op::Lock(op), &mut at);
        let (None, Some(thread)) = (&done, blocked) else {
            return done;
        };
        let client = caller.client;
        let known = self.desk.clients.get_mut(&client)?;
        known.blocked.insert(thread, object);
        let cycle = self.cycle(Owner { client, thread })?;
        self.desk.unblock(client, thread);
        self.lock(object)?.turn_away(caller);
        Some(Err(Failure::Deadlock(cycle)))
    }

    /// The waits from `first` back to itself, all of them without a deadline.
    fn cycle(&self, first: Owner) -> Option<Vec<DeadlockLink>> {
        let mut links = Vec::new();
        let mut waiter = first;
        while links.len() < LONGEST {
            let client = self.desk.clients.get(&waiter.client)?;
            let &lock = client.blocked.get(&waiter.thread)?;
            let Some(Store::Lock(store)) = &self.objects.get(&lock)?.store else {
                return None;
            };
            if !store.is_waited_for_by(waiter) {
                return None;
            }
            links.push(DeadlockLink {
                name: client.name.clone(),
                pid: client.pid,
                thread: u32::try_from(waiter.thread).unwrap_or(u32::MAX),
                lock,
            });
            waiter = store.owner()?;
            if waiter == first {
                return Some(links);
            }
        }
        None
    }

    fn lock(&mut self, object: u64) -> Option<&mut Lock> {
        match self.objects.get_mut(&object)?.store.as_mut()? {
            Store::Lock(lock) => Some(lock),
            _ => None,
        }
    }

    pub(super) fn condition_op(&mut self, caller: Caller, object: u64, op: ConditionOp) -> Done {
        match op {
            ConditionOp::Notify { count } => {
                let woken = match self.condition(object) {
                    Some(condition) => condition.take(count),
                    None => return Some(Err(Failure::WrongKind)),
                };
                let woken_count = woken.len() as u64;
                for (caller, waiter) in woken {
                    self.relock(caller, waiter, true);
                }
                Some(Ok(Answer::Count(woken_count)))
            }
            ConditionOp::Wait { lock, thread, wait } => {
                if self.condition(object).is_none() {
                    return Some(Err(Failure::WrongKind));
                }
                let Some(Store::Lock(held)) = self
                    .objects
                    .get_mut(&lock)
                    .and_then(|entry| entry.store.as_mut())
                else {
                    return Some(Err(Failure::WrongKind));
                };
                let depth = match held.yield_all(caller.client, thread, &mut self.desk) {
                    Ok(depth) => depth,
                    Err(failure) => return Some(Err(failure)),
                };
                let waiter = Waiter {
                    lock,
                    thread,
                    depth,
                };
                match Patience::from(wait) {
                    Patience::None => self.relock(caller, waiter, false),
                    patience => {
                        self.condition(object)?.push(caller, waiter);
                        self.desk.remind(object, caller, patience);
                    }
                }
                None
            }
        }
    }

    fn condition(&mut self, object: u64) -> Option<&mut Condition> {
        match self.objects.get_mut(&object)?.store.as_mut()? {
            Store::Condition(condition) => Some(condition),
            _ => None,
        }
    }

    /// Has a waiter go on: it gets its lock again, in its turn, and then its answer.
    pub(super) fn relock(&mut self, caller: Caller, waiter: Waiter, notified: bool) {
        let object = waiter.lock;
        let lock = self.objects.get_mut(&object);
        let Some(Store::Lock(lock)) = lock.and_then(|entry| entry.store.as_mut()) else {
            self.desk.answer(caller, Err(Failure::NotFound));
            return;
        };
        let claim = Claim {
            thread: waiter.thread,
            depth: waiter.depth,
            answer: Answer::Bool(notified),
            recovers: false,
        };
        let desk = &mut self.desk;
        let mut at = Counter {
            desk,
            object,
            caller,
        };
        if let Some(outcome) = lock.acquire(claim, Patience::Endless, &mut at) {
            self.desk.answer(caller, outcome);
        }
    }
}
