//! Start method Spawn: this program is run again for each child.
//!
//! Costs several times what a fork server does, and shares nothing with other children.

use multiproc_shm::Object;
use multiproc_sys::child::{Rights, Signal};
use multiproc_wire::task::TaskRef;

use super::{Order, Place, Starter, Work, hear};
use crate::child::Born;
use crate::context::StartMethod;
use crate::error::StartError;
use crate::keeper::{self, LaunchError};
use crate::request::{Request, Role};

pub(super) struct Spawn;

impl Starter for Spawn {
    fn make(&self, order: &Order<'_>, work: Work<'_>) -> Result<Born, StartError> {
        let (task, argument) = work.for_a_stranger()?;
        start(order, task, argument)
    }
}

pub(super) fn start(
    order: &Order<'_>,
    task: TaskRef,
    argument: &Object,
) -> Result<Born, StartError> {
    // All that can fail before there is a process.
    let Place { seat, plan } = order.place(task, argument)?;
    let (fds, beside) = order.beside();
    let environment = order.wishes.environment();
    let rights = Rights::of_this_thread().map_err(StartError::from_proc)?;
    let (keeper, launched) = loop {
        let keeper = keeper::with_rights(&rights)?;
        match keeper.launch(Role::Child, environment.clone()) {
            Ok(launched) => break (keeper, launched),
            Err(LaunchError::RightsMoved) => keeper::retire(&keeper),
            Err(LaunchError::Start(error)) => return Err(error),
        }
    };
    let changes = order.wishes.surroundings().since(&launched.birth);
    let request = Request::new(&plan, changes, beside).to_bytes();
    // Queued while the program still loads. An error means that it has ended, which is heard below.
    let sent = launched.socket.send(&request, &fds);
    hear(&launched, &keeper)?;
    if let Err(errno) = sent {
        let _ = launched.pidfd.signal(Signal::Kill);
        launched.post_mortem(&keeper);
        return Err(StartError::from_errno("cannot ask for the process", errno));
    }
    Ok(Born {
        member: seat.launched(),
        pid: launched.pid,
        pidfd: launched.pidfd,
        keeper,
        method: StartMethod::Spawn,
    })
}
