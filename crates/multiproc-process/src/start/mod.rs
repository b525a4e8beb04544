//! How a process comes about: one file per start method, one form of request for all.

pub(crate) mod forkserver;
pub(crate) mod spawn;

use std::os::fd::AsFd;
use std::time::Duration;

use multiproc_shm::family::{self, Seat};
use multiproc_shm::{Object, Outbox};
use multiproc_sys::child::Signal;
use multiproc_sys::clock::Deadline;
use multiproc_sys::{image, poll};
use multiproc_wire::task::TaskRef;

use crate::builder::{Lifetime, StartMethod};
use crate::child::Born;
use crate::current;
use crate::error::StartError;
use crate::hook;
use crate::keeper::{Keeper, Launched};
use crate::request::{Hello, Plan};

/// A program that takes longer to reach the hook does not come up: initialisers of other libraries
/// run before it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be started.
pub(crate) struct Order<'a> {
    pub(crate) task: TaskRef,
    pub(crate) argument: &'a Object,
    pub(crate) outbox: &'a Outbox,
    pub(crate) name: &'a str,
    pub(crate) lifetime: Lifetime,
}

/// A place in the family for one attempt at an order, with everything the child is to find there.
struct Place {
    seat: Seat,
    plan: Plan,
}

impl Order<'_> {
    fn place(&self) -> Result<Place, StartError> {
        let seat = family::reserve(self.name)?;
        for object in [self.argument, self.outbox.object()] {
            seat.endow(object)?;
        }
        let plan = Plan {
            member: seat.id(),
            task: self.task,
            argument: self.argument.handle(),
            outbox: self.outbox.object().handle(),
            name: self.name.to_owned(),
            parent_name: current::current_process().name().to_owned(),
            lifetime: self.lifetime,
        };
        Ok(Place { seat, plan })
    }
}

/// Makes the process that `order` describes.
pub(crate) fn start(order: &Order<'_>, method: StartMethod) -> Result<Born, StartError> {
    match method {
        StartMethod::ForkServer => match forkserver::start(order)? {
            Some(born) => Ok(born),
            None => spawn::start(order),
        },
        StartMethod::Spawn => spawn::start(order),
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
