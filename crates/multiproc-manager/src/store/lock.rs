//! A lock, reentrant or not. Its owner is a thread of a client.
//!
//! If the owner's connection ends, the lock is free but suspect, as the process version is: everybody
//! is told so until somebody recovers it.

use super::Counter;
use super::queue::park;
use crate::desk::{Caller, Desk, Done, Line, Patience};
use crate::message::{Answer, Failure, LockOp};

/// A thread of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) client: u64,
    pub(crate) thread: u64,
}

#[derive(Debug)]
pub(crate) struct Lock {
    reentrant: bool,
    owner: Option<(Owner, u64)>,
    /// Who died while it held the lock.
    suspect: Option<(u32, String)>,
    waiting: Line<Claim>,
}

/// What a caller wants of the lock.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) thread: u64,
    /// How often it holds the lock when it has it.
    pub(crate) depth: u64,
    /// What it is told then.
    pub(crate) answer: Answer,
    /// Takes the lock though its owner died.
    pub(crate) recovers: bool,
}

impl Claim {
    fn first(thread: u64, recovers: bool) -> Claim {
        Claim {
            thread,
            depth: 1,
            answer: Answer::Unit,
            recovers,
        }
    }
}

impl Lock {
    pub(super) fn new(reentrant: bool) -> Lock {
        Lock {
            reentrant,
            owner: None,
            suspect: None,
            waiting: Line::default(),
        }
    }

    pub(super) fn handle(&mut self, op: LockOp, at: &mut Counter<'_>) -> Done {
        match op {
            LockOp::Acquire { thread, wait } => {
                self.acquire(Claim::first(thread, false), wait.into(), at)
            }
            LockOp::Recover { thread, wait } => {
                self.acquire(Claim::first(thread, true), wait.into(), at)
            }
            LockOp::Release { thread } => Some(self.release(at.caller.client, thread, at.desk)),
            LockOp::IsLocked => Some(Ok(Answer::Bool(self.owner.is_some()))),
        }
    }

    /// Takes the lock, or waits for it.
    pub(crate) fn acquire(
        &mut self,
        claim: Claim,
        patience: Patience,
        at: &mut Counter<'_>,
    ) -> Done {
        let me = Owner {
            client: at.caller.client,
            thread: claim.thread,
        };
        match &mut self.owner {
            Some((owner, depth)) if *owner == me && self.reentrant => {
                *depth += 1;
                Some(Ok(claim.answer))
            }
            Some(_) => park(&mut self.waiting, claim, patience, at),
            None => Some(match &self.suspect {
                Some((pid, name)) if !claim.recovers => Err(Failure::OwnerDied {
                    pid: *pid,
                    name: name.clone(),
                }),
                _ => {
                    self.suspect = None;
                    self.owner = Some((me, claim.depth));
                    Ok(claim.answer)
                }
            }),
        }
    }

    fn check(&self, client: u64, thread: u64) -> Result<(), Failure> {
        match self.owner {
            None => Err(Failure::NotHeld),
            Some((owner, _)) if owner == (Owner { client, thread }) => Ok(()),
            Some(_) => Err(Failure::NotOwner),
        }
    }

    fn release(&mut self, client: u64, thread: u64, desk: &mut Desk) -> Result<Answer, Failure> {
        self.check(client, thread)?;
        if let Some((_, depth)) = &mut self.owner {
            *depth -= 1;
            if *depth == 0 {
                self.owner = None;
                self.pass_on(desk);
            }
        }
        Ok(Answer::Unit)
    }

    /// Releases the lock for a wait on a condition, however often it was acquired.
    pub(crate) fn yield_all(
        &mut self,
        client: u64,
        thread: u64,
        desk: &mut Desk,
    ) -> Result<u64, Failure> {
        self.check(client, thread)?;
        let depth = self.owner.take().map_or(1, |(_, depth)| depth);
        self.pass_on(desk);
        Ok(depth)
    }

    /// The next in line has it; if it is suspect, the next who would recover it, and the others are
    /// told.
    fn pass_on(&mut self, desk: &mut Desk) {
        if let Some((pid, name)) = &self.suspect {
            while let Some((caller, claim)) = self.waiting.take_first(|claim| !claim.recovers) {
                let (pid, name) = (*pid, name.clone());
                desk.unblock(caller.client, claim.thread);
                desk.answer(caller, Err(Failure::OwnerDied { pid, name }));
            }
        }
        if let Some((caller, claim)) = self.waiting.pop() {
            let owner = Owner {
                client: caller.client,
                thread: claim.thread,
            };
            self.suspect = None;
            self.owner = Some((owner, claim.depth));
            desk.unblock(caller.client, claim.thread);
            desk.answer(caller, Ok(claim.answer));
        }
    }

    pub(crate) fn owner(&self) -> Option<Owner> {
        self.owner.map(|(owner, _)| owner)
    }

    /// Whether a thread stands in line here.
    pub(crate) fn is_waited_for_by(&self, waiter: Owner) -> bool {
        let mut line = self.waiting.iter();
        line.any(|(caller, claim)| caller.client == waiter.client && claim.thread == waiter.thread)
    }

    /// Takes a caller out of the line.
    pub(crate) fn turn_away(&mut self, caller: Caller) {
        self.waiting.take(caller);
    }

    pub(super) fn expire(&mut self, at: &mut Counter<'_>) {
        if self.waiting.take(at.caller).is_some() {
            at.desk.answer(at.caller, Err(Failure::TimedOut));
        }
    }

    pub(super) fn forget(&mut self, pid: u32, name: &str, at: &mut Counter<'_>) {
        let client = at.caller.client;
        self.waiting.forget(client);
        if self.owner.is_some_and(|(owner, _)| owner.client == client) {
            self.owner = None;
            self.suspect = Some((pid, name.to_owned()));
            self.pass_on(at.desk);
        }
    }
}
