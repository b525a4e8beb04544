//! Start method ForkServer, the default: a small copy of this program, made once, copies itself for
//! each child. The copies are children of *this* process.
//!
//! The fork server is the "zygote" in this crate. It makes each copy ahead: while one child runs, the
//! next waits as a *spare* for its request. So a start need not wait for the making of a process, and
//! its process is known, by number and descriptor, before it is asked for anything.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use multiproc_shm::Object;
use multiproc_sys::Errno;
use multiproc_sys::child::{PidFd, Rights, Signal, Surroundings};
use multiproc_sys::clock::Deadline;
use multiproc_sys::memory;
use multiproc_sys::socket::Socket;
use multiproc_wire::task::TaskRef;

use super::{Order, Place, Starter, Work, hear, spawn};
use crate::child::Born;
use crate::context::StartMethod;
use crate::error::StartError;
use crate::keeper::{self, Keeper, LaunchError, Launched};
use crate::log;
use crate::preload;
use crate::request::{Hello, Plan, Reply, Request, Role, Wanted, environment_to_bytes};
use crate::wishes::Wishes;

/// Copying takes far less than a millisecond. A fork server that has not answered by now has been
/// stopped, and is replaced.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fork servers or spares that die more often than this during one start are being killed by
/// something.
const MOST_ATTEMPTS: u32 = 8;

/// Set once where the kernel does not let a fork server make sound copies.
static IMPOSSIBLE: OnceLock<()> = OnceLock::new();

/// The starter's end of a fork server. Dropped, the server ends; see [`Zygote::end`].
#[derive(Debug)]
pub(crate) struct Zygote {
    socket: Socket,
    pidfd: Arc<PidFd>,
    /// A spare has been asked for and not been received.
    owed: bool,
    /// What it loaded before its first copy.
    preload: Option<TaskRef>,
    /// The surroundings and environment it began in, which its copies begin in, too.
    birth: Surroundings,
    environment: Vec<u8>,
    /// The last environment that differed, and the same as the copies get it.
    changed: Option<(Vec<u8>, OwnedFd)>,
}

/// A copy that waits for its request. Dropped, it ends; the keeper must know of it.
struct Spare {
    pid: u32,
    pidfd: PidFd,
    socket: Socket,
}

/// What the fork server says.
enum Answer {
    Ready(Spare),
    Refused(Errno),
    /// A spare whose descriptors this process has no room for. It sees its socket closed and ends.
    Lost,
    Gone,
}

pub(super) struct ForkServer;

impl Starter for ForkServer {
    fn make(&self, order: &Order<'_>, work: Work<'_>) -> Result<Born, StartError> {
        let (task, argument) = work.for_a_stranger()?;
        match start(order, task, argument)? {
            Some(born) => Ok(born),
            None => spawn::start(order, task, argument),
        }
    }
}

/// Starts by fork server; `None` where there cannot be one.
fn start(order: &Order<'_>, task: TaskRef, argument: &Object) -> Result<Option<Born>, StartError> {
    let Place { seat, plan } = order.place(task, argument)?;
    let rights = Rights::of_this_thread().map_err(StartError::from_proc)?;
    let preload = preload::wanted()?;
    let mut attempts = 0;
    while IMPOSSIBLE.get().is_none() {
        if attempts > MOST_ATTEMPTS {
            let text = "something kills the fork server or its copies at once";
            return Err(StartError::Build(text.into()));
        }
        let keeper = keeper::with_rights(&rights)?;
        let mut slot = keeper.zygote.lock();
        if let Some(other) = slot.take_if(|zygote| zygote.preload != preload) {
            other.end(&keeper);
        }
        if slot.is_none() {
            match Zygote::begin(&keeper, preload) {
                Ok(zygote) => *slot = zygote,
                Err(LaunchError::RightsMoved) => keeper::retire(&keeper),
                Err(LaunchError::Start(error)) => return Err(error),
            }
        }
        let Some(zygote) = &mut *slot else { continue };
        let Some(spare) = zygote.spare(&keeper)? else {
            // It has been killed. What it made before is received or a stray by now.
            *slot = None;
            attempts += 1;
            continue;
        };
        match zygote.send(&spare, &plan, order) {
            Ok(true) => zygote.ask(),
            Ok(false) => {
                // The spare has been killed.
                spare.discard(&keeper);
                attempts += 1;
                continue;
            }
            Err(error) => {
                spare.discard(&keeper);
                return Err(error);
            }
        }
        drop(slot);
        return Ok(Some(Born {
            member: seat.launched(),
            pid: spare.pid,
            pidfd: spare.pidfd,
            keeper,
            method: StartMethod::ForkServer,
        }));
    }
    Ok(None)
}

/// Has a new fork server load, however long that takes. One that fails is gone afterwards.
fn ask_to_load(launched: &Launched, keeper: &Keeper, task: TaskRef) -> Result<(), StartError> {
    // One that cannot be asked is heard to end.
    let _ = launched.socket.send(&Wanted::Preload(task).to_bytes(), &[]);
    let mut buffer = [0; Hello::MOST_BYTES];
    let heard = launched.socket.recv(&mut buffer).ok();
    let hello = heard.and_then(|got| Hello::from_bytes(&buffer[..got.len]));
    if hello == Some(Hello::Ready) {
        return Ok(());
    }
    let how = launched.post_mortem(keeper);
    Err(StartError::Preload(match hello {
        Some(Hello::Refused(text)) => text,
        _ => format!("ended it: it {how}"),
    }))
}

impl Spare {
    /// Lets it end; the keeper reaps it.
    fn discard(self, keeper: &Keeper) {
        // Without memory for that it is a stray.
        let _ = keeper.keep(self.pid, Arc::new(self.pidfd), false);
    }
}

impl Zygote {
    /// Brings one up; `None` where there cannot be one.
    fn begin(
        keeper: &Arc<Keeper>,
        preload: Option<TaskRef>,
    ) -> Result<Option<Zygote>, LaunchError> {
        let launched = keeper.launch(Role::Zygote, std::env::vars_os().collect())?;
        if let Hello::CannotCopy(reason) = hear(&launched, keeper)? {
            launched.post_mortem(keeper);
            if IMPOSSIBLE.set(()).is_ok() {
                log::warn(format_args!(
                    "no fork server here ({reason}); processes start by exec"
                ));
            }
            return Ok(None);
        }
        if let Some(task) = preload {
            ask_to_load(&launched, keeper, task)?;
        }
        let pidfd = Arc::new(launched.pidfd);
        keeper.keep(launched.pid, Arc::clone(&pidfd), true)?;
        log::debug(format_args!("fork server (pid {}) is up", launched.pid));
        Ok(Some(Zygote {
            socket: launched.socket,
            pidfd,
            owed: false,
            preload,
            birth: launched.birth,
            environment: environment_to_bytes(&launched.environment),
            changed: None,
        }))
    }

    /// Asks for a spare, if none is on the way. That the server is gone is seen by the answer.
    fn ask(&mut self) {
        if !self.owed {
            let _ = self.socket.send(&Wanted::OneMore.to_bytes(), &[]);
            self.owed = true;
        }
    }

    /// A process for the next child; `None` if the fork server is gone.
    fn spare(&mut self, keeper: &Keeper) -> Result<Option<Spare>, StartError> {
        // A refusal may be as old as the last start.
        let mut old = self.owed;
        loop {
            self.ask();
            match self.answer() {
                Answer::Ready(spare) => {
                    keeper.know(spare.pid);
                    return Ok(Some(spare));
                }
                Answer::Gone => return Ok(None),
                Answer::Lost => keeper.look_for_strays(),
                Answer::Refused(_) if old => {}
                Answer::Refused(errno) => return Err(StartError::from_errno("clone", errno)),
            }
            if !old {
                return Err(StartError::from_errno(
                    "cannot receive a process",
                    Errno::EMFILE,
                ));
            }
            old = false;
        }
    }

    fn answer(&mut self) -> Answer {
        let mut buffer = [0; Reply::SIZE];
        let in_time = self
            .socket
            .recv_deadline(&mut buffer, Deadline::after(PATIENCE));
        self.owed = false;
        let mut got = match in_time {
            Ok(Some(got)) => got,
            _ => {
                // Whoever looks at its end next finds it.
                let _ = self.pidfd.signal(Signal::Kill);
                return Answer::Gone;
            }
        };
        match (Reply::from_bytes(&buffer[..got.len]), got.fds.len()) {
            (Some(Reply::Born(pid)), 2) => {
                let sockets = got.fds.pop().map(Socket::from_fd);
                let pidfds = got.fds.pop().map(PidFd::from);
                let (Some(Ok(socket)), Some(pidfd)) = (sockets, pidfds) else {
                    return Answer::Gone;
                };
                Answer::Ready(Spare { pid, pidfd, socket })
            }
            (Some(Reply::Born(_)), _) => Answer::Lost,
            (Some(Reply::Refused(errno)), _) => Answer::Refused(errno),
            (None, _) => Answer::Gone,
        }
    }

    /// Sends the request to a spare; `false` if it is gone.
    fn send(&mut self, spare: &Spare, plan: &Plan, order: &Order<'_>) -> Result<bool, StartError> {
        let os = |errno| StartError::from_errno("cannot ask for the process", errno);
        let (mut fds, mut beside) = order.beside();
        let changes = order.wishes.surroundings().since(&self.birth);
        let environment = self.changed_environment(order.wishes);
        let environment = environment.map_err(os)?;
        beside.environment = environment.is_some();
        let request = Request::new(plan, changes, beside).to_bytes();
        fds.extend(environment);
        match spare.socket.send(&request, &fds) {
            Ok(()) => Ok(true),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(false),
            Err(errno) => Err(os(errno)),
        }
    }

    /// Ends the fork server and the spare it may have made.
    pub(crate) fn end(mut self, keeper: &Keeper) {
        if self.owed
            && let Answer::Ready(spare) = self.answer()
        {
            keeper.know(spare.pid);
            spare.discard(keeper);
        }
    }

    /// The environment that is wanted as a file, if it differs from the one that the fork server has.
    fn changed_environment(&mut self, wishes: &Wishes) -> Result<Option<BorrowedFd<'_>>, Errno> {
        // Nearly always it is this process's, and still the same.
        let is_ours = |block: &[u8]| wishes.environment.is_empty() && is_environment(block);
        if is_ours(&self.environment) {
            return Ok(None);
        }
        if !self.changed.as_ref().is_some_and(|(last, _)| is_ours(last)) {
            let wanted = environment_to_bytes(&wishes.environment());
            if wanted == self.environment {
                return Ok(None);
            }
            if self
                .changed
                .as_ref()
                .is_none_or(|(last, _)| *last != wanted)
            {
                let file = memory::sealed_bytes("multiproc-environment", &wanted)?;
                self.changed = Some((wanted, file));
            }
        }
        Ok(self.changed.as_ref().map(|(_, file)| file.as_fd()))
    }
}

/// Whether this process's environment is `block`, of [`environment_to_bytes`]. The standard library's copy is
/// what takes the time, but only under its lock may another thread change a variable meanwhile.
fn is_environment(block: &[u8]) -> bool {
    let rest = std::env::vars_os().try_fold(block, |rest, (name, value)| {
        let rest = rest.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        rest.strip_prefix(value.as_bytes())?.strip_prefix(b"\0")
    });
    rest.is_some_and(<[u8]>::is_empty)
}
