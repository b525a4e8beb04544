//! The two who meet: a listener that anybody may reach, and a client that reaches it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use multiproc_shm::{Sources, Waitable};
use multiproc_sys::clock::Deadline;
use multiproc_sys::{poll, stream};
use parking_lot::Mutex;

use crate::connection::Connection;
use crate::error::{AcceptError, BindError, ConnectError};
use crate::stranger::address::{Address, IntoAddress};
use crate::stranger::bound::Bound;
use crate::stranger::frame;
use crate::stranger::gate::{self, Gate};
use crate::stranger::handshake::PIPE;
use crate::stranger::key::Key;

/// The key of those who have none: between processes of one user on a Unix socket, where the kernel says
/// who is there.
fn no_key() -> Key {
    Key::from(b"multiproc: no key")
}

const EMPTY: &str = "the key is empty: anybody could have it";
const NEEDED: &str = "a TCP port can be reached by every user: give a key with `authkey`";

/// A key as it was given, or why it is none.
#[derive(Debug)]
enum Lock {
    None,
    Key(Key),
}

impl Lock {
    fn check(&self, address: &Address) -> Result<Key, &'static str> {
        match (self, address) {
            (Lock::Key(key), _) if key.is_empty() => Err(EMPTY),
            (Lock::Key(key), _) => Ok(key.clone()),
            (Lock::None, Address::Tcp(_)) => Err(NEEDED),
            (Lock::None, Address::Unix(_)) => Ok(no_key()),
        }
    }
}

/// Waits at an address for connections from other programs.
///
/// Who is accepted runs as this user (on a Unix socket) and knows the key. Handshakes go on side by side:
/// a silent peer holds up nobody, has 5 seconds, and is dropped earlier if 64 others come.
///
/// # Examples
///
/// ```
/// use multiproc_pipe::{Client, Connection, Listener};
///
/// let listener = Listener::bind("tcp:127.0.0.1:0")?.authkey(b"secret");
/// let address = listener.local_addr().clone();
/// let client = std::thread::spawn(move || {
///     let connection: Connection<String, u32> = Client::connect(address).authkey(b"secret").open()?;
///     connection.send(&"how many?".to_string()).expect("the listener is there");
///     Ok::<_, multiproc_pipe::ConnectError>(connection.recv())
/// });
/// let connection: Connection<u32, String> = listener.accept()?;
/// assert_eq!(connection.recv()?, "how many?");
/// connection.send(&3)?;
/// assert_eq!(client.join().unwrap()?, Ok(3));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// A client that dies in the handshake is forgotten. A listener that dies leaves its socket file; the
/// next to bind there finds that nobody listens behind it, and replaces it.
///
/// # Differences from Python
///
/// A wrong key is an error at the client, and no error of `accept`, which goes on to the next:
/// [`Listener::take_refused`] tells. A message can only be sent to those who were accepted, so nothing is
/// decoded that comes from anybody else.
#[derive(Debug)]
pub struct Listener {
    gate: Mutex<Gate>,
    /// The gate's descriptor, to be waited for without the lock.
    door: OwnedFd,
    address: Address,
    lock: Lock,
    limit: u64,
}

impl Listener {
    /// Listens at `unix:/path`, `unix:` (a path is chosen) or `tcp:127.0.0.1:port` (0: one is chosen).
    ///
    /// A socket file that a dead listener has left is replaced.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn bind(address: impl IntoAddress) -> Result<Listener, BindError> {
        let address = address.into_address().and_then(Address::within_machine);
        let address = address.map_err(|error| BindError::Invalid(error.to_string()))?;
        let bound = Bound::bind(&address)?;
        let address = bound.address().clone();
        let gate = Gate::new(bound, PIPE, no_key()).map_err(BindError::Os)?;
        let door = gate.as_fd().try_clone_to_owned();
        let door = door.map_err(|_| BindError::Os(multiproc_sys::Errno::EMFILE))?;
        Ok(Listener {
            gate: Mutex::new(gate),
            door,
            address,
            lock: Lock::None,
            limit: frame::LIMIT,
        })
    }

    /// What a client must know. Needed with TCP.
    #[must_use]
    pub fn authkey(mut self, key: impl Into<Key>) -> Listener {
        let key = key.into();
        self.gate.get_mut().set_key(key.clone());
        self.lock = Lock::Key(key);
        self
    }

    /// The longest message in either direction: 64 MiB unless set.
    #[must_use]
    pub fn frame_limit(mut self, bytes: u64) -> Listener {
        self.limit = bytes;
        self
    }

    /// Where it listens, with the path or port that was chosen.
    pub fn local_addr(&self) -> &Address {
        &self.address
    }

    /// Waits for the next client.
    ///
    /// # Errors
    ///
    /// [`AcceptError`].
    pub fn accept<S, R>(&self) -> Result<Connection<S, R>, AcceptError> {
        self.accept_until(Deadline::NEVER)
    }

    /// The next client, if one has come through.
    ///
    /// # Errors
    ///
    /// [`AcceptError::Empty`] and others.
    pub fn try_accept<S, R>(&self) -> Result<Connection<S, R>, AcceptError> {
        self.accept_until(Deadline::NOW)
            .map_err(|error| match error {
                AcceptError::TimedOut => AcceptError::Empty,
                error => error,
            })
    }

    /// As [`Listener::accept`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcceptError`].
    pub fn accept_timeout<S, R>(&self, timeout: Duration) -> Result<Connection<S, R>, AcceptError> {
        self.accept_until(Deadline::after(timeout))
    }

    /// As [`Listener::accept`], until `deadline`.
    ///
    /// # Errors
    ///
    /// [`AcceptError`].
    pub fn accept_deadline<S, R>(
        &self,
        deadline: Instant,
    ) -> Result<Connection<S, R>, AcceptError> {
        self.accept_until(Deadline::at(deadline))
    }

    fn accept_until<S, R>(&self, deadline: Deadline) -> Result<Connection<S, R>, AcceptError> {
        let checked = self.lock.check(&self.address);
        checked.map_err(|why| AcceptError::Invalid(why.into()))?;
        loop {
            let limit = {
                let mut gate = self.gate.lock();
                // Who has come through is served, even if the next cannot be.
                let turned = gate.turn();
                if let Some(fd) = gate.enter() {
                    return Ok(Connection::of_stranger(fd, self.limit));
                }
                turned?;
                gate.next_limit()
            };
            if deadline.has_passed() {
                return Err(AcceptError::TimedOut);
            }
            poll::readable(self.door.as_fd(), deadline.earlier(limit))?;
        }
    }

    /// Why strangers were turned away since the last call: at most the last 64.
    pub fn take_refused(&self) -> Vec<ConnectError> {
        self.gate.lock().take_refused()
    }
}

/// Ready when [`Listener::try_accept`] may have an answer.
impl Waitable for Listener {
    fn sources<'a>(&'a self, sources: &mut Sources<'a>) {
        sources.fd(self.door.as_fd());
    }
}

impl AsFd for Listener {
    /// Readable when [`Listener::try_accept`] may have an answer, or something to do on the way to one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }
}

/// Connects to a [`Listener`].
#[derive(Debug)]
#[must_use = "nothing is connected before `open`"]
pub struct Client {
    address: Result<Address, String>,
    lock: Lock,
    timeout: Duration,
    limit: u64,
}

impl Client {
    /// Of the listener at `address`, which [`Client::open`] will connect to.
    pub fn connect(address: impl IntoAddress) -> Client {
        let address = address.into_address().and_then(Address::within_machine);
        Client {
            address: address.map_err(|error| error.to_string()),
            lock: Lock::None,
            timeout: gate::LIMIT,
            limit: frame::LIMIT,
        }
    }

    /// What the listener must know. Needed with TCP.
    pub fn authkey(mut self, key: impl Into<Key>) -> Client {
        self.lock = Lock::Key(key.into());
        self
    }

    /// How long it may take in all: 5 seconds unless set.
    pub fn timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// The longest message in either direction: 64 MiB unless set.
    pub fn frame_limit(mut self, bytes: u64) -> Client {
        self.limit = bytes;
        self
    }

    /// Connects. Before this returns, both have shown that they know the key.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn open<S, R>(self) -> Result<Connection<S, R>, ConnectError> {
        let address = self.address.map_err(ConnectError::Invalid)?;
        let checked = self.lock.check(&address);
        let key = checked.map_err(|why| ConnectError::Invalid(why.into()))?;
        let deadline = Deadline::after(self.timeout);
        let fd = match &address {
            Address::Unix(path) => stream::connect_unix(path, deadline)?,
            Address::Tcp(place) => stream::connect_tcp(*place, deadline)?,
        };
        gate::enter(fd.as_fd(), PIPE, &key, deadline)?;
        Ok(Connection::of_stranger(fd, self.limit))
    }
}
