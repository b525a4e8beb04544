//! What every object of the server works with: who holds what, replies to be sent, times to be
//! woken at.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::item::{Anchor, Anchors, Item};
use crate::message::{Answer, Failure, NO_REPLY, Packed, Reply, Wait};
use crate::numbers::Numbers;

/// Who asked: a connection, and the request's number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Caller {
    pub(crate) client: u64,
    pub(crate) seq: u64,
}

pub(crate) type Outcome = Result<Answer, Failure>;

/// What an object says to a request: its outcome, or `None` if the caller waits. Then the object
/// answers through the [`Desk`] later.
pub(crate) type Done = Option<Outcome>;

/// How long the caller of a blocking verb may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Endless,
}

impl From<Wait> for Patience {
    fn from(wait: Wait) -> Patience {
        match wait.0 {
            Some(0) => Patience::None,
            Some(micros) => match Instant::now().checked_add(Duration::from_micros(micros)) {
                Some(instant) => Patience::Until(instant),
                None => Patience::Endless,
            },
            None => Patience::Endless,
        }
    }
}

/// One connection, as far as objects know it.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) pid: u32,
    pub(crate) name: String,
    /// Handles of the client, per object.
    held: Numbers<(Arc<Anchor>, u64)>,
    /// Handles it has sent to somebody and nobody has received.
    lent: HashMap<u64, Arc<Anchor>>,
    /// Its threads that wait for a lock without a deadline, and for which one.
    pub(crate) blocked: Numbers<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// The most bytes of one answer.
    pub(crate) limit: u64,
    pub(crate) anchors: Arc<Anchors>,
    pub(crate) clients: Numbers<Client>,
    /// Replies to be sent.
    pub(crate) replies: Vec<(u64, Reply)>,
    /// When to look whether the caller still waits in the object.
    timers: BinaryHeap<Reverse<(Instant, u64, Caller)>>,
    /// What dead clients had lent, and until when it is kept.
    estates: VecDeque<(Instant, HashMap<u64, Arc<Anchor>>)>,
}

/// How long what a client had lent outlives it.
const LEASE: Duration = Duration::from_secs(60);

impl Desk {
    pub(crate) fn new(limit: u64) -> Desk {
        Desk {
            limit,
            ..Desk::default()
        }
    }

    /// Replies to `caller`.
    pub(crate) fn answer(&mut self, caller: Caller, result: Outcome) {
        if caller.seq != NO_REPLY {
            let seq = caller.seq;
            self.replies.push((caller.client, Reply { seq, result }));
        }
    }

    /// Has [`Store::expire`](crate::store::Store::expire) called for `caller` when its patience ends.
    pub(crate) fn remind(&mut self, object: u64, caller: Caller, patience: Patience) {
        if let Patience::Until(instant) = patience {
            self.timers.push(Reverse((instant, object, caller)));
        }
    }

    /// A reminder that is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(u64, Caller)> {
        let &Reverse((instant, object, caller)) = self.timers.peek()?;
        (instant <= now).then(|| {
            self.timers.pop();
            (object, caller)
        })
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((instant, ..))| *instant);
        let estate = self.estates.front().map(|(instant, _)| *instant);
        timer.into_iter().chain(estate).min()
    }

    pub(crate) fn expire_estates(&mut self, now: Instant) {
        while self.estates.front().is_some_and(|(until, _)| *until <= now) {
            self.estates.pop_front();
        }
    }

    /// A thread waits for its lock no longer.
    pub(crate) fn unblock(&mut self, client: u64, thread: u64) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.blocked.remove(&thread);
        }
    }

    /// A received value, to be kept.
    pub(crate) fn keep(&self, packed: Packed) -> Result<Item, Failure> {
        if packed.links.is_empty() {
            return Ok(Item::plain(packed.bytes));
        }
        let links = packed.links.iter().map(|&object| self.anchors.get(object));
        let links = links.collect::<Option<Vec<_>>>().ok_or(Failure::NotFound)?;
        Ok(Item::linked(packed.bytes, links))
    }

    /// A kept value, to be sent to `client`, which gets a handle for each link.
    pub(crate) fn show(&mut self, item: &Item, client: u64) -> Packed {
        for anchor in item.links() {
            self.hold(client, Arc::clone(anchor), 1);
        }
        item.pack()
    }

    /// Gives a client handles of an object.
    pub(crate) fn hold(&mut self, client: u64, anchor: Arc<Anchor>, count: u64) {
        if let Some(client) = self.clients.get_mut(&client) {
            let held = client.held.entry(anchor.object());
            held.or_insert((anchor, 0)).1 += count;
        }
    }

    /// Takes handles back.
    pub(crate) fn release(&mut self, client: u64, object: u64, count: u64) {
        let Some(client) = self.clients.get_mut(&client) else {
            return;
        };
        if let Some((_, held)) = client.held.get_mut(&object) {
            *held = held.saturating_sub(count);
            if *held == 0 {
                client.held.remove(&object);
            }
        }
    }

    /// `lender` has sent a handle away.
    pub(crate) fn lend(&mut self, lender: u64, object: u64, loan: u64) {
        if let Some(anchor) = self.anchors.get(object)
            && let Some(client) = self.clients.get_mut(&lender)
        {
            client.lent.insert(loan, anchor);
        }
    }

    /// What was lent has arrived at `client`, or has been received once more.
    pub(crate) fn adopt(&mut self, client: u64, object: u64, loan: u64) -> Result<(), Failure> {
        let lent = self.clients.values_mut();
        let lent = lent.map(|client| &mut client.lent);
        let lent = lent.chain(self.estates.iter_mut().map(|(_, lent)| lent));
        let mut found = None;
        for loans in lent {
            found = found.or_else(|| loans.remove(&loan));
        }
        let found = found.filter(|anchor| anchor.object() == object);
        let anchor = found.or_else(|| self.anchors.get(object));
        self.hold(client, anchor.ok_or(Failure::NotFound)?, 1);
        Ok(())
    }

    /// Forgets a client. What it had lent stays for a while.
    pub(crate) fn farewell(&mut self, client: u64) -> Option<Client> {
        let mut gone = self.clients.remove(&client)?;
        let lent = std::mem::take(&mut gone.lent);
        if !lent.is_empty() {
            self.estates.push_back((Instant::now() + LEASE, lent));
        }
        Some(gone)
    }
}

/// Callers that wait in an object, first come first served.
#[derive(Debug)]
pub(crate) struct Line<D>(VecDeque<(Caller, D)>);

impl<D> Default for Line<D> {
    fn default() -> Line<D> {
        Line(VecDeque::new())
    }
}

impl<D> Line<D> {
    pub(crate) fn push(&mut self, caller: Caller, data: D) {
        self.0.push_back((caller, data));
    }

    pub(crate) fn pop(&mut self) -> Option<(Caller, D)> {
        self.0.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Caller, D)> {
        self.0.iter()
    }

    /// Takes the first out for which `is` holds.
    pub(crate) fn take_first(&mut self, is: impl Fn(&D) -> bool) -> Option<(Caller, D)> {
        let index = self.0.iter().position(|(_, data)| is(data))?;
        self.0.remove(index)
    }

    /// Takes `caller` out, if it still waits.
    pub(crate) fn take(&mut self, caller: Caller) -> Option<D> {
        let index = self.0.iter().position(|(waiting, _)| *waiting == caller)?;
        self.0.remove(index).map(|(_, data)| data)
    }

    /// Takes all callers of a client out; whether there were any.
    pub(crate) fn forget(&mut self, client: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|(caller, _)| caller.client != client);
        self.0.len() != before
    }
}
