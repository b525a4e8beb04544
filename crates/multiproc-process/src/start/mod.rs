//! How a process comes about: one file per start method, one form of request for all.

pub(crate) mod forkserver;
pub(crate) mod spawn;

use std::os::fd::AsFd;
use std::time::Duration;

use multiproc_shm::family::Seat;
use multiproc_sys::child::Signal;
use multiproc_sys::clock::Deadline;
use multiproc_sys::{image, poll};

use crate::builder::StartMethod;
use crate::child::Born;
use crate::error::StartError;
use crate::hook;
use crate::keeper::{Keeper, Launched};
use crate::request::{Hello, Plan};

/// A program that takes longer to reach the hook does not come up: initialisers of other libraries
/// run before it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the process that `plan` describes.
pub(crate) fn start(plan: &Plan, seat: &Seat, method: StartMethod) -> Result<Born, StartError> {
    match method {
        StartMethod::ForkServer => match forkserver::start(plan, seat)? {
            Some(born) => Ok(born),
            None => spawn::start(plan),
        },
        StartMethod::Spawn => spawn::start(plan),
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
    image::identity().map_err(StartError::NoProgram)?;
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
