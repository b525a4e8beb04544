//! The ways between a client and its server: a socket, and lanes in the family's memory once the
//! server has offered some and the client has turned to them. The socket stays, for wakes, and because
//! it ends with the server.
//!
//! The invariant: **one thread sends at a time, one receives**; `Client` sees to that.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use multiproc_shm::Hope;
use multiproc_sys::clock::Deadline;
use multiproc_sys::{poll, processors, stream};

use crate::lane::{Broken, Lanes};
use crate::link::{self, Control, End, Reader, Said};
use crate::message::Reply;

/// Looks before anything else: about a microsecond, in which a server that is awake answers.
const LOOKS: u32 = 24;

/// How long a wait stays awake where that has paid off. It must be longer than it takes the server to be
/// woken and to answer.
const HOPEFUL: Duration = Duration::from_micros(20);

#[derive(Debug)]
pub(super) struct Ways {
    stream: TcpStream,
    /// Whether it pays off to stay awake for the socket.
    hope: Hope,
    /// What the server has offered; `None` if that cannot be reached from here.
    offered: OnceLock<Option<Shared>>,
}

#[derive(Debug)]
struct Shared {
    lanes: Lanes,
    hope: Hope,
}

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) buffer: Vec<u8>,
    /// How much of it has been sent.
    sent: usize,
    /// The answer to the offer is in the buffer, or has been sent.
    answers: bool,
    /// The offer has been answered: from then on requests go by the lane, if there is one.
    answered: bool,
}

/// How far sending has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// A lane has no room for the rest.
    LaneFull,
    /// The socket has none.
    SocketFull,
}

/// What has come in parts.
#[derive(Debug)]
pub(super) struct Inbound {
    socket: Reader,
    lane: Reader,
}

impl Inbound {
    pub(super) fn new() -> Inbound {
        let reader = || Reader::new(u64::MAX);
        Inbound {
            socket: reader(),
            lane: reader(),
        }
    }
}

impl Ways {
    /// Over a stream that blocks.
    pub(super) fn new(stream: TcpStream) -> Ways {
        Ways {
            stream,
            hope: Hope::default(),
            offered: OnceLock::new(),
        }
    }

    fn shared(&self) -> Option<&Shared> {
        self.offered.get()?.as_ref()
    }

    /// Sends what there is room for of what is in `out`.
    pub(super) fn send(&self, out: &mut Outbound) -> io::Result<Sent> {
        if out.buffer.is_empty() {
            return Ok(Sent::All);
        }
        match self.shared() {
            Some(shared) if out.answered => {
                let lane = &shared.lanes.requests;
                let written = lane.write(&out.buffer[out.sent..]);
                out.sent += written.map_err(|Broken| io::ErrorKind::InvalidData)?;
                if lane.must_wake_reader() {
                    self.wake();
                }
                if out.sent < out.buffer.len() {
                    return Ok(Sent::LaneFull);
                }
            }
            shared => {
                if let (false, Some(_)) = (out.answers, self.offered.get()) {
                    link::put_control(&mut out.buffer, &Control::Turn(shared.is_some()));
                    out.answers = true;
                }
                while out.sent < out.buffer.len() {
                    match stream::try_send(self.stream.as_fd(), &out.buffer[out.sent..]) {
                        Err(full) if io::Error::from(full).kind() == io::ErrorKind::WouldBlock => {
                            return Ok(Sent::SocketFull);
                        }
                        sent => out.sent += sent?,
                    }
                }
                out.answered = out.answers;
            }
        }
        out.clear();
        Ok(Sent::All)
    }

    /// Waits until the socket has room or something to read; whether the latter.
    pub(super) fn wait_for_socket(&self) -> io::Result<bool> {
        Ok(poll::readable_or_writable(self.stream.as_fd())?)
    }

    /// Whether the socket has something to read now. An error is found again by whoever reads.
    pub(super) fn is_readable(&self) -> bool {
        poll::readable(self.stream.as_fd(), Deadline::NOW).unwrap_or(true)
    }

    /// Looks for an answer on the socket for as long as that pays off. What sleeps must be woken, which takes
    /// the server longer than its answer.
    fn stay_awake(&self) {
        if processors::online() < 2 || !self.hope.next() {
            return;
        }
        let began = Instant::now();
        let mut found = false;
        while !found && began.elapsed() < HOPEFUL {
            // The server may be waiting for this processor.
            std::thread::yield_now();
            found = self.is_readable();
        }
        self.hope.learn(found);
    }

    /// The server is to wake whoever receives when there is room. Try to send once more after it.
    pub(super) fn want_room(&self) {
        if let Some(shared) = self.shared() {
            shared.lanes.requests.writer_waits();
        }
    }

    /// An end of the stream shows wherever something is read.
    fn wake(&self) {
        let _ = (&self.stream).write_all(link::wake_frame());
    }

    /// Waits until something comes; replies are appended to `replies`. Returns without any where the
    /// server has made room.
    pub(super) fn receive(
        &self,
        inbound: &mut Inbound,
        replies: &mut Vec<Reply>,
    ) -> Result<(), End> {
        let mut take = |said| match said {
            Said::Message(reply) => {
                replies.push(reply);
                Ok(())
            }
            Said::Control(Control::Lanes(words)) => {
                let shared = Lanes::open(words).map(|lanes| Shared {
                    lanes,
                    hope: Hope::default(),
                });
                self.offered.set(shared).map_err(|_| End::Protocol)
            }
            Said::Control(Control::Wake) => Ok(()),
            Said::Control(Control::Turn(_)) => Err(End::Protocol),
        };
        let Some(shared) = self.shared() else {
            self.stay_awake();
            return inbound.socket.read(&self.stream, take).map(drop);
        };
        let lane = &shared.lanes.replies;
        let mut end = Ok(false);
        if !shared.stay_awake() {
            if lane.reader_sleeps() {
                end = inbound.socket.read(&self.stream, &mut take);
            }
            lane.reader_is_awake();
        }
        // Also at the end: what was answered before it is there.
        if !lane.is_empty() {
            inbound.lane.read_lane(lane, take)?;
        }
        if lane.must_wake_writer() {
            self.wake();
        }
        end.map(drop)
    }
}

impl Shared {
    /// Looks for an answer for as long as that pays off; whether there is one.
    fn stay_awake(&self) -> bool {
        let has_come = || !self.lanes.replies.is_empty();
        if processors::online() < 2 {
            return has_come();
        }
        for _ in 0..LOOKS {
            if has_come() {
                return true;
            }
            std::hint::spin_loop();
        }
        if !self.hope.next() {
            return has_come();
        }
        let began = Instant::now();
        let mut found = false;
        while !found && began.elapsed() < HOPEFUL {
            // The server may be waiting for this processor.
            std::thread::yield_now();
            found = has_come();
        }
        self.hope.learn(found);
        found
    }
}

impl Outbound {
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(64 << 10);
        self.sent = 0;
    }
}
