//! Receiving from a ring.
//!
//! The invariant: the beginning of a long message is in one place, private to one process. Its owner is
//! named in the ring, so that others leave the rest to it, and the ring's word is cleared before that
//! place is given up: with the last open handle that knows it, or with the next message.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use multiproc_shm::{
    CreateError, End, Found, HeadGuard, LockError, MemberId, Object, OpenError, Patience, Quiet,
    Ring, Sources, Waitable, Waiting, Watch, family, parcel,
};
use multiproc_sys::clock::Deadline;
use multiproc_wire::Parcel;
use parking_lot::Mutex;

use super::{FIRST, LAST, MIDDLE, Side, WHOLE, open, ring_everybody};
use crate::error::RecvError;

/// A handle that may receive.
#[derive(Debug)]
pub(crate) struct RingIn {
    side: Side,
    reading: Arc<Reading>,
    /// For event loops, once somebody has asked for it.
    watch: OnceLock<Watch>,
}

impl Clone for RingIn {
    /// A clone of a closed handle is closed.
    fn clone(&self) -> RingIn {
        let (side, reading) = (self.side.clone(), Arc::clone(&self.reading));
        if !side.is_closed() {
            reading.open.fetch_add(1, Ordering::AcqRel);
        }
        RingIn {
            side,
            reading,
            watch: OnceLock::new(),
        }
    }
}

/// What clones of a handle share in this process.
#[derive(Debug)]
struct Reading {
    ring: Ring,
    patience: Patience,
    quiet: Quiet,
    /// Names this, with the process, in the ring's word.
    thing: u32,
    /// Handles that share this and are not closed.
    open: AtomicUsize,
    /// Filled under the head lock only.
    begun: Mutex<Option<Begun>>,
    /// A piece that was taken out of the ring, and for which there was no memory then: it is the next.
    /// Likewise.
    kept: Mutex<Option<Object>>,
    /// Whether there is one.
    has_kept: AtomicBool,
}

/// What has come of a long message.
#[derive(Debug)]
struct Begun {
    parcel: Parcel,
    total: u64,
}

/// What a look at the ring has found.
enum Look {
    Message(Parcel),
    Nothing,
    /// The beginning of a message longer than is wanted.
    TooLong(u64),
}

/// What a pop has found.
enum Popped {
    Piece(Piece),
    Nothing,
    /// Another has taken what was there: look again.
    Overtaken,
}

/// One frame, out of the ring.
struct Piece {
    kind: u8,
    parcel: Parcel,
}

impl RingIn {
    pub(crate) fn of(end: End) -> RingIn {
        RingIn::from_side(Side::of(end))
    }

    fn from_side(side: Side) -> RingIn {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let reading = Arc::new(Reading {
            ring: side.ring.clone(),
            patience: Patience::prompt(),
            quiet: Quiet::default(),
            thing: NEXT.fetch_add(1, Ordering::Relaxed),
            open: AtomicUsize::new(usize::from(!side.is_closed())),
            begun: Mutex::new(None),
            kept: Mutex::new(None),
            has_kept: AtomicBool::new(false),
        });
        RingIn {
            side,
            reading,
            watch: OnceLock::new(),
        }
    }

    pub(crate) fn open(object: Object) -> Result<RingIn, OpenError> {
        open(object, true).map(RingIn::from_side)
    }

    pub(crate) fn object(&self) -> Option<Object> {
        self.side.object()
    }

    pub(crate) fn close(&self) {
        if self.side.close() {
            self.reading.open.fetch_sub(1, Ordering::AcqRel);
            self.reading.give_up_if_closed();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.side.is_closed()
    }

    /// A descriptor that is readable while there is something to receive.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, CreateError> {
        if self.watch.get().is_none() {
            let thing: Arc<Reading> = Arc::clone(&self.reading);
            // Another thread may have been faster: then this one goes.
            let _ = self.watch.set(Watch::new(thing)?);
        }
        self.watch.get().expect("just set").fd()
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.side.ring
    }

    /// The next message, if it has no more than `most` bytes.
    #[inline]
    pub(crate) fn recv(&self, most: u64, deadline: Deadline) -> Result<Parcel, RecvError> {
        if let Some(parcel) = self.recv_quickly(most) {
            return Ok(parcel);
        }
        let received = self.recv_while_open(most, deadline);
        // Also where another took it: the descriptor is not to stay readable.
        if let Some(watch) = self.watch.get() {
            watch.settle();
        }
        if self.side.is_closed() {
            // It may have begun a message after the close.
            self.reading.give_up_if_closed();
        }
        received
    }

    /// A short message, if it is there, and no other receiver has been for a while.
    #[inline]
    fn recv_quickly(&self, most: u64) -> Option<Parcel> {
        let reading = &*self.reading;
        // A word set by another receiver meanwhile does no harm: it has taken the side away from us.
        let is_usual = !self.side.is_closed()
            && self.watch.get().is_none()
            && reading.ring.word().load(Ordering::Acquire) == 0
            && !reading.has_kept.load(Ordering::Relaxed);
        if !is_usual {
            return None;
        }
        let bytes = reading.ring.pop_quickly(most, WHOLE, &reading.quiet)?;
        reading.tell_the_others();
        Some(Parcel {
            bytes,
            attachments: Vec::new(),
        })
    }

    #[cold]
    fn recv_while_open(&self, most: u64, deadline: Deadline) -> Result<Parcel, RecvError> {
        let mut waiting = Waiting::new(&self.reading.patience, deadline);
        loop {
            if self.side.is_closed() {
                return Err(RecvError::Closed);
            }
            // Read before the look: what was sent before the last sender went is seen after it.
            let gone = self.side.state() & End::SENDERS_GONE != 0;
            if let Some(parcel) = self.recv_quickly(most) {
                return Ok(parcel);
            }
            let look = match self.reading.is_empty() {
                true => Ok(Look::Nothing),
                false => self.reading.take(most, deadline),
            };
            if look.is_err() && deadline != Deadline::NOW {
                // What is still there is another's, and so is the wake for it.
                ring_everybody(self.side.ring.items());
            }
            match look? {
                Look::Message(parcel) => return Ok(parcel),
                Look::Nothing if gone && self.side.ring.is_empty() => {
                    return Err(RecvError::Disconnected);
                }
                Look::Nothing => {}
                Look::TooLong(size) => {
                    self.close();
                    return Err(RecvError::TooLarge { size, limit: most });
                }
            }
            let paused = waiting.pause(self.side.ring.items(), || self.answers());
            paused.map_err(|_| RecvError::TimedOut)?;
        }
    }

    /// Whether a receive would have an answer, within `deadline`.
    pub(crate) fn poll(&self, deadline: Deadline) -> bool {
        let mut waiting = Waiting::new(&self.reading.patience, deadline);
        while self.answers() == 0 {
            let paused = waiting.pause(self.side.ring.items(), || self.answers());
            if paused.is_err() {
                return self.answers() > 0;
            }
        }
        // It takes nothing: the wake may have been another's.
        ring_everybody(self.side.ring.items());
        true
    }

    /// How many receives would have something to do now.
    pub(crate) fn answers(&self) -> usize {
        if self.side.is_closed() {
            usize::MAX
        } else {
            self.reading.answers()
        }
    }
}

/// Holds no end: a descriptor that somebody watches must not keep the pipe open.
impl Waitable for Reading {
    fn is_ready(&self) -> bool {
        self.answers() > 0
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        sources.bell(self.ring.items());
    }
}

impl Reading {
    /// What names this in the ring's word. Not kept: a fork brings another process here.
    fn token(&self) -> u64 {
        family::me().map_or(0, |me| me.with_thing(self.thing))
    }

    fn is_empty(&self) -> bool {
        self.ring.is_empty() && !self.has_kept.load(Ordering::Relaxed)
    }

    fn answers(&self) -> usize {
        let gone = self.ring.state().load(Ordering::Acquire) & End::SENDERS_GONE != 0;
        match self.ring.len() {
            _ if self.has_kept.load(Ordering::Relaxed) => 1,
            0 => usize::from(gone),
            _ if self.is_anothers_turn() => 0,
            frames => frames,
        }
    }

    /// Whether the next pieces belong to a message that another receiver, which lives, has begun.
    fn is_anothers_turn(&self) -> bool {
        let word = self.ring.word().load(Ordering::Acquire);
        word != 0 && word != self.token() && MemberId::of_thing(word).is_some_and(family::is_alive)
    }

    fn take(&self, most: u64, deadline: Deadline) -> Result<Look, RecvError> {
        let mut head = self.ring.head_often(deadline).map_err(refused)?;
        let mut there = None;
        loop {
            // Most have nothing to do with long messages: one load says so.
            let word = self.ring.word().load(Ordering::Acquire);
            let mine = word != 0 && word == self.token();
            if word != 0 && !mine {
                if self.is_anothers_turn() {
                    return Ok(Look::Nothing);
                }
                self.ring.word().store(0, Ordering::Release);
            }
            let popped;
            (head, popped) = self.pop(head, deadline)?;
            let piece = match popped {
                Popped::Piece(piece) => piece,
                Popped::Nothing => return Ok(Look::Nothing),
                Popped::Overtaken => continue,
            };
            if piece.kind == WHOLE && word == 0 {
                self.tell_senders(head);
                return Ok(whole(piece.parcel, most));
            }
            if let Some(found) = self.join(piece, most, mine) {
                drop(head);
                // Who slept meanwhile could not have used what was there.
                ring_everybody(self.ring.items());
                ring_everybody(self.ring.space());
                return found;
            }
            ring_everybody(self.ring.space());
            // What is there now is taken in any case; but whose deadline has passed does not wait for more,
            // however fast it comes.
            let there = there.get_or_insert_with(|| self.ring.len() + 1);
            *there = there.saturating_sub(1);
            if *there == 0 && deadline.has_passed() {
                return Ok(Look::Nothing);
            }
        }
    }

    /// There is room. Releases the lock. Who waits for more than that must not keep the wake from who
    /// waits for less.
    #[inline]
    fn tell_senders(&self, head: HeadGuard<'_>) {
        head.end_and_ring(&self.quiet);
        self.tell_the_others();
    }

    #[inline]
    fn tell_the_others(&self) {
        if self.ring.space().is_armed() {
            self.ring.space().ring_all();
        }
    }

    /// What has been begun is for nobody, once nobody can ask for it.
    fn give_up_if_closed(&self) {
        if self.open.load(Ordering::Acquire) == 0 {
            self.give_up();
        }
    }

    /// Leaves the rest of a message that was begun here to whoever passes over it.
    #[cold]
    fn give_up(&self) {
        let begun = self.begun.lock().take();
        if begun.is_some() {
            let word = self.ring.word();
            let _ = word.compare_exchange(self.token(), 0, Ordering::AcqRel, Ordering::Relaxed);
            ring_everybody(self.ring.items());
        }
    }

    /// A piece is gone that could not be read. It carried handles, so that it began a message, and what
    /// was begun before is void.
    #[cold]
    fn lost(&self, error: OpenError) -> RecvError {
        if error.is_no_space() {
            // It is where it was.
            return RecvError::NoSpace(error);
        }
        self.give_up();
        ring_everybody(self.ring.space());
        corrupt(error)
    }

    /// Joins a piece to what has come before, if that is `mine`. `Some` ends the look.
    #[cold]
    fn join(&self, piece: Piece, most: u64, mine: bool) -> Option<Result<Look, RecvError>> {
        let mut begun = self.begun.lock();
        if !mine {
            *begun = None;
        }
        match piece.kind {
            WHOLE => {
                *begun = None;
                self.ring.word().store(0, Ordering::Release);
                Some(Ok(whole(piece.parcel, most)))
            }
            FIRST => {
                *begun = None;
                self.ring.word().store(0, Ordering::Release);
                let Some(first) = Begun::new(piece.parcel) else {
                    return Some(Err(RecvError::Protocol(FORGED)));
                };
                if first.total > most {
                    return Some(Ok(Look::TooLong(first.total)));
                }
                *begun = Some(first);
                self.ring.word().store(self.token(), Ordering::Release);
                None
            }
            kind @ (MIDDLE | LAST) => {
                // Else its beginning has died with somebody, or was not wanted.
                let message = begun.as_mut()?;
                message.parcel.bytes.extend_from_slice(&piece.parcel.bytes);
                if kind == MIDDLE {
                    return None;
                }
                let message = begun.take()?;
                self.ring.word().store(0, Ordering::Release);
                Some(match message.parcel.bytes.len() as u64 == message.total {
                    true => Ok(Look::Message(message.parcel)),
                    false => Err(RecvError::Protocol(FORGED)),
                })
            }
            _ => Some(Err(RecvError::Protocol(FORGED))),
        }
    }

    /// Takes the next frame out of the ring, if there is one. The guard comes back; it may have been
    /// away.
    #[inline]
    fn pop<'a>(
        &'a self,
        mut head: HeadGuard<'a>,
        deadline: Deadline,
    ) -> Result<(HeadGuard<'a>, Popped), RecvError> {
        if self.has_kept.load(Ordering::Relaxed) {
            return Ok((head, Popped::Piece(self.load_kept()?)));
        }
        let mut bytes = Vec::new();
        let found = head.pop_quietly(&mut bytes);
        let found = found.map_err(|error| self.lost(error))?;
        let parcel = match found {
            Found::Nothing => return Ok((head, Popped::Nothing)),
            Found::Bytes => {
                head.settle();
                Parcel {
                    bytes,
                    attachments: Vec::new(),
                }
            }
            Found::Parcel(stored) => {
                *self.kept.lock() = Some(stored);
                return Ok((head, Popped::Piece(self.load_kept()?)));
            }
            Found::Files(stored) => return self.pop_with_files(head, &stored, deadline),
        };
        Ok((head, Popped::Piece(piece(parcel)?)))
    }

    /// The piece that was taken out of the ring before, under the head lock.
    #[cold]
    fn load_kept(&self) -> Result<Piece, RecvError> {
        let mut kept = self.kept.lock();
        let loaded = kept.as_ref().map(parcel::load);
        let lacks_memory = matches!(&loaded, Some(Err(error)) if error.is_no_space());
        self.has_kept.store(lacks_memory, Ordering::Relaxed);
        if !lacks_memory {
            *kept = None;
        }
        drop(kept);
        match loaded {
            Some(loaded) => piece(loaded.map_err(|error| self.lost(error))?),
            // Another thread of ours was faster, which the lock does not allow.
            None => Err(RecvError::Protocol(FORGED)),
        }
    }

    /// Takes a piece that carries open files: first the files, without the lock, which may find no room in
    /// this process; then the piece, if nobody else has taken it meanwhile.
    #[cold]
    fn pop_with_files<'a>(
        &'a self,
        head: HeadGuard<'a>,
        stored: &Object,
        deadline: Deadline,
    ) -> Result<(HeadGuard<'a>, Popped), RecvError> {
        let at = head.position();
        drop(head);
        let loaded = parcel::load(stored);
        if let Err(error) = &loaded
            && error.is_too_many_files()
        {
            return Err(RecvError::TooManyFiles);
        }
        let mut head = self.ring.head_often(deadline).map_err(refused)?;
        if head.position() != at {
            return Ok((head, Popped::Overtaken));
        }
        if let Err(error) = &loaded
            && error.is_no_space()
        {
            return Err(RecvError::NoSpace(error.clone()));
        }
        let popped = head.pop(&mut Vec::new());
        let loaded = popped.and(loaded).map_err(|error| self.lost(error))?;
        Ok((head, Popped::Piece(piece(loaded)?)))
    }
}

const FORGED: &str = "what came is no message";

/// A message in one piece.
fn whole(parcel: Parcel, most: u64) -> Look {
    match parcel.bytes.len() as u64 {
        size if size > most => Look::TooLong(size),
        _ => Look::Message(parcel),
    }
}

/// Takes the kind off the end of a frame.
#[inline]
fn piece(mut parcel: Parcel) -> Result<Piece, RecvError> {
    match parcel.bytes.pop() {
        Some(kind) => Ok(Piece { kind, parcel }),
        None => Err(RecvError::Protocol(FORGED)),
    }
}

impl Begun {
    fn new(mut parcel: Parcel) -> Option<Begun> {
        let at = parcel.bytes.len().checked_sub(size_of::<u64>())?;
        let total = parcel.bytes.split_off(at);
        let total = u64::from_le_bytes(total.try_into().ok()?);
        // Address space only: memory comes with the bytes. Refused, the buffer grows as they come.
        let more = usize::try_from(total).ok()?.checked_sub(at)?;
        let _ = parcel.bytes.try_reserve_exact(more);
        Some(Begun { parcel, total })
    }
}

fn corrupt(error: OpenError) -> RecvError {
    if error.is_too_many_files() {
        RecvError::TooManyFiles
    } else {
        RecvError::Corrupt(error)
    }
}

fn refused(error: LockError) -> RecvError {
    match error {
        LockError::Refused(refusal) => RecvError::Limit(refusal.to_string()),
        _ => RecvError::TimedOut,
    }
}

impl Drop for Reading {
    /// The rest of a message that was begun here is for nobody.
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Drop for RingIn {
    fn drop(&mut self) {
        if !self.side.is_closed() {
            self.reading.open.fetch_sub(1, Ordering::AcqRel);
            self.reading.give_up_if_closed();
        }
    }
}
