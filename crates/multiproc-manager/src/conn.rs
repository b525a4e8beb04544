//! One client's connection, as the server sees it: what came in and is to be carried out, and what
//! is to be written.
//!
//! It knows nothing of objects, and never waits. The invariant: **requests are carried out in the order
//! in which they were sent, and only while the client reads its answers.**

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::link::{self, End, Reader};
use crate::message::{Failure, Reply, Request};

/// A client that does not read its replies is read no further when so many bytes wait for it.
const MOST_WAITING: usize = 1 << 20;

/// One client's connection.
pub(crate) struct Conn {
    stream: TcpStream,
    reader: Reader,
    out: Vec<u8>,
    /// How much of `out` has been written.
    written: usize,
    /// Requests that came in and are carried out once their answers have room.
    requests: VecDeque<Request>,
    /// What the watch waits for: reading, writing.
    pub(crate) watched: (bool, bool),
}

impl Conn {
    /// Over a stream that does not block; no request has more than `limit` bytes.
    pub(crate) fn new(stream: TcpStream, limit: u64) -> Conn {
        Conn {
            stream,
            reader: Reader::new(limit),
            out: Vec::new(),
            written: 0,
            requests: VecDeque::new(),
            watched: (true, false),
        }
    }

    /// Reads once what the client has sent.
    pub(crate) fn read(&mut self) -> Result<bool, End> {
        let requests = &mut self.requests;
        let take = |request| requests.push_back(request);
        self.reader.read(&self.stream, take)
    }

    /// The next request to be carried out.
    pub(crate) fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// What the watch should wait for: reading, writing.
    pub(crate) fn wanted(&self) -> (bool, bool) {
        (self.has_room(), self.waiting() > 0)
    }

    /// Writes what is left, which may take so long.
    pub(crate) fn finish(&mut self, limit: Duration) {
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.set_write_timeout(Some(limit));
        let _ = self.write();
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
            Ok(size) if size <= limit => return,
            Ok(size) => Failure::TooLarge { size, limit },
            Err(text) => Failure::Encode(text),
        };
        self.out.truncate(start);
        let result = Err(failure);
        link::put(&mut self.out, &Reply { seq, result }).expect("a failure can be encoded");
    }

    /// Writes as much as there is room for.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.written += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out.shrink_to(64 << 10);
        self.written = 0;
        Ok(())
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
