//! Bytes in one direction between a client and its server, in the family's memory: a ring whose frames
//! are pieces of a stream. Beside it there is always the connection's socket, by which either side wakes
//! the other and hears of its end; see `PROTOCOL.md`.
//!
//! The ring's `state` says who is to be woken:
//!
//! | bit | meaning | set by | cleared by |
//! |---|---|---|---|
//! | 0 | the reader sleeps, or will not look again by itself | the reader, before its last look; from the start | the writer that will wake it; the reader when it is awake |
//! | 1 | the writer waits for room | the writer, before its last try | the reader that will wake it |
//!
//! Whoever sets a bit looks once more behind a fence; whoever has pushed or popped looks at the bits
//! behind a fence: one of them sees the other. Who clears a bit that the other set owes it a wake, by the
//! socket. A death on the way shows on the socket, too, and so wakes as well.

use std::sync::atomic::{Ordering, fence};

use multiproc_shm::{CreateError, Handle, Ring, family};
use multiproc_sys::clock::Deadline;

const READER_SLEEPS: u32 = 1;
const WRITER_WAITS: u32 = 2;

/// `b"lane"`
const TAG: u32 = u32::from_le_bytes(*b"lane");

/// Bytes of a ring, for which the arena has a place of 32 KiB. Longer messages go through it piece by
/// piece.
const ROOM: usize = 16 << 10;

/// The longest piece: some fit, so that one side writes while the other reads.
const PIECE: usize = ROOM / 8;

/// What is in the ring cannot be true, or its lock is not to be had: the other side has no right to it.
#[derive(Debug)]
pub(crate) struct Broken;

/// One direction. Each side has one thread at a time at it.
#[derive(Debug)]
pub(crate) struct Lane(Ring);

impl Lane {
    /// An empty one, whose reader does not look yet.
    pub(crate) fn create() -> Result<Lane, CreateError> {
        let ring = Ring::create(TAG, ROOM)?;
        ring.state().store(READER_SLEEPS, Ordering::Release);
        Ok(Lane(ring))
    }

    /// The one that another member of the family has made and keeps; `None` if there is none.
    pub(crate) fn open(words: [u64; 3]) -> Option<Lane> {
        let object = family::open(Handle::from_words(words)).ok()?;
        let object = object.expect_tag(TAG, "a manager's lane").ok()?;
        Ring::open(object).ok().map(Lane)
    }

    /// What [`Lane::open`] needs.
    pub(crate) fn to_words(&self) -> [u64; 3] {
        self.0.object().handle().to_words()
    }

    /// Writes as much of `bytes` as there is room for; how much that is.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut written = 0;
        let mut tail = self.0.tail(Deadline::NOW).map_err(|_| Broken)?;
        for piece in bytes.chunks(PIECE) {
            if tail.push_quietly(&[piece], 0).is_err() {
                break;
            }
            written += piece.len();
        }
        if written > 0 {
            tail.publish();
        }
        Ok(written)
    }

    /// Appends all that has been written to `buffer`.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> Result<(), Broken> {
        let mut head = self.0.head(Deadline::NOW).map_err(|_| Broken)?;
        // Not more than it holds, however fast the writer is.
        while buffer.len() < ROOM {
            match head.pop_quietly(buffer) {
                Ok(multiproc_shm::Found::Bytes) => {}
                Ok(multiproc_shm::Found::Nothing) => break,
                _ => return Err(Broken),
            }
        }
        head.settle();
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reader will not look again before it is woken, unless this is false: then there is something.
    #[must_use]
    pub(crate) fn reader_sleeps(&self) -> bool {
        self.0.state().fetch_or(READER_SLEEPS, Ordering::SeqCst);
        // SYNC POINT lane
        fence(Ordering::SeqCst);
        self.is_empty()
    }

    /// The reader looks again by itself.
    pub(crate) fn reader_is_awake(&self) {
        self.0.state().fetch_and(!READER_SLEEPS, Ordering::SeqCst);
    }

    /// The writer is to be woken when there is room. It tries once more before it relies upon that.
    pub(crate) fn writer_waits(&self) {
        self.0.state().fetch_or(WRITER_WAITS, Ordering::SeqCst);
        // SYNC POINT lane
        fence(Ordering::SeqCst);
    }

    /// After a write: whether the caller owes the reader a wake.
    #[must_use]
    pub(crate) fn must_wake_reader(&self) -> bool {
        self.must_wake(READER_SLEEPS)
    }

    /// After a read: whether the caller owes the writer a wake.
    #[must_use]
    pub(crate) fn must_wake_writer(&self) -> bool {
        self.must_wake(WRITER_WAITS)
    }

    fn must_wake(&self, bit: u32) -> bool {
        // SYNC POINT lane
        fence(Ordering::SeqCst);
        let state = self.0.state();
        state.load(Ordering::Relaxed) & bit != 0
            && state.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }
}

/// Both directions of a connection.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// From the client to the server.
    pub(crate) requests: Lane,
    pub(crate) replies: Lane,
}

/// What [`Lanes::open`] needs.
pub(crate) type LaneWords = [[u64; 3]; 2];

impl Lanes {
    pub(crate) fn create() -> Result<Lanes, CreateError> {
        Ok(Lanes {
            requests: Lane::create()?,
            replies: Lane::create()?,
        })
    }

    pub(crate) fn open([requests, replies]: LaneWords) -> Option<Lanes> {
        Some(Lanes {
            requests: Lane::open(requests)?,
            replies: Lane::open(replies)?,
        })
    }

    pub(crate) fn to_words(&self) -> LaneWords {
        [self.requests.to_words(), self.replies.to_words()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_longer_than_the_ring_comes_through_piece_by_piece() {
        let lane = Lane::create().expect("memory");
        let other = Lane::open(lane.to_words()).expect("the same");
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let (mut done, mut received) = (0, Vec::new());
        while received.len() < sent.len() {
            done += lane.write(&sent[done..]).expect("sound");
            let mut piece = Vec::new();
            other.read(&mut piece).expect("sound");
            assert!(!piece.is_empty());
            received.extend(piece);
        }
        assert_eq!(received, sent);
        assert_eq!(lane.write(&[]).expect("sound"), 0);
    }

    #[test]
    fn each_side_is_owed_one_wake_for_each_sleep() {
        let lane = Lane::create().expect("memory");
        // Nobody looks at a new one.
        lane.write(b"a").expect("sound");
        assert!(lane.must_wake_reader() && !lane.must_wake_reader());
        assert!(!lane.reader_sleeps(), "there is something");
        lane.reader_is_awake();
        assert!(!lane.must_wake_reader());
        let mut buffer = Vec::new();
        lane.read(&mut buffer).expect("sound");
        assert_eq!(buffer, b"a");
        assert!(lane.reader_sleeps() && lane.must_wake_reader());
        assert!(!lane.must_wake_writer());
        lane.writer_waits();
        assert!(lane.must_wake_writer() && !lane.must_wake_writer());
    }

    #[test]
    fn what_is_no_lane_is_not_opened() {
        assert!(Lane::open([0; 3]).is_none());
        let other = Ring::create(TAG + 1, 64).expect("memory");
        assert!(Lane::open(other.object().handle().to_words()).is_none());
    }
}
