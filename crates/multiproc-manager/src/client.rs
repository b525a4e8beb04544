//! This process's connection to one server: all its threads share it, so the server sees one client
//! per process and hears of its end at once.
//!
//! Requests go out in the order of the calls. Replies may come in any order and are found by their
//! number. There is no thread for them: **whoever waits and finds nobody reading, reads**, for itself
//! and for the others.

mod ways;

use std::fmt;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use multiproc_pipe::stranger::gate;
use multiproc_pipe::{Address, ConnectError, Key};
use multiproc_process::current_process;
use multiproc_shm::{Kind, Object};
use multiproc_sys::clock::Deadline;
use multiproc_sys::{forkmark, stream};
use multiproc_wire::{Bytes, codec};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::core::build_id;
use crate::error::CallError;
use crate::link;
use crate::message::{Answer, Failure, Hello, NO_REPLY, Op, Reply, Request, SERVER, ServerOp};
use crate::numbers::Numbers;
use crate::tls::{Fate, Tls};
use ways::{Inbound, Outbound, Sent, Ways};

/// How long a server has to let a client in.
const ENTRY_LIMIT: Duration = Duration::from_secs(10);

/// Requests are sent when so many bytes wait, at the latest: the server begins with the first of a hundred
/// while the others are still being written.
const FLUSH_AT: usize = 1 << 10;

/// Where a server is, and what it wants to hear: all that is needed to become its client.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) address: Address,
    pub(crate) key: Key,
    /// Needed beyond this machine.
    pub(crate) tls: Option<Tls>,
}

impl Door {
    /// A stream to the server, and the tunnel it goes through, if it does.
    fn reach(&self, until: Deadline) -> Result<(OwnedFd, Option<Fate>), ConnectError> {
        match (&self.address, &self.tls) {
            (Address::Unix(path), None) => Ok((stream::connect_unix(path, until)?, None)),
            (Address::Tcp(address), Some(tls)) => {
                let fd = stream::connect_tcp(*address, until)?;
                let (near, fate) = tls.connect(fd, *address, until)?;
                Ok((near, Some(fate)))
            }
            (Address::Tcp(address), None) => {
                let near = self.address.clone().within_machine();
                near.map_err(|error| ConnectError::Invalid(error.to_string()))?;
                Ok((stream::connect_tcp(*address, until)?, None))
            }
            _ => Err(ConnectError::Invalid(format!(
                "`{}`: certificates are for TCP",
                self.address
            ))),
        }
    }

    /// All that may not be seen outside the family.
    fn secrets(&self) -> Vec<u8> {
        let tls = self.tls.as_ref().map(Tls::to_bytes);
        let secrets = (Bytes::from(self.key.expose()), tls);
        codec::encode(&secrets).expect("bytes").bytes
    }

    /// The door at `address` that opens with these.
    fn with_secrets(address: Address, secrets: &[u8]) -> Option<Door> {
        let (key, tls): (Bytes, Option<Bytes>) = codec::decode(secrets, &[]).ok()?;
        Some(Door {
            address,
            key: Key::from(&key[..]),
            tls: match tls {
                Some(tls) => Some(Tls::from_bytes(&tls)?),
                None => None,
            },
        })
    }
}

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    Call(CallError),
    /// The server's own answer.
    Failed(Failure),
}

impl From<Trouble> for CallError {
    fn from(trouble: Trouble) -> CallError {
        match trouble {
            Trouble::Call(error) => error,
            Trouble::Failed(failure) => failure.into(),
        }
    }
}

#[derive(Debug)]
struct Inbox {
    /// Requests on their way, and replies nobody has fetched.
    replies: Numbers<Option<Result<Answer, Failure>>>,
    /// Taken by whoever reads.
    reader: Option<Inbound>,
    gone: bool,
}

pub(crate) struct Client {
    door: Door,
    server: u64,
    /// The process that is connected: one forked from it is not.
    process: u64,
    ways: Ways,
    out: Mutex<Outbound>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    next_seq: AtomicU64,
    /// The key, where only the family can read it.
    key_object: OnceLock<Object>,
}

/// `b"mkey"`
const KEY_TAG: u32 = u32::from_le_bytes(*b"mkey");

/// The clients of this process, by server.
static CLIENTS: Mutex<Vec<Weak<Client>>> = Mutex::new(Vec::new());

impl Client {
    /// Connects, and says hello.
    pub(crate) fn connect(door: Door) -> Result<Arc<Client>, ConnectError> {
        let until = Deadline::after(ENTRY_LIMIT);
        let (fd, fate) = door.reach(until)?;
        let entered = gate::enter(fd.as_fd(), link::PROTOCOL, &door.key, until);
        entered.map_err(|error| match fate {
            Some(fate) => fate.explain(error),
            None => error,
        })?;
        // The standard library's name for any stream socket: it only reads and writes.
        let stream = TcpStream::from(fd);
        stream
            .set_nonblocking(false)
            .map_err(|_| ConnectError::Refused)?;
        let mut client = Client {
            door,
            server: 0,
            process: forkmark::renew(),
            ways: Ways::new(stream),
            out: Mutex::default(),
            inbox: Mutex::new(Inbox {
                replies: Numbers::default(),
                reader: Some(Inbound::new()),
                gone: false,
            }),
            arrived: Condvar::new(),
            next_seq: AtomicU64::new(NO_REPLY + 1),
            key_object: OnceLock::new(),
        };
        let me = current_process();
        let hello = ServerOp::Hello(Hello {
            build: build_id(),
            pid: me.pid(),
            name: me.name().to_owned(),
        });
        match client.ask(SERVER, Op::Server(hello)) {
            Ok(Answer::Welcome(welcome)) => client.server = welcome.server,
            Ok(_) => return Err(ConnectError::Protocol),
            Err(_) => return Err(ConnectError::Refused),
        }
        let client = Arc::new(client);
        let mut clients = CLIENTS.lock();
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(&client));
        Ok(client)
    }

    /// The client of `server` in this process; connected now, if there is none.
    pub(crate) fn of(
        server: u64,
        door: impl FnOnce() -> Door,
    ) -> Result<Arc<Client>, ConnectError> {
        let process = forkmark::renew();
        let known = CLIENTS.lock().iter().find_map(|client| {
            let client = client.upgrade()?;
            (client.server == server && client.process == process).then_some(client)
        });
        match known {
            Some(client) => Ok(client),
            None => Client::connect(door()),
        }
    }

    pub(crate) fn server(&self) -> u64 {
        self.server
    }

    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// An object of the family that holds the key, for proxies on their way to other members.
    pub(crate) fn key_object(&self) -> Option<&Object> {
        if self.key_object.get().is_none() {
            let key = &self.door.secrets()[..];
            let object = Object::create(Kind::Plain, KEY_TAG, key.len() + 8, |_| {}).ok()?;
            let len = (key.len() as u64).to_le_bytes();
            for (place, byte) in object.bytes().iter().zip(len.iter().chain(key)) {
                place.store(*byte, Ordering::Relaxed);
            }
            // Another thread's would do as well.
            let _ = self.key_object.set(object);
        }
        self.key_object.get()
    }

    /// The door at `address`, with the key in an object made by [`Client::key_object`].
    pub(crate) fn door_with(object: &Object, address: Address) -> Option<Door> {
        let object = object.clone().expect_tag(KEY_TAG, "a manager's key").ok()?;
        let mut bytes = object
            .bytes()
            .iter()
            .map(|byte| byte.load(Ordering::Relaxed));
        let len: Vec<u8> = bytes.by_ref().take(8).collect();
        let len = usize::try_from(u64::from_le_bytes(len.try_into().ok()?)).ok()?;
        let key: Vec<u8> = bytes.take(len).collect();
        (key.len() == len).then(|| Door::with_secrets(address, &key))?
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn ask(&self, object: u64, op: Op) -> Result<Answer, Trouble> {
        let seq = self.send(object, op)?;
        self.wait(seq)
    }

    /// Has a request sent before any later one, and at the latest when somebody waits.
    pub(crate) fn send(&self, object: u64, op: Op) -> Result<u64, Trouble> {
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        self.inbox.lock().replies.insert(seq, None);
        let sent = self.write(&Request { seq, object, op }, false);
        sent.inspect_err(|_| {
            self.inbox.lock().replies.remove(&seq);
        })?;
        Ok(seq)
    }

    /// Sends a request that has no reply. Does nothing if the server has gone.
    pub(crate) fn post(&self, object: u64, op: Op) {
        let seq = NO_REPLY;
        let _ = self.write(&Request { seq, object, op }, true);
    }

    fn write(&self, request: &Request, flush: bool) -> Result<(), Trouble> {
        if forkmark::stamp() != self.process {
            return Err(Trouble::Call(CallError::ServerGone));
        }
        let mut out = self.out.lock();
        let put = link::put(&mut out.buffer, request);
        put.map_err(|text| Trouble::Call(CallError::Encode(text)))?;
        if flush || out.buffer.len() >= FLUSH_AT {
            self.flush_all(&mut out);
        }
        Ok(())
    }

    /// Sends all of it. Where there is no room, this thread receives until there is, so that a server that
    /// waits for its answers to be read does not wait for ever.
    fn flush_all(&self, out: &mut Outbound) {
        loop {
            let goes_on = match self.ways.send(out) {
                Ok(Sent::All) => return,
                Ok(Sent::LaneFull) => {
                    self.ways.want_room();
                    let inbox = self.inbox.lock();
                    // Under the lock: whoever receives a wake takes it afterwards, and tells us.
                    match self.ways.send(out) {
                        Ok(Sent::LaneFull) if !inbox.gone => {
                            drop(self.attend(inbox));
                            true
                        }
                        again => matches!(again, Ok(Sent::All)),
                    }
                }
                Ok(Sent::SocketFull) => self.receive_until_room(),
                Err(_) => false,
            };
            if !goes_on {
                break;
            }
        }
        // It shows when the reply is waited for.
        out.clear();
        self.inbox.lock().gone = true;
    }

    /// Waits until the socket has room, and receives meanwhile; `false` once the server has gone.
    fn receive_until_room(&self) -> bool {
        match self.ways.wait_for_socket() {
            Ok(false) => return true,
            Ok(true) => {}
            Err(_) => return false,
        }
        let mut inbox = self.inbox.lock();
        if inbox.reader.is_none() {
            // Whoever reads may wait for an answer that needs our request: look again at both ways soon.
            self.arrived.wait_for(&mut inbox, Duration::from_millis(1));
        } else if self.ways.is_readable() {
            // Still there: nobody else reads while this thread holds the lock.
            inbox = self.attend(inbox);
        }
        !inbox.gone
    }

    /// Sends what [`Client::send`] has kept.
    pub(crate) fn flush(&self) {
        if forkmark::stamp() == self.process {
            self.flush_all(&mut self.out.lock());
        }
    }

    /// Waits for the reply to a request.
    pub(crate) fn wait(&self, seq: u64) -> Result<Answer, Trouble> {
        let mut inbox = self.inbox.lock();
        let mut flushed = false;
        loop {
            if let Some(Some(_)) = inbox.replies.get(&seq) {
                let reply = inbox.replies.remove(&seq).flatten();
                return reply.expect("just seen").map_err(Trouble::Failed);
            }
            if !flushed {
                // Of many that were sent together, the first to be waited for does this for all.
                flushed = true;
                drop(inbox);
                self.flush();
                inbox = self.inbox.lock();
                continue;
            }
            if inbox.gone {
                inbox.replies.remove(&seq);
                return Err(Trouble::Call(CallError::ServerGone));
            }
            inbox = self.attend(inbox);
        }
    }

    /// Waits until something has come, for whomever it is.
    fn attend<'a>(&'a self, mut inbox: MutexGuard<'a, Inbox>) -> MutexGuard<'a, Inbox> {
        let Some(mut reader) = inbox.reader.take() else {
            self.arrived.wait(&mut inbox);
            return inbox;
        };
        drop(inbox);
        let mut replies: Vec<Reply> = Vec::new();
        let received = self.ways.receive(&mut reader, &mut replies);
        inbox = self.inbox.lock();
        for reply in replies {
            // One that is waited for no longer is dropped.
            if let Some(place) = inbox.replies.get_mut(&reply.seq) {
                *place = Some(reply.result);
            }
        }
        inbox.gone |= received.is_err();
        inbox.reader = Some(reader);
        self.arrived.notify_all();
        inbox
    }

    /// Nobody will wait for this request.
    pub(crate) fn forget(&self, seq: u64) {
        self.inbox.lock().replies.remove(&seq);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.door.address)
            .finish_non_exhaustive()
    }
}
