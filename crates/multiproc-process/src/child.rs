//! One child, whatever its task: is it alive, how did it end, and who is told.
//!
//! Owns the invariant **a child is reaped once, and whoever reaps it publishes**: under the child's
//! own lock, the status is taken, the family hears of the death, and the status becomes visible.
//! The keeper reaps what nobody waits for; whoever waits reaps without a detour by the keeper.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use multiproc_shm::family;
use multiproc_shm::{MemberId, Object, OpenError, Outbox};
use multiproc_sys::child::{PidFd, Signal};
use multiproc_sys::clock::Deadline;
use multiproc_sys::{Errno, forkmark, poll};
use parking_lot::{Mutex, MutexGuard};

use crate::builder::Lifetime;
use crate::context::StartMethod;
use crate::error::{SignalError, StartError};
use crate::exit::ExitStatus;
use crate::keeper::Keeper;
use crate::log;
use crate::stdio::{self, OurEnds};

/// Children not yet reaped, by token. An entry keeps the child known when all its handles are gone.
static CHILDREN: Mutex<BTreeMap<u64, Arc<Child>>> = Mutex::new(BTreeMap::new());

static NEXT_TOKEN: AtomicU64 = AtomicU64::new(1);

type Callback = Box<dyn FnOnce(ExitStatus) + Send>;

pub(crate) struct Child {
    /// By which the keeper's watch names it.
    token: u64,
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) method: StartMethod,
    lifetime: Lifetime,
    pidfd: PidFd,
    member: MemberId,
    keeper: Arc<Keeper>,
    /// The mark of the process whose child it is: a copy of that process has the handles, but no
    /// child.
    parent: u64,
    life: Mutex<Life>,
    /// Written once, under `life`, by whoever reaps.
    status: OnceLock<ExitStatus>,
    outcome: Mutex<Outcome>,
    /// This process's ends of its streams.
    streams: Mutex<OurEnds>,
}

/// What the child leaves.
enum Outcome {
    /// It was not looked for: the child may live.
    In(Outbox),
    /// What was in the outbox when the child had ended.
    Out(Result<Option<Object>, OpenError>),
    Closed,
}

/// What changes while the child lives.
struct Life {
    /// The keeper watches the descriptor.
    watched: bool,
    /// Threads that wait on the descriptor themselves.
    waiting: usize,
    /// Called by whoever reaps.
    callbacks: Vec<Callback>,
}

/// What a start method delivers.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) member: MemberId,
    pub(crate) pid: u32,
    pub(crate) pidfd: PidFd,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) method: StartMethod,
}

/// Who noticed the end of a child.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reaper {
    /// The keeper's thread, which takes no lock of the shared memory.
    Keeper,
    /// A thread that waits for the child anyway.
    Waiter,
}

impl Child {
    /// Takes charge of a child that has just been born.
    pub(crate) fn adopt(
        born: Born,
        name: String,
        lifetime: Lifetime,
        outbox: Outbox,
        streams: OurEnds,
    ) -> Result<Arc<Child>, StartError> {
        let child = Arc::new(Child {
            token: NEXT_TOKEN.fetch_add(1, Ordering::Relaxed),
            pid: born.pid,
            name,
            method: born.method,
            lifetime,
            pidfd: born.pidfd,
            member: born.member,
            keeper: born.keeper,
            parent: forkmark::stamp(),
            life: Mutex::new(Life {
                watched: false,
                waiting: 0,
                callbacks: Vec::new(),
            }),
            status: OnceLock::new(),
            outcome: Mutex::new(Outcome::In(outbox)),
            streams: Mutex::new(streams),
        });
        log::info(format_args!(
            "started process '{}' (pid {}) by {:?}",
            child.name, child.pid, child.method
        ));
        CHILDREN.lock().insert(child.token, Arc::clone(&child));
        if child.reap(Reaper::Waiter).is_some() {
            // It was quick. The keeper need not wake up for what this thread has just done.
            return Ok(child);
        }
        let captured = child.capture();
        let watched = captured.and_then(|()| child.watch(&mut child.life.lock()));
        if let Err(errno) = watched {
            // A child whose end nobody would notice must not be.
            let _ = child.signal(Signal::Kill);
            child.wait(Deadline::NEVER);
            return Err(StartError::from_errno("cannot watch the process", errno));
        }
        Ok(child)
    }

    /// Has the keeper read what is captured.
    fn capture(&self) -> Result<(), Errno> {
        let streams = self.streams.lock();
        let mut captured = streams.captured.iter().flatten();
        captured.try_for_each(|capture| capture.begin(&self.keeper))
    }

    /// Whether it is this process's child: a copy of its parent has a handle, but may not reap it, nor
    /// touch what its keeper watches.
    fn is_ours(&self) -> bool {
        self.parent == forkmark::stamp()
    }

    fn watch(&self, life: &mut Life) -> Result<(), Errno> {
        if !life.watched && self.is_ours() {
            self.keeper.watch().add(self.pidfd.as_fd(), self.token)?;
            life.watched = true;
        }
        Ok(())
    }

    fn unwatch(&self, life: &mut Life) {
        if life.watched && self.is_ours() {
            self.keeper.watch().remove(self.pidfd.as_fd());
            life.watched = false;
        }
    }

    pub(crate) fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    pub(crate) fn sentinel(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        let pid = self.pid;
        log::debug(format_args!(
            "sends {signal:?} to process '{}' (pid {pid})",
            self.name
        ));
        let sent = self.pidfd.signal(signal);
        sent.map_err(|errno| SignalError { pid, errno })
    }

    /// Waits for the end of the child, whoever reaps it; `None` if `deadline` passes before.
    pub(crate) fn wait(&self, deadline: Deadline) -> Option<ExitStatus> {
        if let Some(status) = self.reap(Reaper::Waiter) {
            return Some(status);
        }
        if deadline.has_passed() {
            return None;
        }
        {
            let mut life = self.life.lock();
            if life.waiting == 0 {
                // The keeper need not wake up for what this thread will see at the same moment.
                self.unwatch(&mut life);
            }
            life.waiting += 1;
        }
        let status = loop {
            let ready = poll::readable(self.pidfd.as_fd(), deadline);
            let status = self.reap(Reaper::Waiter);
            if status.is_some() || ready != Ok(true) {
                break status;
            }
        };
        let mut life = self.life.lock();
        life.waiting -= 1;
        if life.waiting == 0 && self.status.get().is_none() {
            // Without memory for the watch, the next one who waits or asks still sees the end.
            let _ = self.watch(&mut life);
        }
        status
    }

    fn reap(&self, reaper: Reaper) -> Option<ExitStatus> {
        if let Some(&status) = self.status.get() {
            return Some(status);
        }
        let mut life = self.life.lock();
        if let Some(&status) = self.status.get() {
            return Some(status);
        }
        if !self.is_ours() {
            return self.foreign_status();
        }
        let status = self.take_status()?;
        self.unwatch(&mut life);
        self.keeper.forget(self.pid);
        match reaper {
            Reaper::Keeper => family::member_died(self.member),
            Reaper::Waiter => family::sweep_now(self.member),
        }
        log::info(format_args!(
            "process '{}' (pid {}) {status}",
            self.name, self.pid
        ));
        let callbacks = std::mem::take(&mut life.callbacks);
        let _ = self.status.set(status);
        drop(life);
        CHILDREN.lock().remove(&self.token);
        for callback in callbacks {
            callback(status);
        }
        Some(status)
    }

    /// The exit status, if the child has ended.
    fn take_status(&self) -> Option<ExitStatus> {
        match self.pidfd.reap() {
            Ok(exit) => exit.map(ExitStatus::from),
            // Somebody else has taken it, or this process is not the parent at all.
            Err(_) => match poll::readable(self.pidfd.as_fd(), Deadline::NOW) {
                Ok(false) => None,
                _ => Some(self.stolen_status()),
            },
        }
    }

    /// In a copy of the parent: how it ended, as far as that can be known, if it has.
    #[cold]
    fn foreign_status(&self) -> Option<ExitStatus> {
        let ended = poll::readable(self.pidfd.as_fd(), Deadline::NOW) != Ok(false);
        ended.then(|| self.stolen_status())
    }

    #[cold]
    fn stolen_status(&self) -> ExitStatus {
        if let Some(exit) = self.pidfd.exit_of_reaped() {
            return exit.into();
        }
        match self.outcome() {
            Some(Ok(Some(_))) => ExitStatus::Code(0),
            _ => ExitStatus::Unknown,
        }
    }

    /// What the child, which has ended, left in its outbox; `None` if it was closed.
    pub(crate) fn outcome(&self) -> Option<Result<Option<Object>, OpenError>> {
        let mut outcome = self.outcome.lock();
        if let Outcome::In(outbox) = &*outcome {
            *outcome = Outcome::Out(outbox.content());
        }
        match &*outcome {
            Outcome::Out(content) => Some(content.clone()),
            _ => None,
        }
    }

    /// Gives back what an ended child has left; `false` if it still runs.
    pub(crate) fn close(&self) -> bool {
        let ended = self.has_ended().is_some();
        if ended {
            *self.outcome.lock() = Outcome::Closed;
            *self.streams.lock() = OurEnds::default();
        }
        ended
    }

    pub(crate) fn streams(&self) -> MutexGuard<'_, OurEnds> {
        self.streams.lock()
    }

    /// The last it wrote to a stream that is captured.
    pub(crate) fn captured(&self, stream: usize) -> Option<Vec<u8>> {
        let capture = self.streams.lock().captured[stream].clone();
        capture
            .filter(|_| self.is_ours())
            .map(|capture| capture.tail())
    }

    /// The last it wrote to its standard error, where that can be known.
    pub(crate) fn last_words(&self) -> Option<Vec<u8>> {
        let captured = self.captured(1);
        captured.or_else(|| stdio::rest_of(self.streams.lock().error.as_ref()?))
    }

    /// Has `callback` called once when the child is reaped; at once if it has been.
    pub(crate) fn on_exit(&self, callback: Callback) {
        let mut life = self.life.lock();
        match self.status.get() {
            None => life.callbacks.push(callback),
            Some(&status) => {
                drop(life);
                callback(status);
            }
        }
    }

    pub(crate) fn has_ended(&self) -> Option<ExitStatus> {
        self.reap(Reaper::Waiter)
    }
}

/// The keeper's watch has named `token`.
pub(crate) fn ended(token: u64) {
    let child = CHILDREN.lock().get(&token).map(Arc::clone);
    if let Some(child) = child {
        child.reap(Reaper::Keeper);
    }
}

/// In a copy of the process whose children they are. Pipes to them that nobody has taken are closed:
/// they must not stay open because of the copy.
pub(crate) fn forget_all() {
    for child in std::mem::take(&mut *CHILDREN.lock()).into_values() {
        *child.streams.lock() = OurEnds::default();
    }
}

/// All children not yet reaped, in the order of their start.
pub(crate) fn all() -> Vec<Arc<Child>> {
    CHILDREN.lock().values().map(Arc::clone).collect()
}

/// A process started by this one, whatever it computes: see
/// [`active_children`](crate::active_children).
#[derive(Clone)]
pub struct ActiveChild(Arc<Child>);

impl ActiveChild {
    pub(crate) fn new(child: Arc<Child>) -> ActiveChild {
        ActiveChild(child)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it ends with this process.
    pub fn is_daemon(&self) -> bool {
        self.0.lifetime == Lifetime::Daemon
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.0.has_ended().is_none()
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.0.has_ended()
    }

    /// Waits for its end.
    pub fn wait(&self) -> ExitStatus {
        self.0
            .wait(Deadline::NEVER)
            .expect("a deadline that never comes does not pass")
    }

    /// Asks it to end (`SIGTERM`). Does nothing if it has.
    ///
    /// # Errors
    ///
    /// [`SignalError`] if it runs as another user by now.
    pub fn terminate(&self) -> Result<(), SignalError> {
        self.0.signal(Signal::Terminate)
    }

    /// Ends it at once (`SIGKILL`). Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// As [`ActiveChild::terminate`].
    pub fn kill(&self) -> Result<(), SignalError> {
        self.0.signal(Signal::Kill)
    }
}

impl fmt::Debug for ActiveChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid)
            .field("lifetime", &self.lifetime)
            .field("method", &self.method)
            .field("status", &self.status.get())
            .finish()
    }
}
