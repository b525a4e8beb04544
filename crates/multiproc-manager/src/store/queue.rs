//! A queue with a bound, in which putters and getters wait.
//!
//! At most one of the two lines has somebody in it, unless callers wait for nothing to be undone.

use std::collections::VecDeque;

use super::Counter;
use super::map::PAGE_BYTES;
use crate::desk::{Caller, Desk, Done, Line, Patience};
use crate::item::Item;
use crate::message::{Answer, Failure, QueueOp};
use crate::numbers::Numbers;

/// One client, as a joinable queue knows it.
#[derive(Debug, Default)]
struct Hand {
    items: u64,
    /// Of the lost items, how many it has been told of.
    told: u64,
}

#[derive(Debug)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    capacity: u64,
    closed: bool,
    /// What each client has got and not said to be done, and what it has been told of.
    hands: Numbers<Hand>,
    /// How many items are in hand, of all clients.
    held: u64,
    /// How many items died in the hands of clients.
    lost: u64,
    putters: Line<Item>,
    /// How many items each would take; 0 asks for one, by itself.
    getters: Line<u32>,
    joiners: Line<()>,
}

impl Queue {
    pub(super) fn new(capacity: u64) -> Queue {
        Queue {
            items: VecDeque::new(),
            capacity,
            closed: false,
            hands: Numbers::default(),
            held: 0,
            lost: 0,
            putters: Line::default(),
            getters: Line::default(),
            joiners: Line::default(),
        }
    }

    pub(super) fn handle(&mut self, op: QueueOp, at: &mut Counter<'_>) -> Done {
        match op {
            QueueOp::Put { value, wait } => {
                if self.closed {
                    return Some(Err(Failure::Closed));
                }
                let value = match at.desk.keep(value) {
                    Ok(value) => value,
                    Err(failure) => return Some(Err(failure)),
                };
                if self.is_full() {
                    return park(&mut self.putters, value, wait.into(), at);
                }
                self.accept(value);
                self.settle(at.desk);
                Some(Ok(Answer::Unit))
            }
            QueueOp::Get { wait } => self.get(0, wait.into(), at),
            QueueOp::GetMany { most, wait } => self.get(most.max(1), wait.into(), at),
            QueueOp::Len => Some(Ok(Answer::Count(self.items.len() as u64))),
            QueueOp::Capacity => Some(Ok(Answer::Count(self.capacity))),
            QueueOp::Close => {
                self.close(at.desk);
                Some(Ok(Answer::Unit))
            }
            QueueOp::IsClosed => Some(Ok(Answer::Bool(self.closed))),
            QueueOp::TaskDone => Some(self.task_done(at)),
            QueueOp::Join { .. } if self.unfinished() == 0 => {
                Some(Ok(self.tell_of_losses(at.caller.client)))
            }
            QueueOp::Join { wait } => park(&mut self.joiners, (), wait.into(), at),
            QueueOp::Unfinished => Some(Ok(Answer::Count(self.unfinished()))),
        }
    }

    fn is_full(&self) -> bool {
        self.items.len() as u64 >= self.capacity
    }

    fn accept(&mut self, item: Item) {
        self.items.push_back(item);
    }

    /// How many items are in the queue, or in the hands of a client that lives.
    fn unfinished(&self) -> u64 {
        self.items.len() as u64 + self.held
    }

    fn get(&mut self, most: u32, patience: Patience, at: &mut Counter<'_>) -> Done {
        if !self.items.is_empty() {
            let answer = self.take(most, at.caller.client, at.desk);
            self.settle(at.desk);
            return Some(Ok(answer));
        }
        if self.closed {
            return Some(Err(Failure::Closed));
        }
        park(&mut self.getters, most, patience, at)
    }

    fn take(&mut self, most: u32, client: u64, desk: &mut Desk) -> Answer {
        // As many as are asked for, unless they are too much for one answer.
        let mut bytes = 0;
        let fitting = self
            .items
            .iter()
            .take(most.max(1) as usize)
            .take_while(|item| {
                let fits = bytes < PAGE_BYTES;
                bytes += item.bytes().len();
                fits
            });
        let count = fitting.count();
        self.hands.entry(client).or_default().items += count as u64;
        self.held += count as u64;
        let mut shown = self
            .items
            .drain(..count)
            .map(|item| Some(desk.show(&item, client)));
        match most {
            0 => Answer::Value(shown.next().flatten()),
            _ => Answer::Values(shown.collect()),
        }
    }

    /// Lets everybody go on who can.
    fn settle(&mut self, desk: &mut Desk) {
        loop {
            if !self.items.is_empty() && !self.getters.is_empty() {
                let (caller, most) = self.getters.pop().expect("somebody waits");
                let answer = self.take(most, caller.client, desk);
                desk.answer(caller, Ok(answer));
            } else if !self.is_full() && !self.putters.is_empty() {
                let (caller, item) = self.putters.pop().expect("somebody waits");
                self.accept(item);
                desk.answer(caller, Ok(Answer::Unit));
            } else {
                return;
            }
        }
    }

    fn close(&mut self, desk: &mut Desk) {
        self.closed = true;
        // Somebody waits for an item only while there is none.
        while let Some((caller, _)) = self.getters.pop() {
            desk.answer(caller, Err(Failure::Closed));
        }
        while let Some((caller, _)) = self.putters.pop() {
            desk.answer(caller, Err(Failure::Closed));
        }
    }

    fn task_done(&mut self, at: &mut Counter<'_>) -> Result<Answer, Failure> {
        let hand = self.hands.get_mut(&at.caller.client);
        let hand = hand
            .filter(|hand| hand.items > 0)
            .ok_or(Failure::AboveBound)?;
        hand.items -= 1;
        self.held -= 1;
        self.end_joins(at.desk);
        Ok(Answer::Unit)
    }

    fn end_joins(&mut self, desk: &mut Desk) {
        if self.unfinished() == 0 {
            while let Some((caller, ())) = self.joiners.pop() {
                let told = self.tell_of_losses(caller.client);
                desk.answer(caller, Ok(told));
            }
        }
    }

    /// A client is told of each loss once.
    fn tell_of_losses(&mut self, client: u64) -> Answer {
        let hand = self.hands.entry(client).or_default();
        Answer::Count(self.lost - std::mem::replace(&mut hand.told, self.lost))
    }

    pub(super) fn expire(&mut self, at: &mut Counter<'_>) {
        let caller: Caller = at.caller;
        let waited = self.putters.take(caller).is_some()
            || self.getters.take(caller).is_some()
            || self.joiners.take(caller).is_some();
        if waited {
            at.desk.answer(caller, Err(Failure::TimedOut));
        }
    }

    pub(super) fn forget(&mut self, at: &mut Counter<'_>) {
        let client = at.caller.client;
        self.putters.forget(client);
        self.getters.forget(client);
        self.joiners.forget(client);
        if let Some(hand) = self.hands.remove(&client) {
            self.held -= hand.items;
            self.lost += hand.items;
            self.end_joins(at.desk);
        }
    }
}

/// Keeps the caller, if it has patience.
pub(super) fn park<D>(
    line: &mut Line<D>,
    data: D,
    patience: Patience,
    at: &mut Counter<'_>,
) -> Done {
    if patience == Patience::None {
        return Some(Err(Failure::WouldBlock));
    }
    line.push(at.caller, data);
    at.desk.remind(at.object, at.caller, patience);
    None
}
