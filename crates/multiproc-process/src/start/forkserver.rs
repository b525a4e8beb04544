//! Start method ForkServer, the default: a small copy of this program, made once, copies itself for
//! each child. The copies are children of *this* process.
//!
//! The fork server is the "zygote" in this crate. See the protocol's page for the race each step
//! prevents.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use multiproc_shm::family;
use multiproc_sys::Errno;
use multiproc_sys::child::{PidFd, Rights, Signal, Surroundings, kill_unreaped, stdio};
use multiproc_sys::clock::Deadline;
use multiproc_sys::memory;
use multiproc_sys::poll;
use multiproc_sys::socket::{Received, Socket};

use super::{Order, Place, hear};
use crate::builder::StartMethod;
use crate::child::Born;
use crate::error::StartError;
use crate::keeper::{self, Keeper, LaunchError};
use crate::request::{Hello, Plan, Reply, Request, Role, environment_to_bytes};

/// Copying takes far less than a millisecond. A fork server that has not answered by now has been
/// stopped, and is replaced.
const PATIENCE: Duration = Duration::from_secs(20);

/// A fork server that dies more often than this during one start is being killed by something.
const MOST_ATTEMPTS: u32 = 8;

/// Set once where the kernel does not let a fork server make sound copies.
static IMPOSSIBLE: OnceLock<()> = OnceLock::new();

/// The starter's end of a fork server. Dropped, the server ends.
#[derive(Debug)]
pub(crate) struct Zygote {
    socket: Socket,
    pidfd: Arc<PidFd>,
    /// The surroundings and environment it began in, which its copies begin in, too.
    birth: Surroundings,
    environment: Vec<(OsString, OsString)>,
    /// The last environment that differed, as the copies get it.
    changed: Option<(Vec<(OsString, OsString)>, OwnedFd)>,
}

/// What the fork server says to a request.
enum Answer {
    Born(u32, Option<PidFd>),
    Refused(Errno),
    /// The fork server is gone, and with it everything that held its end of the socket.
    Gone,
}

/// Starts by fork server; `None` where there cannot be one.
pub(crate) fn start(order: &Order<'_>) -> Result<Option<Born>, StartError> {
    let rights = Rights::of_this_thread().map_err(StartError::from_proc)?;
    let mut attempts = 0;
    while IMPOSSIBLE.get().is_none() {
        let keeper = keeper::with_rights(&rights)?;
        let mut slot = keeper.zygote.lock();
        if slot.is_none() {
            match Zygote::begin(&keeper) {
                Ok(zygote) => *slot = zygote,
                Err(LaunchError::RightsMoved) => keeper::retire(&keeper),
                Err(LaunchError::Start(error)) => return Err(error),
            }
        }
        let Some(zygote) = &mut *slot else { continue };
        if let Some(born) = zygote.make(&keeper, order)? {
            return Ok(Some(born));
        }
        *slot = None;
        attempts += 1;
        if attempts > MOST_ATTEMPTS {
            return Err(StartError::Build("the fork server dies at once".into()));
        }
    }
    Ok(None)
}

impl Zygote {
    /// Brings one up; `None` where there cannot be one.
    fn begin(keeper: &Arc<Keeper>) -> Result<Option<Zygote>, LaunchError> {
        let launched = keeper.launch(Role::Zygote)?;
        if let Hello::CannotCopy(reason) = hear(&launched, keeper)? {
            launched.post_mortem(keeper);
            if IMPOSSIBLE.set(()).is_ok() {
                eprintln!("multiproc: no fork server here ({reason}); processes start by exec");
            }
            return Ok(None);
        }
        let pidfd = Arc::new(launched.pidfd);
        keeper.keep_zygote(launched.pid, &pidfd)?;
        Ok(Some(Zygote {
            socket: launched.socket,
            pidfd,
            birth: launched.birth,
            environment: launched.environment,
            changed: None,
        }))
    }

    /// One attempt at an order; `None` if the fork server is gone and there is no child.
    fn make(
        &mut self,
        keeper: &Arc<Keeper>,
        order: &Order<'_>,
    ) -> Result<Option<Born>, StartError> {
        let Place { seat, plan } = order.place()?;
        if !self.ask(&plan)? {
            return Ok(None);
        }
        let (pid, pidfd) = match self.answer() {
            Answer::Born(pid, pidfd) => (pid, pidfd),
            Answer::Refused(errno) => return Err(StartError::from_errno("clone", errno)),
            // Everybody who held the server's end of the socket is gone or settled: the child has
            // taken its seat, or there is none and never will be.
            Answer::Gone => match seat.pid() {
                Some(pid) => (pid, None),
                None => return Ok(None),
            },
        };
        keeper.know(pid);
        match pidfd.map_or_else(|| keeper.open_pidfd(pid), Ok) {
            Ok(pidfd) => Ok(Some(Born {
                member: seat.launched(),
                pid,
                pidfd,
                keeper: Arc::clone(keeper),
                method: StartMethod::ForkServer,
            })),
            Err(errno) => {
                // Nobody could wait for it. Unknown, it is reaped as a stray.
                kill_unreaped(pid);
                keeper.forget(pid);
                family::sweep_now(seat.launched());
                Err(StartError::from_errno("pidfd_open", errno))
            }
        }
    }

    /// Sends the request; `false` if the fork server is gone.
    fn ask(&mut self, plan: &Plan) -> Result<bool, StartError> {
        let os = |errno| StartError::from_errno("cannot ask for the process", errno);
        let environment = self.changed_environment().map_err(os)?;
        let changes = Surroundings::of_this_thread().since(&self.birth);
        let request = Request::new(plan, changes, environment).to_bytes();
        let null;
        let [output, error] = match stdio::outputs() {
            Some(outputs) => outputs,
            None => {
                null = stdio::null().map_err(os)?;
                [null.as_fd(), null.as_fd()]
            }
        };
        let changed = self.changed.as_ref().filter(|_| environment);
        let mut fds: Vec<BorrowedFd<'_>> = vec![output, error];
        fds.extend(changed.map(|(_, file)| file.as_fd()));
        match self.socket.send(&request, &fds) {
            Ok(()) => Ok(true),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(false),
            Err(errno) => Err(os(errno)),
        }
    }

    fn answer(&self) -> Answer {
        let in_time = poll::readable(self.socket.as_fd(), Deadline::after(PATIENCE));
        if in_time != Ok(true) {
            // Then the wait below ends with its death.
            let _ = self.pidfd.signal(Signal::Kill);
        }
        let mut buffer = [0; Reply::SIZE];
        let Ok(Received { len, mut fds, .. }) = self.socket.recv(&mut buffer) else {
            return Answer::Gone;
        };
        match Reply::from_bytes(&buffer[..len]) {
            Some(Reply::Born(pid)) => Answer::Born(pid, fds.pop().map(PidFd::from)),
            Some(Reply::Refused(errno)) => Answer::Refused(errno),
            None => Answer::Gone,
        }
    }

    /// Whether the environment differs from the one the fork server has; if so, `changed` holds it.
    fn changed_environment(&mut self) -> Result<bool, Errno> {
        let now: Vec<_> = std::env::vars_os().collect();
        if now == self.environment {
            return Ok(false);
        }
        let known = self.changed.as_ref().is_some_and(|(then, _)| *then == now);
        if !known {
            let bytes = environment_to_bytes(&now);
            let file = memory::sealed_bytes("multiproc-environment", &bytes)?;
            self.changed = Some((now, file));
        }
        Ok(true)
    }
}
