//! Starting a server, connecting to one, and making objects in it.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use multiproc_pipe::{Address, ConnectError, IntoAddress, Key};
use multiproc_process::{Process, parent_process};
use multiproc_queue::Queue;
use multiproc_sys::clock::Deadline;
use multiproc_sys::{child, poll};
use multiproc_wire::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::client::{Client, Door};
use crate::error::{CallError, ManagerError};
use crate::handle::Handle;
use crate::link;
use crate::message::{Answer, Make, Op, SERVER, ServerOp};
use crate::serve::{Server, Settings};
use crate::tls::Tls;

/// How long a started server has until it listens.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How often a starting server's life is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long a server that was asked to end has, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// How a server is to be: made by [`Manager::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct ManagerBuilder {
    address: Result<Address, String>,
    key: Option<Key>,
    max_frame: u64,
    max_clients: usize,
    accept_functions: bool,
    shared_memory_after: u64,
    detached: bool,
    tls: Option<Tls>,
}

/// What a server's process is started with.
#[derive(Serialize, Deserialize)]
struct Orders {
    address: String,
    key: Bytes,
    max_frame: u64,
    max_clients: u64,
    accept_functions: bool,
    tls: Option<Bytes>,
    shared_memory_after: u64,
    /// Whether it lives on without its starter.
    detached: bool,
    /// Where the server says that it listens, or why not.
    ready: Queue<Result<String, String>>,
}

/// The server's process, as its starter sees it. Dropped, it ends.
struct Owned {
    process: Process<()>,
    client: Mutex<Option<Arc<Client>>>,
    /// A directory made for the socket, which outlives a server that was killed.
    directory: Option<PathBuf>,
    /// Only the process that started the server ends it, not one forked from it.
    starter: u32,
    detached: bool,
}

/// A server of objects, or a connection to one.
///
/// # Examples
///
/// ```
/// use multiproc_manager::{DictProxy, Manager};
/// use multiproc_process::{Process, parent_process};
///
/// fn count((dict, word): (DictProxy<String, u32>, String)) {
///     dict.update_or(word, 0, |n, by| *n += by, 1).unwrap();
/// }
///
/// let manager = Manager::start()?;
/// let dict = manager.dict::<String, u32>()?;
/// let one = Process::new(count, (dict.clone(), "tick".into())).start()?;
/// let two = Process::new(count, (dict.clone(), "tick".into())).start()?;
/// one.join()?;
/// two.join()?;
/// assert_eq!(dict.get("tick")?, Some(2));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// If the server does, every call ends with [`CallError::ServerGone`] at once; none is sent again. If
/// a client does, its locks, permits and references go back at once. If the process that called
/// [`Manager::start`] does, the server ends.
#[derive(Clone)]
pub struct Manager {
    client: Arc<Client>,
    owned: Option<Arc<Owned>>,
}

impl ManagerBuilder {
    /// Where to listen: `unix:/path`, `unix:` (a file in a directory of its own, which is the
    /// default) or `tcp:127.0.0.1:port` (0: one is chosen).
    pub fn address(mut self, address: impl IntoAddress) -> Self {
        self.address = address.into_address().map_err(|error| error.to_string());
        self
    }

    /// What clients must know. Otherwise a random key, which proxies bring to members of the family.
    pub fn authkey(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The longest message in either direction, in bytes: 64 MiB unless set.
    pub fn max_frame(mut self, bytes: u64) -> Self {
        self.max_frame = bytes;
        self
    }

    /// How many clients may be connected at once: 20,000 unless set. A process is one client. The
    /// limit of open files is another bound: each takes one (three with TLS).
    ///
    /// A client that says nothing takes 1 to 2 KiB of the server and no thread, beside what the kernel keeps
    /// for its socket. What a client has sent or is to be sent takes memory until it is carried out or read,
    /// up to a message and 1 MiB of answers; 64 KiB of that may be kept.
    pub fn max_clients(mut self, clients: usize) -> Self {
        self.max_clients = clients;
        self
    }

    /// Runs functions for clients on TCP, too. Whoever knows the key can then run code as this user.
    pub fn accept_functions(mut self, accept: bool) -> Self {
        self.accept_functions = accept;
        self
    }

    /// After how many answers a client gets shared memory for its messages (64 KiB), if it is of the
    /// server's family: 64 unless set; `u64::MAX` for never. Calls one after another are several times as
    /// fast by it; clients that call seldom take none.
    pub fn shared_memory_after(mut self, answers: u64) -> Self {
        self.shared_memory_after = answers;
        self
    }

    /// Lets the server live on when the process that started it, or the [`Manager`], ends; until
    /// somebody calls [`Manager::shutdown`].
    pub fn detach(mut self) -> Self {
        self.detached = true;
        self
    }

    /// Has clients connect by TLS, which TCP beyond this machine needs. (Feature `tls`.)
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    fn settings(&self) -> Result<Settings, ManagerError> {
        let address = self.address.clone().map_err(ManagerError::Listen)?;
        let key = self.key.clone().unwrap_or_else(Key::random);
        if key.expose().is_empty() {
            return Err(ManagerError::Listen(
                "the key is empty: anybody could have it".into(),
            ));
        }
        Ok(Settings {
            address,
            key,
            max_frame: self.max_frame,
            max_clients: self.max_clients,
            accept_functions: self.accept_functions,
            tls: self.tls.clone(),
            lanes_after: self.shared_memory_after,
        })
    }

    /// Starts the server in a process of its own, and connects to it.
    ///
    /// # Errors
    ///
    /// [`ManagerError`].
    pub fn start(self) -> Result<Manager, ManagerError> {
        let settings = self.settings()?;
        let failed = |error: &dyn std::error::Error| ManagerError::Listen(error.to_string());
        let ready = Queue::bounded(1).map_err(|error| failed(&error))?;
        let orders = Orders {
            address: settings.address.to_string(),
            key: settings.key.expose().into(),
            max_frame: settings.max_frame,
            max_clients: settings.max_clients as u64,
            accept_functions: settings.accept_functions,
            tls: settings.tls.as_ref().map(Tls::to_bytes),
            shared_memory_after: settings.lanes_after,
            detached: self.detached,
            ready: ready.clone(),
        };
        // Not a daemon, which would be killed with this process: the server ends itself then, and has
        // its socket's file to remove.
        let process = Process::new(serve, orders)
            .name("manager")
            .detach()
            .start()?;
        let address = await_ready(&process, &ready)?;
        let address: Address = address.parse().map_err(|error| failed(&error))?;
        let directory = match (&settings.address, &address) {
            (Address::Unix(asked), Address::Unix(chosen)) if asked.as_os_str().is_empty() => {
                chosen.parent().map(PathBuf::from)
            }
            _ => None,
        };
        let owned = Arc::new(Owned {
            process,
            client: Mutex::new(None),
            directory,
            starter: std::process::id(),
            detached: self.detached,
        });
        let Settings { key, tls, .. } = settings;
        let client = Client::connect(Door { address, key, tls })?;
        *owned.client.lock() = Some(Arc::clone(&client));
        Ok(Manager {
            client,
            owned: Some(owned),
        })
    }

    /// Serves in this process until a client calls [`Manager::shutdown`]. `listening` is called with
    /// the address and the key once clients can connect.
    ///
    /// # Errors
    ///
    /// [`ManagerError::Listen`].
    pub fn serve_forever(self, listening: impl FnOnce(&Address, &Key)) -> Result<(), ManagerError> {
        let settings = self.settings()?;
        let key = settings.key.clone();
        let server = Server::bind(settings).map_err(ManagerError::Listen)?;
        listening(server.address(), &key);
        server.run();
        Ok(())
    }
}

impl Orders {
    fn settings(&self) -> Result<Settings, String> {
        let address = self.address.parse::<Address>();
        let tls = self.tls.as_ref().map(|tls| {
            let tls = Tls::from_bytes(tls);
            tls.ok_or_else(|| String::from("the certificates did not arrive"))
        });
        Ok(Settings {
            address: address.map_err(|error| error.to_string())?,
            key: Key::from(&self.key[..]),
            max_frame: self.max_frame,
            max_clients: self.max_clients as usize,
            accept_functions: self.accept_functions,
            lanes_after: self.shared_memory_after,
            tls: tls.transpose()?,
        })
    }
}

/// What the server's process does.
fn serve(orders: Orders) {
    child::lifetime::ignore_interrupts();
    let server = orders.settings().and_then(Server::bind);
    if let (Ok(server), false) = (&server, orders.detached)
        && let Some(parent) = parent_process()
    {
        end_with(parent.pid(), server.address().clone());
    }
    let said = server.as_ref().map(|server| server.address().to_string());
    // The starter has died if it does not go: then so does this process.
    let _ = orders.ready.put(said.map_err(Clone::clone));
    if let Ok(server) = server {
        server.run();
    }
}

/// Ends this process, whatever its other threads do, when `parent` ends.
fn end_with(parent: u32, address: Address) {
    let process = child::PidFd::open(parent);
    // Its number is another's only if it has ended.
    let lives = std::os::unix::process::parent_id() == parent;
    let wait = move || {
        if let (Ok(process), true) = (&process, lives) {
            let _ = poll::readable(process.as_fd(), Deadline::NEVER);
        }
        if let Address::Unix(path) = address {
            remove_socket(&path);
        }
        child::lifetime::exit_now(0);
    };
    let watching = std::thread::Builder::new()
        .name("mp-parent".into())
        .spawn(wait);
    if watching.is_err() {
        // Then the kernel ends it, and the file stays.
        let _ = child::lifetime::die_with_parent(parent);
    }
}

/// Removes a socket's file, and its directory if that was made for it.
fn remove_socket(path: &Path) {
    let _ = std::fs::remove_file(path);
    if let Some(directory) = path.parent()
        && directory
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"multiproc-"))
    {
        // Refused if there is anything else in it.
        let _ = std::fs::remove_dir(directory);
    }
}

/// Waits until the server listens.
fn await_ready(
    process: &Process<()>,
    ready: &Queue<Result<String, String>>,
) -> Result<String, ManagerError> {
    let until = std::time::Instant::now() + START_LIMIT;
    loop {
        match ready.get_timeout(LOOK) {
            Ok(said) => return said.map_err(ManagerError::Listen),
            Err(_) if std::time::Instant::now() > until => {
                let _ = process.kill();
                return Err(ManagerError::Connect(ConnectError::TimedOut));
            }
            Err(_) => {
                if let Err(error) = process.try_join()
                    && !error.is_timed_out()
                {
                    return Err(ManagerError::Start(Arc::new(error)));
                }
            }
        }
    }
}

impl Manager {
    /// Starts a server in a process of its own, which ends when this `Manager`, its clones and this
    /// process have ended. It listens on a Unix socket that only this user can reach, and has a
    /// random key.
    ///
    /// # Errors
    ///
    /// [`ManagerError`].
    pub fn start() -> Result<Manager, ManagerError> {
        Manager::builder().start()
    }

    /// For a server with an address, a key or limits of your own.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder {
            address: Ok(Address::Unix(PathBuf::new())),
            key: None,
            max_frame: link::LIMIT,
            max_clients: 20_000,
            accept_functions: false,
            shared_memory_after: 64,
            detached: false,
            tls: None,
        }
    }

    /// Connects to a server that another program has started.
    ///
    /// # Errors
    ///
    /// [`ManagerError::Connect`].
    pub fn connect(
        address: impl IntoAddress,
        key: impl Into<Key>,
    ) -> Result<Manager, ManagerError> {
        Manager::enter(address, key.into(), None)
    }

    /// Connects by TLS to a server that has it. (Feature `tls`.)
    ///
    /// # Errors
    ///
    /// [`ManagerError::Connect`]; [`ConnectError::Untrusted`] where a side does not trust the other's
    /// certificate.
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        address: impl IntoAddress,
        key: impl Into<Key>,
        tls: Tls,
    ) -> Result<Manager, ManagerError> {
        Manager::enter(address, key.into(), Some(tls))
    }

    fn enter(
        address: impl IntoAddress,
        key: Key,
        tls: Option<Tls>,
    ) -> Result<Manager, ManagerError> {
        let address = address.into_address();
        let address = address.map_err(|error| ConnectError::Invalid(error.to_string()))?;
        let client = Client::connect(Door { address, key, tls })?;
        Ok(Manager {
            client,
            owned: None,
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> &Address {
        &self.client.door().address
    }

    /// What its clients must know.
    pub fn authkey(&self) -> &Key {
        &self.client.door().key
    }

    /// The server's process, if this `Manager` started it.
    pub fn pid(&self) -> Option<u32> {
        self.owned.as_ref().map(|owned| owned.process.pid())
    }

    /// Ends the server, for all its clients.
    ///
    /// # Errors
    ///
    /// [`CallError::ServerGone`] if it has ended already.
    pub fn shutdown(&self) -> Result<(), CallError> {
        self.client.ask(SERVER, Op::Server(ServerOp::Shutdown))?;
        Ok(())
    }

    /// Waits for the end of the server's process, if this `Manager` started it.
    pub fn join(&self) {
        if let Some(owned) = &self.owned {
            let _ = owned.process.join();
        }
    }

    /// How many objects and clients the server has now.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn census(&self) -> Result<(u64, u64), CallError> {
        match self.client.ask(SERVER, Op::Server(ServerOp::Census))? {
            Answer::Counts(counts) if counts.len() == 2 => Ok((counts[0], counts[1])),
            other => Err(CallError::unexpected(&other)),
        }
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// A new object, in one round trip.
    pub(crate) fn make(&self, make: Make) -> Result<Handle, CallError> {
        match self
            .client
            .ask(SERVER, Op::Server(ServerOp::Create(make)))?
        {
            Answer::Count(object) => Ok(Handle::given(&self.client, object)),
            other => Err(CallError::unexpected(&other)),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.detached || self.starter != std::process::id() {
            return;
        }
        if let Some(client) = self.client.lock().take() {
            let _ = client.ask(SERVER, Op::Server(ServerOp::Shutdown));
        }
        if self
            .process
            .join_timeout(END_LIMIT)
            .is_err_and(|error| error.is_timed_out())
        {
            let _ = self.process.kill();
            let _ = self.process.join();
        }
        // A server that was killed could not.
        if let Some(directory) = &self.directory {
            remove_socket(&directory.join("socket"));
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("address", self.address())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
