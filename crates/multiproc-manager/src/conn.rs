//! One client's connection, as the server sees it: what came in and is to be carried out, and what
//! is to be written.
//!
//! It knows nothing of objects, and never waits. The invariant: **requests are carried out in the order
//! in which they were sent, and only while the client reads its answers.**

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use multiproc_shm::Hope;

use crate::lane::{Broken, Lanes};
use crate::link::{self, Control, End, Reader, Said};
use crate::message::{Failure, Reply, Request};

/// A client that does not read its replies is read no further when so many bytes wait for it.
const MOST_WAITING: usize = 1 << 20;

/// How often a lane is read for one message, before others have their turn.
const READS: u32 = 4;

/// One client's connection.
pub(crate) struct Conn {
    stream: TcpStream,
    reader: Reader,
    limit: u64,
    out: Vec<u8>,
    /// How much of `out` has been written.
    written: usize,
    /// Requests that came in and are carried out once their answers have room.
    requests: VecDeque<Request>,
    /// What the watch waits for: reading, writing.
    pub(crate) watched: (bool, bool),
    stage: Stage,
}

/// Where the messages go.
enum Stage {
    /// Through the socket, for good.
    Socket,
    /// Through the socket, until so many more were answered.
    Early(u64),
    /// The client has been told of these.
    Offered(Lanes),
    /// Requests come by a lane.
    Turned(Box<Turned>),
}

struct Turned {
    lanes: Lanes,
    reader: Reader,
    /// Replies go by the other lane: there is nothing left of what began in the socket.
    replies_too: bool,
    /// The client will wake us for the next request.
    asleep: bool,
    attention: Attention,
}

/// Whether the server looks at a lane again by itself.
#[derive(Default)]
struct Attention {
    is_given: bool,
    /// Something came, without a wake, since it is given.
    paid_off: bool,
    hope: Hope,
}

impl Conn {
    /// Over a stream that does not block; no request has more than `limit` bytes. After so many answers
    /// the client is offered lanes.
    pub(crate) fn new(stream: TcpStream, limit: u64, lanes_after: Option<u64>) -> Conn {
        Conn {
            stream,
            reader: Reader::new(limit),
            limit,
            out: Vec::new(),
            written: 0,
            requests: VecDeque::new(),
            watched: (true, false),
            stage: lanes_after.map_or(Stage::Socket, Stage::Early),
        }
    }

    /// Reads once what the client has sent through the socket.
    pub(crate) fn read(&mut self) -> Result<bool, End> {
        let (requests, stage, limit) = (&mut self.requests, &mut self.stage, self.limit);
        let take = |said| match (said, &mut *stage) {
            (Said::Message(_), Stage::Turned(_)) => Err(End::Protocol),
            (Said::Message(request), _) => {
                requests.push_back(request);
                Ok(())
            }
            (Said::Control(Control::Turn(turn)), _) => stage.turn(turn, limit),
            (Said::Control(Control::Wake), Stage::Turned(turned)) => {
                turned.asleep = false;
                Ok(())
            }
            (Said::Control(_), _) => Err(End::Protocol),
        };
        let more = self.reader.read(&self.stream, take)?;
        if self.waiting() == 0 {
            self.nothing_left();
        }
        Ok(more)
    }

    /// The next request to be carried out.
    pub(crate) fn next_request(&mut self) -> Result<Option<Request>, End> {
        for _ in 0..READS {
            if !self.requests.is_empty() || !self.read_lane()? {
                break;
            }
        }
        Ok(self.requests.pop_front())
    }

    /// Takes what is in the lane; if that is nothing and nobody is to look again, says so there. Whether
    /// there was something.
    fn read_lane(&mut self) -> Result<bool, End> {
        let Stage::Turned(turned) = &mut self.stage else {
            return Ok(false);
        };
        let lane = &turned.lanes.requests;
        let idle = lane.is_empty();
        if idle && !turned.attention.is_given {
            turned.asleep = lane.reader_sleeps();
        }
        if lane.is_empty() {
            return Ok(false);
        }
        turned.attention.paid_off |= turned.attention.is_given;
        let requests = &mut self.requests;
        turned.reader.read_lane(lane, |said| match said {
            Said::Message(request) => {
                requests.push_back(request);
                Ok(())
            }
            Said::Control(_) => Err(End::Protocol),
        })?;
        if lane.must_wake_writer() {
            self.wake();
        }
        Ok(true)
    }

    /// Whether [`Conn::next_request`] should be asked.
    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
            || match &self.stage {
                Stage::Turned(turned) if turned.attention.is_given => self.has_come(),
                Stage::Turned(turned) => !turned.asleep,
                _ => false,
            }
    }

    /// Whether there is something in the lane, and room for the answer.
    pub(crate) fn has_come(&self) -> bool {
        match &self.stage {
            Stage::Turned(turned) => !turned.lanes.requests.is_empty() && self.has_room(),
            _ => false,
        }
    }

    /// Asks whether to look at the lane again by itself, now that something has come; if so, the client
    /// need not wake anybody from now on. If not, it will.
    pub(crate) fn wants_attention(&mut self) -> bool {
        match &self.stage {
            Stage::Turned(turned) if !turned.attention.is_given => {
                turned.attention.hope.next() && self.get_attention()
            }
            _ => false,
        }
    }

    /// Whether it must be looked at again although the client will not say so: a long message is on its
    /// way, and others have their turn first.
    pub(crate) fn needs_attention(&mut self) -> bool {
        match &self.stage {
            Stage::Turned(turned) if !turned.attention.is_given && !turned.asleep => {
                self.has_room() && self.get_attention()
            }
            _ => false,
        }
    }

    fn get_attention(&mut self) -> bool {
        let Stage::Turned(turned) = &mut self.stage else {
            return false;
        };
        turned.attention.is_given = true;
        turned.attention.paid_off = false;
        turned.lanes.requests.reader_is_awake();
        true
    }

    /// Nobody looks by himself from now on; [`Conn::has_requests`] says that the client is to be told.
    pub(crate) fn lose_attention(&mut self) {
        if let Stage::Turned(turned) = &mut self.stage {
            turned.asleep = false;
            turned.attention.is_given = false;
            turned.attention.hope.learn(turned.attention.paid_off);
        }
    }

    /// What the watch should wait for: reading, writing.
    pub(crate) fn wanted(&self) -> (bool, bool) {
        match &self.stage {
            // Wakes are always heard.
            Stage::Turned(turned) => (true, !turned.replies_too && self.waiting() > 0),
            _ => (self.has_room(), self.waiting() > 0),
        }
    }

    /// Writes what is left, which may take so long.
    pub(crate) fn finish(&mut self, limit: Duration) {
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.set_write_timeout(Some(limit));
        let _ = self.stream.set_read_timeout(Some(limit));
        let until = Instant::now() + limit;
        // What does not fit in a lane goes on with each wake.
        while self.write().is_ok()
            && self.waiting() > 0
            && Instant::now() < until
            && self.read().is_ok()
        {}
    }

    /// Bytes that are to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether the client reads its answers, or has not been given many.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < MOST_WAITING
    }

    pub(crate) fn put(&mut self, reply: Reply, limit: u64) {
        let start = self.out.len();
        let seq = reply.seq;
        let failure = match link::put(&mut self.out, &reply) {
            Ok(size) if size <= limit => None,
            Ok(size) => Some(Failure::TooLarge { size, limit }),
            Err(text) => Some(Failure::Encode(text)),
        };
        if let Some(failure) = failure {
            self.out.truncate(start);
            let result = Err(failure);
            link::put(&mut self.out, &Reply { seq, result }).expect("a failure can be encoded");
        }
        if let Stage::Early(left) = &mut self.stage {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => self.offer(),
            }
        }
    }

    /// Tells the client of lanes, if there is memory for them.
    fn offer(&mut self) {
        self.stage = match Lanes::create() {
            Ok(lanes) => {
                link::put_control(&mut self.out, &Control::Lanes(lanes.to_words()));
                Stage::Offered(lanes)
            }
            Err(_) => Stage::Socket,
        };
    }

    /// Writes as much as there is room for.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        match &self.stage {
            Stage::Turned(turned) if turned.replies_too => self.write_lane()?,
            _ => self.write_socket()?,
        }
        if self.waiting() == 0 {
            self.nothing_left();
        }
        Ok(())
    }

    fn write_socket(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.written += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_lane(&mut self) -> io::Result<()> {
        let Stage::Turned(turned) = &self.stage else {
            return Ok(());
        };
        let lane = &turned.lanes.replies;
        let mut written = self.written;
        let mut write = || -> io::Result<bool> {
            let len = lane.write(&self.out[written..]);
            written += len.map_err(|Broken| io::ErrorKind::InvalidData)?;
            Ok(written == self.out.len())
        };
        if !write()? {
            lane.writer_waits();
            write()?;
        }
        let must_wake = written > self.written && lane.must_wake_reader();
        self.written = written;
        if must_wake {
            self.wake();
        }
        Ok(())
    }

    /// Wakes the client.
    fn wake(&mut self) {
        match &self.stage {
            // In between it would end up inside of another frame. What is left there wakes, too, in its turn.
            Stage::Turned(turned) if !turned.replies_too => {
                link::put_control(&mut self.out, &Control::Wake);
            }
            // If there is no room, more wakes are on their way than anybody needs; if the client has
            // gone, the watch says so.
            _ => drop((&self.stream).write(link::wake_frame())),
        }
    }

    /// All that was to be written has been.
    fn nothing_left(&mut self) {
        self.out.clear();
        self.out.shrink_to(64 << 10);
        self.written = 0;
        if let Stage::Turned(turned) = &mut self.stage {
            turned.replies_too = true;
        }
    }
}

impl Stage {
    /// The client takes what it was offered, or does not.
    fn turn(&mut self, turn: bool, limit: u64) -> Result<(), End> {
        match std::mem::replace(self, Stage::Socket) {
            Stage::Offered(lanes) if turn => {
                *self = Stage::Turned(Box::new(Turned {
                    lanes,
                    reader: Reader::new(limit),
                    replies_too: false,
                    asleep: false,
                    attention: Attention::default(),
                }));
                Ok(())
            }
            Stage::Offered(_) => Ok(()),
            _ => Err(End::Protocol),
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
