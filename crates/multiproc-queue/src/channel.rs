//! The queue without types: items in, items out, and when to wait. How they lie in memory is
//! `multiproc_shm::Ring`, and [`Chain`] for a queue without a bound.
//!
//! # The ring's state word
//!
//! | bits | meaning | who changes them |
//! |---|---|---|
//! | 31 | closed; never opens again | anyone |
//! | 30 | joinable: another object counts the items in hand | its maker, before anybody else sees it |
//! | 0..30 | how many items it may hold, 0 = any number | its maker, likewise |

use std::fmt;
use std::sync::atomic::Ordering;

use multiproc_shm::{
    CreateError, Found, HeadGuard, Late, LockError, Object, OpenError, Patience, PushError, Ring,
    Waiting, family, parcel,
};
use multiproc_sys::clock::Deadline;

use crate::chain::{self, Chain};
use crate::error::GetError;
use crate::hands::Hands;
use crate::item::{Body, Refused, Taken};

/// `b"queu"`
const TAG: u32 = u32::from_le_bytes(*b"queu");

const CLOSED: u32 = 1 << 31;
const JOINABLE: u32 = 1 << 30;
const CAPACITY: u32 = JOINABLE - 1;

/// The most items a bounded queue may hold.
const CAPACITY_MAX: usize = 1 << 26;

/// What an item always needs in the ring: a reference to where it lies.
const REFERENCE: usize = 32;

/// Room for items inside the ring, per item and in all.
const INLINE_EACH: usize = 1024;
const INLINE_ALL: usize = 1 << 20;

/// Below this the room for items is rounded down, to what wastes nothing.
const SMALL: usize = 64 * 1024;

/// Longer items get shared memory of their own, so that copying them does not hold up others.
const INLINE_MAX: usize = 64 * 1024;

/// The most items moved under one hold of a lock: others wait meanwhile.
const SECTION: usize = 256;

pub(crate) struct Channel {
    store: Store,
    getting: Patience,
    putting: Patience,
}

#[derive(Clone)]
enum Store {
    Bounded(Ring),
    Unbounded(Chain),
}

/// What one look under the lock of the head came to.
pub(crate) enum Look {
    /// So many were taken.
    Took(usize),
    /// The next item carries open files and is still there, at this position.
    Files(Object, u64),
}

impl Channel {
    pub(crate) fn bounded(capacity: usize, joinable: bool) -> Result<Channel, CreateError> {
        if capacity == 0 || capacity > CAPACITY_MAX {
            return Err(CreateError::Invalid(format!(
                "a queue for {capacity} items is not possible; give 1 to {CAPACITY_MAX}"
            )));
        }
        let inline = (capacity * INLINE_EACH).clamp(4096, INLINE_ALL);
        // One unit more: a reference may not fit before the ring's end.
        let mut room = inline + (capacity + 1) * REFERENCE;
        if room < SMALL {
            // A ring is a power of two, and fits the memory there is for the next one with its words.
            room = (room + 1).next_power_of_two() / 2;
        }
        let ring = Ring::create(TAG, room)?;
        let state = capacity as u32 | if joinable { JOINABLE } else { 0 };
        ring.state().store(state, Ordering::Release);
        Ok(Channel::of(Store::Bounded(ring)))
    }

    pub(crate) fn unbounded(joinable: bool) -> Result<Channel, CreateError> {
        let chain = Chain::create(TAG)?;
        let state = if joinable { JOINABLE } else { 0 };
        chain.spine().state().store(state, Ordering::Release);
        Ok(Channel::of(Store::Unbounded(chain)))
    }

    /// The queue in an object that came from elsewhere.
    pub(crate) fn open(object: Object) -> Result<Channel, OpenError> {
        let ring = Ring::open(object.expect_tag(TAG, "a queue")?)?;
        let state = ring.state().load(Ordering::Acquire);
        Ok(Channel::of(match state & CAPACITY {
            0 => Store::Unbounded(Chain::open(ring)),
            _ => Store::Bounded(ring),
        }))
    }

    fn of(store: Store) -> Channel {
        Channel {
            store,
            getting: Patience::default(),
            putting: Patience::default(),
        }
    }

    /// The ring whose state and bells are the queue's.
    #[inline]
    pub(crate) fn ring(&self) -> &Ring {
        match &self.store {
            Store::Bounded(ring) => ring,
            Store::Unbounded(chain) => chain.spine(),
        }
    }

    #[inline]
    fn state(&self) -> u32 {
        self.ring().state().load(Ordering::Acquire)
    }

    pub(crate) fn is_joinable(&self) -> bool {
        self.state() & JOINABLE != 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.state() & CLOSED != 0
    }

    pub(crate) fn close(&self) {
        self.ring().state().fetch_or(CLOSED, Ordering::AcqRel);
        self.ring().items().ring_all();
        self.ring().space().ring_all();
    }

    /// How many items it may hold, `usize::MAX` for any number.
    pub(crate) fn capacity(&self) -> usize {
        match (self.state() & CAPACITY) as usize {
            0 => usize::MAX,
            capacity => capacity,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.store {
            Store::Bounded(ring) => ring.len(),
            Store::Unbounded(chain) => chain.len(),
        }
    }

    /// Items of more bytes are stored on their own.
    #[inline]
    pub(crate) fn inline_max(&self) -> usize {
        match &self.store {
            Store::Bounded(ring) => INLINE_MAX.min(ring.longest_frame()),
            Store::Unbounded(_) => chain::INLINE_MAX,
        }
    }

    /// How many gets would have an answer now: a closed queue answers all.
    pub(crate) fn answers(&self) -> usize {
        if self.is_closed() {
            usize::MAX
        } else {
            self.len()
        }
    }

    /// How many puts would have an answer now.
    fn places(&self) -> usize {
        if self.is_closed() {
            usize::MAX
        } else {
            self.capacity().saturating_sub(self.len())
        }
    }

    /// Pushes the first of `bodies`, waiting while the queue is full, and with it as many of the
    /// others as there is room for. Says how many it was.
    #[inline]
    pub(crate) fn push(
        &self,
        bodies: &mut [Body<'_>],
        deadline: Deadline,
    ) -> Result<usize, Refused> {
        let mut waiting = Waiting::new(&self.putting, deadline);
        loop {
            match self.push_now(bodies, deadline) {
                Err(Refused::Full) => {}
                Err(Refused::NoRoomInline) => {
                    bodies[0].store()?;
                    continue;
                }
                pushed => return pushed,
            }
            // A bell armed before another look cannot miss a pop after that look.
            waiting.pause(self.ring().space(), || self.places())?;
        }
    }

    #[inline]
    fn push_now(&self, bodies: &[Body<'_>], deadline: Deadline) -> Result<usize, Refused> {
        let bodies = &bodies[..bodies.len().min(SECTION)];
        let pushed = match &self.store {
            Store::Bounded(ring) => push_into(ring, bodies, deadline)?,
            Store::Unbounded(chain) => chain.push(bodies, deadline)?,
        };
        match pushed {
            1 => self.ring().items().ring_after_release(),
            many => self.ring().items().ring_many(many),
        }
        Ok(pushed)
    }

    /// Takes items, waiting while there is none, up to `most` of those that are there. An error may
    /// come after some were given to `sink`.
    #[inline]
    pub(crate) fn take(
        &self,
        most: usize,
        hands: Option<&Hands>,
        deadline: Deadline,
        sink: &mut impl FnMut(Taken),
    ) -> Result<(), GetError> {
        let mut waiting = Waiting::new(&self.getting, deadline);
        loop {
            // Read before the look: what was put before the close is seen after it.
            let closed = self.is_closed();
            let taken = self.take_now(most.min(SECTION), hands, deadline, sink);
            if taken.is_err() && deadline != Deadline::NOW {
                // What was there may have been left, and the wake for it must not end here.
                self.ring().items().ring_all();
            }
            if taken? > 0 {
                return Ok(());
            }
            if closed {
                return Err(GetError::Closed);
            }
            waiting
                .pause(self.ring().items(), || self.answers())
                .map_err(|_| GetError::TimedOut)?;
        }
    }

    #[inline]
    fn take_now(
        &self,
        most: usize,
        hands: Option<&Hands>,
        deadline: Deadline,
        sink: &mut impl FnMut(Taken),
    ) -> Result<usize, GetError> {
        let taken = loop {
            let mut look = |head: &mut HeadGuard<'_>| take_from(head, most, hands, sink);
            let looked = match &self.store {
                Store::Bounded(ring) => look(&mut ring.head(deadline)?),
                Store::Unbounded(chain) => chain.with_head(deadline, &mut look),
            };
            let looked = looked.inspect_err(|error| {
                if !error.is_timed_out() {
                    // What could not be read may be gone, with what was taken before it.
                    self.ring().space().ring_all();
                }
            });
            match looked? {
                Look::Took(taken) => break taken,
                // Taken by another meanwhile, it says nothing of what is behind it.
                Look::Files(parcel, at) => {
                    if self.take_files(&parcel, at, hands, deadline, sink)? {
                        break 1;
                    }
                }
            }
        };
        match taken {
            0 => {}
            1 => self.ring().space().ring_after_release(),
            many => self.ring().space().ring_many(many),
        }
        Ok(taken)
    }

    /// Takes the item at the head, which carries open files: first the files, which may find no room
    /// in this process, then the item. False if another has taken it meanwhile.
    #[cold]
    fn take_files(
        &self,
        stored: &Object,
        at: u64,
        hands: Option<&Hands>,
        deadline: Deadline,
        sink: &mut impl FnMut(Taken),
    ) -> Result<bool, GetError> {
        let loaded = parcel::load(stored);
        if let Err(error) = &loaded
            && error.is_too_many_files()
        {
            return Err(error.clone().into());
        }
        let mut loaded = Some(loaded);
        let mut look = |head: &mut HeadGuard<'_>| {
            // The same position in another chunk of a chain is another item.
            let Found::Files(next) = head.pop_quietly(&mut Vec::new())? else {
                return Ok(Look::Took(0));
            };
            if head.position() != at || !next.is(stored) {
                return Ok(Look::Took(0));
            }
            take_up(hands)?;
            let taken = head.pop(&mut Vec::new());
            let loaded = loaded.take().expect("it is taken once");
            match taken.and(loaded) {
                Ok(parcel) => {
                    sink(Taken::Loaded(Box::new(parcel)));
                    Ok(Look::Took(1))
                }
                Err(error) => {
                    put_down(hands);
                    Err(error.into())
                }
            }
        };
        let looked = match &self.store {
            Store::Bounded(ring) => look(&mut ring.head(deadline)?),
            Store::Unbounded(chain) => chain.with_head(deadline, &mut look),
        };
        Ok(matches!(looked?, Look::Took(1)))
    }
}

#[inline]
fn take_up(hands: Option<&Hands>) -> Result<(), GetError> {
    match hands {
        Some(hands) if !hands.take_up() => Err(GetError::TooMany),
        _ => Ok(()),
    }
}

fn put_down(hands: Option<&Hands>) {
    if let Some(hands) = hands {
        hands.put_down();
    }
}

#[inline]
fn push_into(ring: &Ring, bodies: &[Body<'_>], deadline: Deadline) -> Result<usize, Refused> {
    let mut tail = ring.tail(deadline)?;
    let state = ring.state().load(Ordering::Acquire);
    if state & CLOSED != 0 {
        return Err(Refused::Closed);
    }
    let capacity = (state & CAPACITY) as usize;
    let held = tail.len_up_to((capacity + 1).saturating_sub(bodies.len()).max(1));
    if held >= capacity {
        return Err(Refused::Full);
    }
    let mut pushed = 0;
    for body in &bodies[..bodies.len().min(capacity - held)] {
        // Whatever lies inline, the items still to come must fit as references.
        let places = (capacity - held - pushed - 1) as u32;
        let answer = match body {
            Body::Bytes(bytes) => tail.push_quietly(&[bytes], places),
            Body::Stored(object) => tail.push_parcel(object),
        };
        match (answer, body) {
            (Ok(()), _) => pushed += 1,
            (Err(_), _) if pushed > 0 => break,
            (Err(_), Body::Bytes(_)) => return Err(Refused::NoRoomInline),
            (Err(_), Body::Stored(_)) => return Err(Refused::Full),
        }
    }
    tail.publish();
    Ok(pushed)
}

/// The same under the lock of a chunk's tail: `closed` is the queue's. Nothing pushed: no room.
pub(crate) fn push_into_chunk(
    tail: &mut multiproc_shm::TailGuard<'_>,
    bodies: &[Body<'_>],
) -> Result<usize, Refused> {
    let mut pushed = 0;
    for body in bodies {
        let answer = match body {
            Body::Bytes(bytes) => tail.push_quietly(&[bytes], 0),
            Body::Stored(object) => tail.push_parcel(object),
        };
        match answer {
            Ok(()) => pushed += 1,
            Err(PushError::TooLong) if pushed == 0 => return Err(Refused::NoRoomInline),
            Err(_) => break,
        }
    }
    tail.publish();
    Ok(pushed)
}

pub(crate) fn is_closed(ring: &Ring) -> bool {
    ring.state().load(Ordering::Acquire) & CLOSED != 0
}

/// Takes up to `most` items, under the lock of the head.
#[inline]
fn take_from(
    head: &mut HeadGuard<'_>,
    most: usize,
    hands: Option<&Hands>,
    sink: &mut impl FnMut(Taken),
) -> Result<Look, GetError> {
    let mut taken = 0;
    while taken < most && !head.is_empty() {
        // In hand before it is taken: at no moment is an item neither here nor there.
        match take_up(hands) {
            // Those before it are given away already.
            Err(_) if taken > 0 => break,
            answer => answer?,
        }
        let mut bytes = Vec::new();
        match head.pop_quietly(&mut bytes) {
            Ok(Found::Bytes) => sink(Taken::Bytes(bytes)),
            Ok(Found::Parcel(object)) => sink(Taken::Stored(object)),
            found => {
                put_down(hands);
                head.settle();
                return match found {
                    Ok(Found::Files(parcel)) if taken == 0 => {
                        Ok(Look::Files(parcel, head.position()))
                    }
                    Err(error) => Err(error.into()),
                    _ => Ok(Look::Took(taken)),
                };
            }
        }
        taken += 1;
    }
    if taken > 0 {
        head.settle();
    }
    Ok(Look::Took(taken))
}

impl From<LockError> for Refused {
    fn from(error: LockError) -> Refused {
        match error {
            LockError::Refused(_) => Refused::TooMany,
            LockError::TimedOut | LockError::OwnerDied | LockError::Deadlock => Refused::TimedOut,
        }
    }
}

impl From<Late> for Refused {
    fn from(_: Late) -> Refused {
        Refused::TimedOut
    }
}

impl Clone for Channel {
    fn clone(&self) -> Channel {
        Channel::of(self.store.clone())
    }
}

/// Length, capacity, whether it is closed; and who holds one of its ends this moment, which matters
/// if that is a process that has been stopped.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Queue");
        text.field("len", &self.len());
        if self.capacity() < usize::MAX {
            text.field("capacity", &self.capacity());
        }
        text.field("closed", &self.is_closed());
        let holders = match &self.store {
            Store::Bounded(ring) => ring.holders(),
            Store::Unbounded(chain) => chain.holders(),
        };
        for (verb, tid) in ["getting", "putting"].into_iter().zip(holders) {
            if tid != 0 {
                text.field(verb, &format_args!("{}", describe(tid)));
            }
        }
        text.finish()
    }
}

fn describe(tid: u32) -> String {
    let member = family::member_of_thread(tid);
    let name = member.and_then(family::name_of);
    match (name, member.and_then(family::pid_of)) {
        (Some(name), Some(pid)) => format!("process '{name}' (pid {pid}), thread {tid}"),
        _ => format!("thread {tid}"),
    }
}
