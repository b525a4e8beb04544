//! Where strangers wait until they have shown that they know the key.
//!
//! Nobody waits for anybody: every handshake goes on when its peer has said something, and one silent
//! peer costs the others nothing. The invariant: at most [`MOST`] peers wait here (the oldest is dropped
//! for a new one), each for at most [`LIMIT`], each having been read [`MOST_READ`](super::handshake::MOST_READ)
//! bytes at most.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::poll::{self, Bell, Watch};
use multiproc_sys::{Errno, stream};

use super::bound::{Bound, check_user};
use super::handshake::{Handshake, MOST_READ, Protocol, Role};
use super::key::Key;
use crate::error::ConnectError;

/// How many peers may be in the middle of a handshake.
pub const MOST: usize = 64;

/// How long one may take.
pub const LIMIT: Duration = Duration::from_secs(5);

/// How many of those turned away are remembered.
const REMEMBERED: usize = 64;

/// Events looked at in one turn: under a flood, those who came through must be served, too.
const AT_ONCE: usize = 1024;

const LISTENER: u64 = 0;
const BELL: u64 = 1;
const FIRST_PEER: u64 = 2;

struct Peer {
    token: u64,
    fd: OwnedFd,
    handshake: Handshake,
    until: Deadline,
}

/// A listening socket, and those who are on their way in.
pub struct Gate {
    bound: Bound,
    protocol: Protocol,
    key: Key,
    /// The listening socket, the bell, and every peer.
    watch: Watch,
    /// Rung while somebody stands in `inside`.
    bell: Bell,
    /// Oldest first.
    peers: VecDeque<Peer>,
    next_token: u64,
    inside: VecDeque<OwnedFd>,
    refused: VecDeque<ConnectError>,
}

impl Gate {
    /// A gate for those who speak `protocol` and know `key`.
    ///
    /// # Errors
    ///
    /// `EMFILE` and the like.
    pub fn new(bound: Bound, protocol: Protocol, key: Key) -> Result<Gate, Errno> {
        let (watch, bell) = (Watch::new()?, Bell::new()?);
        watch.add(bound.as_fd(), LISTENER)?;
        watch.add(bell.as_fd(), BELL)?;
        Ok(Gate {
            bound,
            protocol,
            key,
            watch,
            bell,
            peers: VecDeque::new(),
            next_token: FIRST_PEER,
            inside: VecDeque::new(),
            refused: VecDeque::new(),
        })
    }

    /// Where it listens.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Changes the key; handshakes under way are dropped.
    pub fn set_key(&mut self, key: Key) {
        self.key = key;
        while !self.peers.is_empty() {
            self.dismiss(0, ConnectError::Refused);
        }
    }

    /// Does all that can be done without waiting. Call it whenever the gate's descriptor is readable,
    /// and at [`Gate::next_limit`].
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` if a peer cannot be accepted for want of descriptors.
    pub fn turn(&mut self) -> Result<(), Errno> {
        let mut tokens = Vec::new();
        let mut seen = 0;
        while seen < AT_ONCE {
            tokens.clear();
            self.watch.wait(&mut tokens, Deadline::NOW)?;
            tokens.retain(|&token| token != BELL);
            if tokens.is_empty() {
                break;
            }
            seen += tokens.len();
            for &token in &tokens {
                match token {
                    LISTENER => self.accept()?,
                    peer => self.go_on(peer),
                }
            }
        }
        self.dismiss_late();
        self.ring();
        Ok(())
    }

    /// The next who came through.
    pub fn enter(&mut self) -> Option<OwnedFd> {
        let next = self.inside.pop_front();
        self.ring();
        next
    }

    /// When the next peer will have taken too long.
    pub fn next_limit(&self) -> Deadline {
        self.peers
            .front()
            .map_or(Deadline::NEVER, |peer| peer.until)
    }

    /// Those turned away since the last call, at most the last 64.
    pub fn take_refused(&mut self) -> Vec<ConnectError> {
        self.refused.drain(..).collect()
    }

    fn ring(&self) {
        if self.inside.is_empty() {
            self.bell.silence();
        } else {
            self.bell.ring();
        }
    }

    fn accept(&mut self) -> Result<(), Errno> {
        let fd = loop {
            match self.bound.accept() {
                Ok(fd) => break fd,
                Err(Errno::EAGAIN | Errno::ECONNABORTED) => return Ok(()),
                // Those who are known to nobody make room first.
                Err(Errno::EMFILE) if !self.peers.is_empty() => {
                    self.dismiss(0, ConnectError::Refused);
                }
                Err(errno) => return Err(errno),
            }
        };
        if self.peers.len() == MOST {
            self.dismiss(0, ConnectError::Refused);
        }
        if let Err(error) = check_user(fd.as_fd()) {
            self.remember(error);
            return Ok(());
        }
        let mut handshake = Handshake::new(self.protocol, Role::Server, &self.key);
        let token = self.next_token;
        if !say(fd.as_fd(), &handshake.take_output()) || self.watch.add(fd.as_fd(), token).is_err()
        {
            self.remember(ConnectError::Refused);
            return Ok(());
        }
        self.next_token += 1;
        self.peers.push_back(Peer {
            token,
            fd,
            handshake,
            until: Deadline::after(LIMIT),
        });
        Ok(())
    }

    /// Reads what a peer has said.
    fn go_on(&mut self, token: u64) {
        // Tokens grow, so the peers are in order. One of this turn's may have been dropped meanwhile.
        let Ok(index) = self.peers.binary_search_by_key(&token, |peer| peer.token) else {
            return;
        };
        let peer = &mut self.peers[index];
        let mut buffer = [0; MOST_READ];
        let wanted = &mut buffer[..peer.handshake.wants()];
        let fed = match hear(peer.fd.as_fd(), wanted) {
            Err(Errno::EAGAIN) => return,
            Err(errno) => Err(errno.into()),
            Ok(0) => Err(peer.handshake.ended()),
            Ok(len) => peer.handshake.feed(&wanted[..len]),
        };
        let said = say(peer.fd.as_fd(), &peer.handshake.take_output());
        match fed {
            Err(error) => self.dismiss(index, error),
            Ok(()) if !said => self.dismiss(index, ConnectError::Refused),
            Ok(()) if peer.handshake.is_done() => {
                if let Some(peer) = self.peers.remove(index) {
                    self.watch.remove(peer.fd.as_fd());
                    self.inside.push_back(peer.fd);
                }
            }
            Ok(()) => {}
        }
    }

    fn dismiss_late(&mut self) {
        while self
            .peers
            .front()
            .is_some_and(|peer| peer.until.has_passed())
        {
            self.dismiss(0, ConnectError::TimedOut);
        }
    }

    fn dismiss(&mut self, index: usize, why: ConnectError) {
        if let Some(peer) = self.peers.remove(index) {
            self.watch.remove(peer.fd.as_fd());
            leave(peer.fd.as_fd());
        }
        self.remember(why);
    }

    fn remember(&mut self, error: ConnectError) {
        if self.refused.len() == REMEMBERED {
            self.refused.pop_front();
        }
        self.refused.push_back(error);
    }
}

/// Says all of it, or not: the few bytes of a handshake always fit into a new socket's buffer.
fn say(fd: BorrowedFd<'_>, bytes: &[u8]) -> bool {
    bytes.is_empty() || stream::send(fd, &[bytes], &[]) == Ok(bytes.len())
}

/// Reads some of `wanted`. Descriptors that come along are closed: nobody is trusted yet.
fn hear(fd: BorrowedFd<'_>, wanted: &mut [u8]) -> Result<usize, Errno> {
    let received = match stream::recv(fd, wanted) {
        // Said once, and before what waits: the other side went without having read all of ours.
        Err(Errno::ECONNRESET) => stream::recv(fd, wanted),
        received => received,
    };
    received.map(|received| received.len)
}

/// Reads what is left before the connection is closed: with bytes unread, the kernel would take from the
/// other side those of ours that it has not read yet, and with them the reason.
fn leave(fd: BorrowedFd<'_>) {
    let _ = hear(fd, &mut [0; 256 - MOST_READ]);
}

impl AsFd for Gate {
    /// Readable when there may be something to do: call [`Gate::turn`], then [`Gate::enter`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("address", self.bound.address())
            .field("waiting", &self.peers.len())
            .field("inside", &self.inside.len())
            .finish_non_exhaustive()
    }
}

/// Goes through the gate of the listener that `fd` is connected to.
///
/// # Errors
///
/// [`ConnectError`].
pub fn enter(
    fd: BorrowedFd<'_>,
    protocol: Protocol,
    key: &Key,
    deadline: Deadline,
) -> Result<(), ConnectError> {
    check_user(fd)?;
    let mut handshake = Handshake::new(protocol, Role::Client, key);
    let entered = go_through(fd, &mut handshake, deadline);
    if entered.is_err() {
        leave(fd);
    }
    entered
}

fn go_through(
    fd: BorrowedFd<'_>,
    handshake: &mut Handshake,
    deadline: Deadline,
) -> Result<(), ConnectError> {
    while !handshake.is_done() {
        if !say(fd, &handshake.take_output()) && !poll::readable(fd, Deadline::NOW)? {
            return Err(ConnectError::Refused);
        }
        let mut buffer = [0; MOST_READ];
        let wanted = &mut buffer[..handshake.wants()];
        match hear(fd, wanted) {
            Err(Errno::EAGAIN) if poll::readable(fd, deadline)? => {}
            Err(Errno::EAGAIN) => return Err(ConnectError::TimedOut),
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Err(handshake.ended()),
            Ok(len) => handshake.feed(&wanted[..len])?,
        }
    }
    Ok(())
}
