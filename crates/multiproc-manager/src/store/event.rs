//! A flag to wait for. Whoever waits when it is set goes on, even if it is cleared at once.

use super::Counter;
use super::queue::park;
use crate::desk::{Done, Line};
use crate::message::{Answer, EventOp, Wait};

#[derive(Debug, Default)]
pub(crate) struct Event {
    set: bool,
    waiting: Line<()>,
}

impl Event {
    pub(super) fn handle(&mut self, op: EventOp, at: &mut Counter<'_>) -> Done {
        match op {
            EventOp::Set => {
                self.set = true;
                while let Some((caller, ())) = self.waiting.pop() {
                    at.desk.answer(caller, Ok(Answer::Bool(true)));
                }
                Some(Ok(Answer::Unit))
            }
            EventOp::Clear => {
                self.set = false;
                Some(Ok(Answer::Unit))
            }
            EventOp::IsSet => Some(Ok(Answer::Bool(self.set))),
            EventOp::Wait {
                wait: Wait(Some(0)),
            } => Some(Ok(Answer::Bool(self.set))),
            EventOp::Wait { .. } if self.set => Some(Ok(Answer::Bool(true))),
            EventOp::Wait { wait } => park(&mut self.waiting, (), wait.into(), at),
        }
    }

    pub(super) fn expire(&mut self, at: &mut Counter<'_>) {
        if self.waiting.take(at.caller).is_some() {
            at.desk.answer(at.caller, Ok(Answer::Bool(false)));
        }
    }

    pub(super) fn forget(&mut self, client: u64) {
        self.waiting.forget(client);
    }
}
