//! How a process comes about: one file per start method, one form of request for all.

pub(crate) mod fork;
pub(crate) mod forkserver;
pub(crate) mod spawn;

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use multiproc_shm::family::{self, Seat};
use multiproc_shm::{Object, Outbox};
use multiproc_sys::child::Signal;
use multiproc_sys::clock::Deadline;
use multiproc_sys::{image, poll};
use multiproc_wire::task::TaskRef;
use multiproc_wire::{Parcel, RunError};

use crate::builder::Lifetime;
use crate::child::Born;
use crate::context::StartMethod;
use crate::current;
use crate::error::StartError;
use crate::hook;
use crate::keeper::{Keeper, Launched};
use crate::request::{Beside, Hello, Plan};
use crate::stdio::{OurEnds, TheirEnds};
use crate::wishes::Wishes;

/// A program that takes longer to reach the hook does not come up: initialisers of other libraries
/// run before it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a start looks whether a detached process is on its own.
const SEATED_PAUSE: Duration = Duration::from_millis(1);

/// What is to be started, whatever it is to do.
pub(crate) struct Order<'a> {
    pub(crate) outbox: &'a Outbox,
    pub(crate) name: &'a str,
    pub(crate) lifetime: Lifetime,
    pub(crate) wishes: &'a Wishes,
    pub(crate) streams: &'a TheirEnds,
    /// The starter's ends, which a copy of the starter must let go.
    pub(crate) our_ends: Cell<OurEnds>,
    pub(crate) directory: Option<OwnedFd>,
}

/// What it is to do.
pub(crate) enum Work<'a> {
    /// A function of the program, with its argument.
    Task(TaskRef, &'a Object),
    /// What only a copy of this process can call. Appends the result.
    Closure(Closure<'a>),
}

pub(crate) type Closure<'a> = Box<dyn FnOnce(&mut Parcel) -> Result<(), RunError> + Send + 'a>;

/// A place in the family for one attempt at an order, with everything the child is to find there.
struct Place {
    seat: Seat,
    plan: Plan,
}

impl Order<'_> {
    fn place(&self, task: TaskRef, argument: &Object) -> Result<Place, StartError> {
        let seat = family::reserve(self.name)?;
        for object in [argument, self.outbox.object()] {
            seat.endow(object)?;
        }
        let plan = Plan {
            member: seat.id(),
            task,
            argument: argument.handle(),
            outbox: self.outbox.object().handle(),
            name: self.name.to_owned(),
            parent_name: current::name(),
            lifetime: self.lifetime,
        };
        Ok(Place { seat, plan })
    }

    /// What goes beside the request, but for the environment, and which of it there is.
    fn beside(&self) -> (Vec<BorrowedFd<'_>>, Beside) {
        let mut fds = self.streams.outputs().to_vec();
        let input = self.streams.input();
        let directory = self.directory.as_ref().map(AsFd::as_fd);
        fds.extend(input.iter().chain(&directory));
        let beside = Beside {
            input: input.is_some(),
            directory: directory.is_some(),
            environment: false,
        };
        (fds, beside)
    }
}

/// Makes the process that `order` describes.
pub(crate) fn start(
    order: &Order<'_>,
    work: Work<'_>,
    method: StartMethod,
) -> Result<Born, StartError> {
    let born = starter(method).make(order, work)?;
    if order.lifetime == Lifetime::Detached {
        born.wait_until_seated();
    }
    Ok(born)
}

impl Born {
    /// Waits until the process does not depend on this one any more: it is to live on even if this one
    /// ends as soon as the start has returned.
    fn wait_until_seated(&self) {
        let has_ended = || poll::readable(self.pidfd.as_fd(), Deadline::after(SEATED_PAUSE));
        while !family::is_alive(self.member) && has_ended() == Ok(false) {}
    }
}

/// One way to make processes. The same tests run on each.
trait Starter {
    /// Makes the process that `order` describes, to do `work`. When it fails, there is none.
    fn make(&self, order: &Order<'_>, work: Work<'_>) -> Result<Born, StartError>;
}

fn starter(method: StartMethod) -> &'static dyn Starter {
    match method {
        StartMethod::ForkServer => &forkserver::ForkServer,
        StartMethod::Spawn => &spawn::Spawn,
        StartMethod::Fork => &fork::Fork,
    }
}

impl<'a> Work<'a> {
    /// What a process that is not a copy of this one can do.
    fn for_a_stranger(self) -> Result<(TaskRef, &'a Object), StartError> {
        match self {
            Work::Task(task, argument) => Ok((task, argument)),
            Work::Closure(_) => Err(StartError::Invalid(
                "a closure with what it has captured is only in this process; start it by \
                 StartMethod::Fork, or give Process::new a function"
                    .into(),
            )),
        }
    }
}

/// Checks, before the first start, that processes can be started at all. Optional: every start does.
///
/// # Errors
///
/// [`StartError::HookMissing`] where the hook was not linked into the program,
/// [`StartError::NoProgram`] without a mounted `/proc`.
pub fn init() -> Result<(), StartError> {
    if !hook::has_run() {
        return Err(StartError::HookMissing);
    }
    image::identity().map_err(StartError::from_proc)?;
    Ok(())
}

/// The first words of a process made by exec. One that says anything but "ready" is gone afterwards.
fn hear(launched: &Launched, keeper: &Keeper) -> Result<Hello, StartError> {
    let in_time = poll::readable(launched.socket.as_fd(), Deadline::after(PATIENCE));
    if in_time != Ok(true) {
        let _ = launched.pidfd.signal(Signal::Kill);
        launched.post_mortem(keeper);
        return Err(StartError::Build(format!(
            "this program, run again, did not come up in {} s",
            PATIENCE.as_secs()
        )));
    }
    let mut buffer = [0; Hello::MOST_BYTES];
    let heard = launched.socket.recv(&mut buffer);
    let hello = heard
        .ok()
        .and_then(|got| Hello::from_bytes(&buffer[..got.len]));
    match hello {
        Some(Hello::Refused(text)) => {
            launched.post_mortem(keeper);
            Err(StartError::Build(text))
        }
        Some(hello) => Ok(hello),
        None => {
            let how = launched.post_mortem(keeper);
            Err(StartError::Build(format!(
                "what was run as this program {how} before it came up; was it started by way of \
                 another one, such as ld.so?"
            )))
        }
    }
}
