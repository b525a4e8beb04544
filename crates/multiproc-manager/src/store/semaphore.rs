//! Permits, each with a number and an owner: a client that goes gives its permits back.

use std::collections::BTreeMap;

use super::Counter;
use super::queue::park;
use crate::desk::{Desk, Done, Line};
use crate::message::{Answer, Failure, SemaphoreOp};

#[derive(Debug)]
pub(crate) struct Semaphore {
    free: u64,
    /// How many may be free at once.
    most: u64,
    /// Which client has which permit.
    taken: BTreeMap<u64, u64>,
    next: u64,
    waiting: Line<()>,
}

impl Semaphore {
    pub(super) fn new(permits: u64, most: u64) -> Semaphore {
        Semaphore {
            free: permits,
            most,
            taken: BTreeMap::new(),
            next: 1,
            waiting: Line::default(),
        }
    }

    pub(super) fn handle(&mut self, op: SemaphoreOp, at: &mut Counter<'_>) -> Done {
        match op {
            SemaphoreOp::Acquire { .. } if self.free > 0 => Some(Ok(self.grant(at.caller.client))),
            SemaphoreOp::Acquire { wait } => park(&mut self.waiting, (), wait.into(), at),
            SemaphoreOp::Release { permit } => Some(self.release(permit, at)),
            SemaphoreOp::Value => Some(Ok(Answer::Count(self.free))),
        }
    }

    fn grant(&mut self, client: u64) -> Answer {
        self.free -= 1;
        let permit = self.next;
        self.next += 1;
        self.taken.insert(permit, client);
        Answer::Count(permit)
    }

    fn release(&mut self, permit: Option<u64>, at: &mut Counter<'_>) -> Result<Answer, Failure> {
        match permit {
            // Swept already, with its owner: nothing is left to give back.
            Some(permit) if self.taken.remove(&permit).is_none() => return Ok(Answer::Unit),
            Some(_) => {}
            // As Python code does: one of the client's own, else anybody's, else one more.
            None => {
                let mine = |(_, owner): &(&u64, &u64)| **owner == at.caller.client;
                let own = self.taken.iter().find(mine).or(self.taken.iter().next());
                match own.map(|(&permit, _)| permit) {
                    Some(permit) => drop(self.taken.remove(&permit)),
                    None if self.free >= self.most => return Err(Failure::AboveBound),
                    None => {}
                }
            }
        }
        self.free += 1;
        self.settle(at.desk);
        Ok(Answer::Unit)
    }

    fn settle(&mut self, desk: &mut Desk) {
        while self.free > 0
            && let Some((caller, ())) = self.waiting.pop()
        {
            let permit = self.grant(caller.client);
            desk.answer(caller, Ok(permit));
        }
    }

    pub(super) fn expire(&mut self, at: &mut Counter<'_>) {
        if self.waiting.take(at.caller).is_some() {
            at.desk.answer(at.caller, Err(Failure::TimedOut));
        }
    }

    pub(super) fn forget(&mut self, at: &mut Counter<'_>) {
        let client = at.caller.client;
        self.waiting.forget(client);
        let before = self.taken.len();
        self.taken.retain(|_, owner| *owner != client);
        self.free += (before - self.taken.len()) as u64;
        self.settle(at.desk);
    }
}
