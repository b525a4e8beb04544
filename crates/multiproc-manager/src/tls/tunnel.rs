//! Tunnels: TLS on a socket at their far end, the same bytes in the clear on a socket pair at the near one.
//!
//! Whoever has the near end needs to know nothing of it: the key's challenge, frames, waits and ends are
//! what they are on any stream. One thread moves the bytes of all tunnels of a process.
//!
//! The invariant: **the end of either side is the end of the other**, once what it had sent has been passed
//! on. Nothing is read from one side before the other has taken what was read last, so a tunnel keeps at most
//! a record or two of 16 KiB each way.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use multiproc_pipe::ConnectError;
use multiproc_sys::clock::Deadline;
use multiproc_sys::poll::{Bell, Watch};
use multiproc_sys::{Errno, forkmark};
use parking_lot::{Condvar, Mutex};
use rustls::Connection;

use crate::numbers::Numbers;

/// How much is read at once.
const PIECE: usize = 16 << 10;

/// How often the sides of one tunnel are served before the others are.
const TURNS: usize = 16;

const BELL: u64 = 0;

/// Why a tunnel ended, if that was for what TLS found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<OnceLock<String>>);

impl Fate {
    /// What `error`, which the near end saw, means.
    pub(crate) fn explain(&self, error: ConnectError) -> ConnectError {
        match (self.0.get(), error) {
            (Some(why), ConnectError::Refused) => ConnectError::Untrusted(why.clone()),
            (_, error) => error,
        }
    }
}

/// The tunnel has ended.
#[derive(Debug)]
struct Ended;

/// One side, and what the watch waits for there.
#[derive(Debug, Default)]
struct Side {
    ended: bool,
    /// The other end is closed, and this one is watched no longer.
    hung_up: bool,
    watched: (bool, bool),
}

struct Tunnel {
    tls: Connection,
    wire: TcpStream,
    near: UnixStream,
    /// Decrypted, and not yet taken by the near side.
    inward: Vec<u8>,
    taken: usize,
    /// The states of `wire` and `near`.
    sides: [Side; 2],
    fate: Fate,
}

/// What the moving thread and the others share.
struct Mover {
    /// A fork of it has no such thread.
    process: u64,
    watch: Watch,
    bell: Bell,
    new: Mutex<Vec<Tunnel>>,
    open: Mutex<usize>,
    fewer: Condvar,
}

static MOVER: Mutex<Option<Arc<Mover>>> = Mutex::new(None);

/// Makes a tunnel over `wire`: its near end, which does not block.
pub(super) fn dig(mut tls: Connection, wire: TcpStream) -> Result<(OwnedFd, Fate), Errno> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    tls.set_buffer_limit(Some(4 * PIECE));
    wire.set_nonblocking(true).map_err(errno)?;
    let (near, theirs) = UnixStream::pair().map_err(errno)?;
    near.set_nonblocking(true).map_err(errno)?;
    theirs.set_nonblocking(true).map_err(errno)?;
    let mover = Mover::get()?;
    let fate = Fate::default();
    *mover.open.lock() += 1;
    mover.new.lock().push(Tunnel {
        tls,
        wire,
        near,
        inward: Vec::new(),
        taken: 0,
        sides: Default::default(),
        fate: fate.clone(),
    });
    mover.bell.ring();
    Ok((theirs.into(), fate))
}

/// Waits, for `limit` at most, until all tunnels have ended.
pub(crate) fn drain(limit: Duration) {
    let Some(mover) = MOVER.lock().clone() else {
        return;
    };
    let until = Instant::now() + limit;
    let mut open = mover.open.lock();
    while *open > 0 && !mover.fewer.wait_until(&mut open, until).timed_out() {}
}

impl Mover {
    /// This process's, started now if there is none.
    fn get() -> Result<Arc<Mover>, Errno> {
        let process = forkmark::renew();
        let mut slot = MOVER.lock();
        if let Some(mover) = slot.as_ref().filter(|mover| mover.process == process) {
            return Ok(Arc::clone(mover));
        }
        let mover = Arc::new(Mover {
            process,
            watch: Watch::new()?,
            bell: Bell::new()?,
            new: Mutex::default(),
            open: Mutex::new(0),
            fewer: Condvar::new(),
        });
        mover.watch.add(mover.bell.as_fd(), BELL)?;
        let moves = Arc::clone(&mover);
        std::thread::Builder::new()
            .name("mp-tls".into())
            .spawn(move || moves.run())
            .map_err(|_| Errno::EAGAIN)?;
        *slot = Some(Arc::clone(&mover));
        Ok(mover)
    }

    fn run(&self) {
        let mut tunnels: Numbers<Tunnel> = Numbers::default();
        let mut next = 1;
        let mut tokens = Vec::new();
        let mut again = Vec::new();
        loop {
            tokens.clear();
            let deadline = if again.is_empty() {
                Deadline::NEVER
            } else {
                Deadline::NOW
            };
            if self.watch.wait(&mut tokens, deadline).is_err() {
                return;
            }
            tokens.append(&mut again);
            if tokens.contains(&BELL) {
                self.bell.silence();
                for tunnel in self.new.lock().drain(..) {
                    let number = next;
                    next += 1;
                    if tunnel.watch(&self.watch, number).is_ok() {
                        tunnels.insert(number, tunnel);
                        // What came before it was watched.
                        tokens.push(token(number, NOBODY));
                    } else {
                        self.less();
                    }
                }
            }
            for &token in tokens.iter().filter(|&&token| token != BELL) {
                let number = token / SIDES;
                let Some(tunnel) = tunnels.get_mut(&number) else {
                    continue;
                };
                match tunnel.turn((token % SIDES) as usize, &self.watch, number) {
                    Ok(false) => {}
                    Ok(true) => again.push(self::token(number, NOBODY)),
                    Err(Ended) => {
                        if let Some(tunnel) = tunnels.remove(&number) {
                            tunnel.close(&self.watch);
                        }
                        self.less();
                    }
                }
            }
        }
    }

    fn less(&self) {
        *self.open.lock() -= 1;
        self.fewer.notify_all();
    }
}

const WIRE: usize = 0;
const NEAR: usize = 1;
/// No side: there is more to be moved.
const NOBODY: usize = 2;
const SIDES: u64 = 3;

fn token(number: u64, side: usize) -> u64 {
    number * SIDES + side as u64
}

impl Tunnel {
    fn watch(&self, watch: &Watch, number: u64) -> Result<(), Errno> {
        watch.add(self.wire.as_fd(), token(number, WIRE))?;
        watch.add(self.near.as_fd(), token(number, NEAR))?;
        // Nothing is waited for yet; the first turn says what is.
        watch.change(self.wire.as_fd(), token(number, WIRE), false, false)?;
        watch.change(self.near.as_fd(), token(number, NEAR), false, false)
    }

    fn close(self, watch: &Watch) {
        watch.remove(self.wire.as_fd());
        watch.remove(self.near.as_fd());
    }

    /// Moves what can be moved, after something has happened on a side; whether there may be more.
    fn turn(&mut self, side: usize, watch: &Watch, number: u64) -> Result<bool, Ended> {
        // Where nothing is waited for, all that can be told is the end.
        if side != NOBODY && self.sides[side].watched == (false, false) {
            match side {
                NEAR => self.sides[NEAR].ended = true,
                // What it had sent is still to be read, once the near side takes it.
                _ => {
                    watch.remove(self.wire.as_fd());
                    self.sides[WIRE].hung_up = true;
                }
            }
        }
        let mut more = true;
        for _ in 0..TURNS {
            let inward = self.move_inward()?;
            let outward = self.move_outward()?;
            more = inward || outward;
            if !more {
                break;
            }
        }
        let nothing_left = self.taken == self.inward.len();
        if self.sides[WIRE].ended && nothing_left {
            return Err(Ended);
        }
        if self.sides[NEAR].ended && !self.tls.wants_write() {
            return Err(Ended);
        }
        let outward_free = !self.tls.wants_write() && !self.tls.is_handshaking();
        let wire = (
            nothing_left && !self.sides[WIRE].ended,
            self.tls.wants_write(),
        );
        let near = (outward_free && !self.sides[NEAR].ended, !nothing_left);
        self.want(watch, WIRE, number, wire)?;
        self.want(watch, NEAR, number, near)?;
        Ok(more)
    }

    fn want(
        &mut self,
        watch: &Watch,
        side: usize,
        number: u64,
        wanted: (bool, bool),
    ) -> Result<(), Ended> {
        if self.sides[side].watched == wanted || self.sides[side].hung_up {
            return Ok(());
        }
        self.sides[side].watched = wanted;
        let fd = match side {
            WIRE => self.wire.as_fd(),
            _ => self.near.as_fd(),
        };
        let changed = watch.change(fd, token(number, side), wanted.0, wanted.1);
        changed.map_err(|_| Ended)
    }

    /// From the wire to the near side; whether something was moved.
    fn move_inward(&mut self) -> Result<bool, Ended> {
        while self.taken < self.inward.len() {
            match self.near.write(&self.inward[self.taken..]) {
                Ok(len) => self.taken += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(Ended),
            }
        }
        self.inward.clear();
        self.taken = 0;
        if self.sides[WIRE].ended {
            return Ok(false);
        }
        match self.tls.read_tls(&mut self.wire) {
            Ok(0) => self.sides[WIRE].ended = true,
            Ok(_) => self.decrypt()?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(_) => self.sides[WIRE].ended = true,
        }
        Ok(true)
    }

    fn decrypt(&mut self) -> Result<(), Ended> {
        let state = match self.tls.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                let _ = self.fate.0.set(error.to_string());
                // The other side is told why, if it still listens.
                let _ = self.tls.write_tls(&mut self.wire);
                return Err(Ended);
            }
        };
        self.inward.resize(state.plaintext_bytes_to_read(), 0);
        let read = self.tls.reader().read_exact(&mut self.inward);
        self.sides[WIRE].ended |= state.peer_has_closed();
        read.map_err(|_| Ended)
    }

    /// From the near side to the wire; whether something was moved.
    fn move_outward(&mut self) -> Result<bool, Ended> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.wire) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(Ended),
            }
        }
        if self.sides[NEAR].ended || self.tls.is_handshaking() {
            return Ok(false);
        }
        let mut piece = [0; PIECE];
        match self.near.read(&mut piece) {
            Ok(0) => {
                self.sides[NEAR].ended = true;
                self.tls.send_close_notify();
            }
            Ok(len) => self
                .tls
                .writer()
                .write_all(&piece[..len])
                .map_err(|_| Ended)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Err(Ended),
        }
        Ok(true)
    }
}
