//! Sending into a ring.

use std::sync::atomic::Ordering;

use multiproc_shm::{
    CreateError, End, LockError, Object, OpenError, Patience, PushError, Quiet, TailGuard, Waiting,
    parcel,
};
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Attachment, EncodeError};

use super::{FIRST, LAST, LONG, MIDDLE, STORED_MOST, Side, WHOLE, open, ring_everybody};
use crate::error::SendError;

/// A handle that may send.
#[derive(Debug)]
pub(crate) struct RingOut {
    side: Side,
    patience: Patience,
    quiet: Quiet,
}

/// A piece, and how it is pushed.
enum Piece<'a> {
    Inline(&'a [&'a [u8]]),
    Stored(&'a Object),
}

impl Piece<'_> {
    /// Bytes of its frame.
    fn len(&self) -> usize {
        match self {
            Piece::Inline(parts) => parts.iter().map(|part| part.len()).sum(),
            Piece::Stored(_) => 24,
        }
    }

    #[inline]
    fn push(&self, tail: &mut TailGuard<'_>) -> Result<(), PushError> {
        match self {
            Piece::Inline(parts) => tail.push(parts, 0),
            Piece::Stored(object) => tail.push_parcel(object),
        }
    }
}

impl RingOut {
    pub(crate) fn of(end: End) -> RingOut {
        RingOut::from_side(Side::of(end))
    }

    fn from_side(side: Side) -> RingOut {
        RingOut {
            side,
            patience: Patience::prompt(),
            quiet: Quiet::default(),
        }
    }

    pub(crate) fn open(object: Object) -> Result<RingOut, OpenError> {
        open(object, false).map(RingOut::from_side)
    }

    pub(crate) fn object(&self) -> Option<Object> {
        self.side.object()
    }

    pub(crate) fn close(&self) {
        self.side.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.side.is_closed()
    }

    /// Sends one message.
    #[inline]
    pub(crate) fn send(
        &self,
        bytes: &[u8],
        attachments: &[Attachment],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        if attachments.is_empty() && bytes.len() < self.side.ring.longest_frame() {
            self.check()?;
            if self.side.ring.push_quickly(bytes, WHOLE, &self.quiet) {
                self.tell_the_others();
                return Ok(());
            }
            let tail = self.push(&Piece::Inline(&[bytes, &[WHOLE]]), deadline)?;
            self.tell_receivers(tail);
            return Ok(());
        }
        self.send_slowly(bytes, attachments, deadline)
    }

    /// A whole message is there. Releases the lock.
    #[inline]
    fn tell_receivers(&self, tail: TailGuard<'_>) {
        tail.end_and_ring(&self.quiet);
        self.tell_the_others();
    }

    #[inline]
    fn tell_the_others(&self) {
        let ring = &self.side.ring;
        // One has the beginning of a message that was given up, and only that one can go on.
        if ring.word().load(Ordering::Acquire) != 0 {
            ring_everybody(ring.items());
        }
    }

    #[cold]
    fn send_slowly(
        &self,
        bytes: &[u8],
        attachments: &[Attachment],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let ring = &self.side.ring;
        if attachments.iter().any(|it| End::is_of(it, ring)) {
            return Err(SendError::Encode(EncodeError::new(
                "end of a pipe",
                THROUGH_ITSELF,
            )));
        }
        // The rest of what has begun could not go without waiting.
        let at_once = deadline == Deadline::NOW;
        let fits = bytes.len() < ring.longest_frame();
        if fits || at_once {
            if !fits && ring.len() >= STORED_MOST {
                return Err(self.check().err().unwrap_or(SendError::Full));
            }
            let stored = parcel::store_parts(&[bytes, &[WHOLE]], attachments);
            let tail = self.push(&Piece::Stored(&stored.map_err(no_space)?), deadline)?;
            self.tell_receivers(tail);
            return Ok(());
        }
        self.send_long(bytes, attachments, deadline)
    }

    /// Sends a message piece by piece, as the receiver makes room.
    fn send_long(
        &self,
        bytes: &[u8],
        attachments: &[Attachment],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let ring = &self.side.ring;
        let total = (bytes.len() as u64).to_le_bytes();
        let longest = ring.longest_frame() - 1;
        let (first, rest) = bytes.split_at(longest - total.len());
        let first = [first, &total, &[FIRST]];
        let mut tail = if attachments.is_empty() {
            self.push(&Piece::Inline(&first), deadline)?
        } else {
            let stored = parcel::store_parts(&first, attachments).map_err(no_space)?;
            self.push(&Piece::Stored(&stored), deadline)?
        };
        ring.state().fetch_or(LONG, Ordering::AcqRel);
        ring_everybody(ring.items());
        let mut left = rest.chunks(longest);
        let mut sent = Ok(());
        while let (Ok(()), Some(piece)) = (&sent, left.next()) {
            let kind = if left.len() == 0 { LAST } else { MIDDLE };
            sent = self.push_on(&mut tail, &[piece, &[kind]], deadline);
            ring_everybody(ring.items());
        }
        ring.state().fetch_and(!LONG, Ordering::AcqRel);
        drop(tail);
        // Others that have found the ring full while they could not have used what room there was.
        ring_everybody(ring.space());
        sent
    }

    /// Pushes one more piece of a long message, whose sender keeps the lock.
    fn push_on(
        &self,
        tail: &mut TailGuard<'_>,
        parts: &[&[u8]],
        deadline: Deadline,
    ) -> Result<(), SendError> {
        let ring = &self.side.ring;
        let piece = Piece::Inline(parts);
        let mut waiting = Waiting::new(&self.patience, deadline);
        loop {
            self.check()?;
            if piece.push(tail).is_ok() {
                return Ok(());
            }
            let paused = waiting.pause(ring.space(), || self.room(&piece));
            paused.map_err(|_| SendError::TimedOut)?;
        }
    }

    /// How many such pieces might be pushed now.
    fn room(&self, piece: &Piece<'_>) -> usize {
        match self.check() {
            Ok(()) => self.side.ring.room_for(piece.len()),
            Err(_) => usize::MAX,
        }
    }

    /// Pushes a piece that begins a message, and returns with the lock.
    #[inline]
    fn push(&self, piece: &Piece<'_>, deadline: Deadline) -> Result<TailGuard<'_>, SendError> {
        let ring = &self.side.ring;
        self.check()?;
        let mut tail = ring.tail_often(deadline).map_err(refused)?;
        if !tail.taken().is_after_death() && piece.push(&mut tail).is_ok() {
            return Ok(tail);
        }
        self.push_slowly(tail, piece, deadline)
    }

    #[cold]
    fn push_slowly<'a>(
        &'a self,
        mut tail: TailGuard<'a>,
        piece: &Piece<'_>,
        deadline: Deadline,
    ) -> Result<TailGuard<'a>, SendError> {
        let ring = &self.side.ring;
        let mut waiting = Waiting::new(&self.patience, deadline);
        loop {
            if tail.taken().is_after_death() {
                // Its long message is under way no longer.
                ring.state().fetch_and(!LONG, Ordering::AcqRel);
            }
            self.check()?;
            if piece.push(&mut tail).is_ok() {
                return Ok(tail);
            }
            drop(tail);
            let paused = waiting.pause(ring.space(), || self.room(piece));
            paused.map_err(|_| SendError::TimedOut)?;
            tail = ring.tail_often(deadline).map_err(refused)?;
        }
    }

    /// Whether sending still makes sense.
    #[inline]
    fn check(&self) -> Result<(), SendError> {
        if self.side.is_closed() {
            return Err(SendError::Closed);
        }
        if self.side.state() & End::RECEIVERS_GONE != 0 {
            return Err(SendError::Disconnected);
        }
        Ok(())
    }
}

/// Such a message would hold the pipe, and the pipe the message: never freed, and no end for anybody.
const THROUGH_ITSELF: &str = "an end of a pipe does not travel through that very pipe; send it \
                              through another, or the other way";

fn no_space(error: CreateError) -> SendError {
    SendError::NoSpace(error)
}

fn refused(error: LockError) -> SendError {
    match error {
        LockError::Refused(refusal) => SendError::Limit(refusal.to_string()),
        _ => SendError::TimedOut,
    }
}

impl Clone for RingOut {
    fn clone(&self) -> RingOut {
        RingOut::from_side(self.side.clone())
    }
}
