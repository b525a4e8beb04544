//! A place where so many callers meet. It breaks for all when one of them gives up or dies.

use super::Counter;
use super::queue::park;
use crate::desk::{Desk, Done, Line};
use crate::message::{Answer, BarrierEnd, BarrierOp, Failure, Wait};

#[derive(Debug)]
pub(crate) struct Barrier {
    parties: u64,
    /// Who came, with its place.
    waiting: Line<u64>,
    broken: Option<BarrierEnd>,
}

impl Barrier {
    pub(super) fn new(parties: u64) -> Barrier {
        Barrier {
            parties: parties.max(1),
            waiting: Line::default(),
            broken: None,
        }
    }

    pub(super) fn handle(&mut self, op: BarrierOp, at: &mut Counter<'_>) -> Done {
        match op {
            BarrierOp::Wait { wait } => self.wait(wait, at),
            BarrierOp::Reset => {
                self.fail(BarrierEnd::Reset, at.desk);
                self.broken = None;
                Some(Ok(Answer::Unit))
            }
            BarrierOp::Abort => {
                self.fail(BarrierEnd::Aborted, at.desk);
                Some(Ok(Answer::Unit))
            }
            BarrierOp::State => Some(Ok(Answer::Counts(vec![
                self.parties,
                self.waiting.len() as u64,
                u64::from(self.broken.is_some()),
            ]))),
        }
    }

    fn wait(&mut self, wait: Wait, at: &mut Counter<'_>) -> Done {
        if let Some(end) = self.broken {
            return Some(Err(Failure::Broken(end)));
        }
        let place = self.waiting.len() as u64;
        if place + 1 == self.parties {
            while let Some((caller, place)) = self.waiting.pop() {
                at.desk.answer(caller, Ok(Answer::Count(place)));
            }
            return Some(Ok(Answer::Count(place)));
        }
        if wait == Wait(Some(0)) {
            self.fail(BarrierEnd::TimedOut, at.desk);
            return Some(Err(Failure::TimedOut));
        }
        park(&mut self.waiting, place, wait.into(), at)
    }

    fn fail(&mut self, end: BarrierEnd, desk: &mut Desk) {
        self.broken = Some(end);
        while let Some((caller, _)) = self.waiting.pop() {
            desk.answer(caller, Err(Failure::Broken(end)));
        }
    }

    pub(super) fn expire(&mut self, at: &mut Counter<'_>) {
        if self.waiting.take(at.caller).is_some() {
            at.desk.answer(at.caller, Err(Failure::TimedOut));
            self.fail(BarrierEnd::TimedOut, at.desk);
        }
    }

    pub(super) fn forget(&mut self, at: &mut Counter<'_>) {
        if self.waiting.forget(at.caller.client) {
            self.fail(BarrierEnd::Died, at.desk);
        }
    }
}
