//! The thread that never ends: parent of all children, and the one that reaps what nobody awaits.
//!
//! The kernel ties a child to the *thread* that made it ("kill me when my parent ends" means that
//! thread), so one thread per process makes them all and lives as long as the process. It starts
//! when the process first starts another.
//!
//! New processes inherit their rights from that thread. Where the thread that starts one has other
//! rights by now (another user id, a capability less, a new filter), a second keeper is made from
//! *it*, since a new thread inherits those of its maker.
//!
//! It runs no user code and takes no lock of the shared memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use multiproc_shm::family;
use multiproc_sys::child::{
    self as sys_child, ExecError, PidFd, Rights, SelfExec, Surroundings, block_all_signals,
    shares_directory,
};
use multiproc_sys::clock::Deadline;
use multiproc_sys::memory;
use multiproc_sys::poll::{self, Bell, Watch};
use multiproc_sys::random;
use multiproc_sys::rest;
use multiproc_sys::robust;
use multiproc_sys::socket::{self, Socket};
use multiproc_sys::{Errno, child::Exit};
use parking_lot::Mutex;

use crate::bootstrap;
use crate::child;
use crate::error::StartError;
use crate::request::{Boot, Role};
use crate::start::forkserver::Zygote;
use crate::stdio;

/// The keepers of this process: one, unless its threads' rights differ or have changed.
static KEEPERS: Mutex<Vec<Arc<Keeper>>> = Mutex::new(Vec::new());

/// Tokens of the watch: this one, servants above [`SERVANTS`], captures from [`stdio::CAPTURES`],
/// children below.
const BELL: u64 = u64::MAX;
const SERVANTS: u64 = 1 << 63;

/// The strays of a killed fork server end within microseconds; this is looked for for a second.
const STRAYS_LOOKS: u32 = 20;
const STRAYS_PAUSE: Duration = Duration::from_millis(50);

/// Enough for the work here and the callbacks of the crates above.
const STACK: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Keeper {
    /// Those of its thread when it was made.
    rights: Rights,
    /// Its thread.
    tid: OnceLock<u32>,
    watch: Watch,
    /// Rung after `jobs` got one.
    bell: Bell,
    jobs: Mutex<Vec<Job>>,
    /// Children of this thread that somebody knows of. Others are strays.
    known: Mutex<BTreeSet<u32>>,
    /// Processes of ours that never run a task, not yet reaped, by token.
    servants: Mutex<BTreeMap<u64, Servant>>,
    next_servant: AtomicU64,
    /// How often yet to look for children nobody knows of.
    looks: AtomicU32,
    /// The one in use. Held for the whole of a request.
    pub(crate) zygote: Mutex<Option<Zygote>>,
}

/// A fork server, or a copy of one that nobody wants any more.
struct Servant {
    pid: u32,
    pidfd: Arc<PidFd>,
    copies: bool,
}

/// A process that runs this program again and has not said anything yet.
pub(crate) struct Launched {
    pub(crate) socket: Socket,
    pub(crate) pid: u32,
    pub(crate) pidfd: PidFd,
    /// The surroundings it began in.
    pub(crate) birth: Surroundings,
    /// The environment it began with.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// Why nothing was launched.
pub(crate) enum LaunchError {
    /// The keeper's thread has lost or gained rights since it began: another keeper must do it.
    RightsMoved,
    Start(StartError),
}

impl From<StartError> for LaunchError {
    fn from(error: StartError) -> LaunchError {
        LaunchError::Start(error)
    }
}

/// The keeper whose children have `rights`, those of the calling thread.
pub(crate) fn with_rights(rights: &Rights) -> Result<Arc<Keeper>, StartError> {
    let mut keepers = KEEPERS.lock();
    if let Some(keeper) = keepers.iter().find(|keeper| keeper.fits(rights)) {
        return Ok(Arc::clone(keeper));
    }
    let keeper = Keeper::begin(rights.clone())?;
    // A program that gives up rights means that no process of its keeps them, not even one that
    // waits. One in use is left alone: it is wanted.
    end_zygotes(&keepers);
    keepers.push(Arc::clone(&keeper));
    Ok(keeper)
}

/// Finds no more children for `keeper`, whose thread has other rights than it began with. Its thread
/// stays, as the children it has would die with it.
pub(crate) fn retire(keeper: &Arc<Keeper>) {
    KEEPERS.lock().retain(|other| !Arc::ptr_eq(other, keeper));
}

fn end_zygotes(keepers: &[Arc<Keeper>]) {
    for keeper in keepers {
        if let Some(mut slot) = keeper.zygote.try_lock()
            && let Some(zygote) = slot.take()
        {
            zygote.end(keeper);
        }
    }
}

/// For tests.
pub(crate) fn end_fork_servers() {
    end_zygotes(&KEEPERS.lock());
}

/// For tests: those not reaped yet.
pub(crate) fn fork_servers() -> Vec<u32> {
    let mut found = Vec::new();
    for keeper in KEEPERS.lock().iter() {
        let servants = keeper.servants.lock();
        found.extend(servants.values().filter(|s| s.copies).map(|s| s.pid));
    }
    found
}

/// In a copy of this process: the keepers are the original's, and so are the fork servers. Closes what
/// leads to those.
pub(crate) fn forget_all() {
    for keeper in std::mem::take(&mut *KEEPERS.lock()) {
        keeper.zygote.lock().take();
        keeper.servants.lock().clear();
    }
}

impl Keeper {
    fn begin(rights: Rights) -> Result<Arc<Keeper>, StartError> {
        let os = |errno| StartError::from_errno("cannot make the keeper of processes", errno);
        let keeper = Arc::new(Keeper {
            rights,
            tid: OnceLock::new(),
            watch: Watch::new().map_err(os)?,
            bell: Bell::new().map_err(os)?,
            jobs: Mutex::new(Vec::new()),
            known: Mutex::new(BTreeSet::new()),
            servants: Mutex::new(BTreeMap::new()),
            next_servant: AtomicU64::new(SERVANTS),
            looks: AtomicU32::new(0),
            zygote: Mutex::new(None),
        });
        keeper.watch.add(keeper.bell.as_fd(), BELL).map_err(os)?;
        let other = Arc::clone(&keeper);
        thread::Builder::new()
            .name("mp-keeper".into())
            .stack_size(STACK)
            .spawn(move || other.run())
            .map_err(|error| os(error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw)))?;
        let _ = keeper.tid.set(keeper.on_thread(robust::tid));
        Ok(keeper)
    }

    fn run(&self) -> ! {
        // The program's handlers run on the program's threads.
        block_all_signals();
        let me = rest::register();
        // Room for all that one wait brings: no memory is taken during a rest.
        let mut tokens = Vec::with_capacity(poll::MOST_TOKENS);
        loop {
            let pause = match self.looks.load(Ordering::Relaxed) {
                0 => Deadline::NEVER,
                _ => Deadline::after(STRAYS_PAUSE),
            };
            // It fails only for want of memory for a moment, if at all; what is ready stays ready.
            if me.rest(|| self.watch.wait(&mut tokens, pause)).is_err() {
                thread::yield_now();
            }
            for token in tokens.drain(..) {
                match token {
                    BELL => self.work(),
                    token if token >= SERVANTS => self.bury(token),
                    token if token >= stdio::CAPTURES => stdio::ready(token),
                    token => child::ended(token),
                }
            }
            let looks = self.looks.load(Ordering::Relaxed);
            if looks > 0 {
                let _ = self.looks.compare_exchange(
                    looks,
                    looks - 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                self.reap_strays();
            }
        }
    }

    /// Copies that a fork server made before it was killed, and could not tell of. They end by
    /// themselves, soon after it.
    fn reap_strays(&self) {
        sys_child::reap_strays(|pid| self.known.lock().contains(&pid));
    }

    fn work(&self) {
        self.bell.silence();
        let jobs = std::mem::take(&mut *self.jobs.lock());
        for job in jobs {
            job();
        }
    }

    /// A copy may have been lost on the way: sees to it that its zombie is, too.
    pub(crate) fn look_for_strays(&self) {
        self.looks.store(STRAYS_LOOKS, Ordering::Relaxed);
        self.bell.ring();
    }

    /// Reaps a servant.
    fn bury(&self, token: u64) {
        let Some(servant) = self.servants.lock().remove(&token) else {
            return;
        };
        self.watch.remove(servant.pidfd.as_fd());
        // Its status is of no interest, only that no zombie stays.
        let _ = servant.pidfd.reap();
        self.forget(servant.pid);
        if servant.copies {
            self.look_for_strays();
        }
    }

    /// Runs `job` on the keeper's thread and gives its answer.
    fn on_thread<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, wait) = mpsc::sync_channel(1);
        self.jobs.lock().push(Box::new(move || {
            // The receiver waits below for exactly this.
            let _ = answer.send(job());
        }));
        self.bell.ring();
        wait.recv().expect("the keeper's thread never ends")
    }

    /// Whether its children would have `rights`, those of the calling thread, and begin in the
    /// directory that thread is in.
    fn fits(&self, rights: &Rights) -> bool {
        self.rights == *rights && self.tid.get().is_some_and(|&tid| shares_directory(tid))
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// A child of this thread that somebody takes charge of.
    pub(crate) fn know(&self, pid: u32) {
        self.known.lock().insert(pid);
    }

    /// It has been reaped.
    pub(crate) fn forget(&self, pid: u32) {
        self.known.lock().remove(&pid);
    }

    /// Takes charge of a process that runs no task until it ends.
    pub(crate) fn keep(&self, pid: u32, pidfd: Arc<PidFd>, copies: bool) -> Result<(), StartError> {
        let token = self.next_servant.fetch_add(1, Ordering::Relaxed);
        let servant = Servant {
            pid,
            pidfd: Arc::clone(&pidfd),
            copies,
        };
        self.servants.lock().insert(token, servant);
        self.watch.add(pidfd.as_fd(), token).map_err(|errno| {
            self.servants.lock().remove(&token);
            // It becomes a stray.
            self.forget(pid);
            StartError::from_errno("cannot watch the fork server", errno)
        })
    }

    /// Runs this program again, in this environment.
    pub(crate) fn launch(
        self: &Arc<Keeper>,
        role: Role,
        mut environment: Vec<(OsString, OsString)>,
    ) -> Result<Launched, LaunchError> {
        let os = |errno| StartError::from_errno("cannot run this program again", errno);
        let arena = family::arena_fd().map_err(StartError::from)?;
        let exchange = family::exchange_fd().map_err(StartError::from)?;
        let (ours, theirs) = socket::pair().map_err(os)?;
        let boot = Boot {
            nonce: random::u64(),
            role,
            parent: std::process::id(),
            socket: theirs.as_fd().as_raw_fd(),
            arena: arena.as_raw_fd(),
            exchange: exchange.as_raw_fd(),
            identity: bootstrap::announced_identity().map_err(StartError::from_proc)?,
        };
        let record = memory::sealed_bytes("multiproc-boot", &boot.to_bytes()).map_err(os)?;
        let variable = bootstrap::variable(record.as_raw_fd(), boot.nonce);
        environment.retain(|(name, _)| name != bootstrap::VARIABLE);
        let pairs = environment.iter().cloned();
        let boot_pair = (bootstrap::VARIABLE.into(), variable.into());
        let program = SelfExec::new(std::env::args_os(), pairs.chain([boot_pair]));

        let keeper = Arc::clone(self);
        let answer = self.on_thread(move || keeper.execute(&program, role, &record, &theirs));
        let (pid, pidfd, birth) = answer?;
        Ok(Launched {
            socket: ours,
            pid,
            pidfd,
            birth,
            environment,
        })
    }

    /// On the keeper's thread: it is the parent, and where rights come from.
    fn execute(
        &self,
        program: &SelfExec,
        role: Role,
        record: &OwnedFd,
        socket: &Socket,
    ) -> Result<(u32, PidFd, Surroundings), LaunchError> {
        if Rights::of_this_thread().map_err(StartError::from_proc)? != self.rights {
            return Err(LaunchError::RightsMoved);
        }
        self.reap_strays();
        let arena = family::arena_fd().map_err(StartError::from)?;
        let exchange = family::exchange_fd().map_err(StartError::from)?;
        let birth = Surroundings::of_this_thread();
        // A fork server's copies find themselves where the starter is at that time; a process that
        // is one child only must stay where it was started.
        let share_directory = role == Role::Zygote;
        let keep = [record.as_fd(), socket.as_fd(), arena, exchange];
        let (pid, pidfd) = program
            .start(&keep, share_directory)
            .map_err(|error| match error {
                ExecError::Clone(errno) => StartError::from_errno("clone", errno),
                ExecError::Exec(errno @ Errno::E2BIG) => StartError::Os {
                    doing: "the environment is too large for exec",
                    errno,
                },
                ExecError::Exec(errno) => StartError::from_proc(errno),
            })?;
        self.know(pid);
        Ok((pid, pidfd, birth))
    }
}

impl Launched {
    /// Waits for the end of a process that did not come up, and says how it ended.
    pub(crate) fn post_mortem(&self, keeper: &Keeper) -> String {
        let _ = poll::readable(self.pidfd.as_fd(), Deadline::NEVER);
        let exit = self.pidfd.reap();
        keeper.forget(self.pid);
        match exit {
            Ok(Some(Exit::Code(code))) => format!("exited with code {code}"),
            Ok(Some(exit)) => crate::exit::ExitStatus::from(exit).to_string(),
            _ => "ended".into(),
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}
