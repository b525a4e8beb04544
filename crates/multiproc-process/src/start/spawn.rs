//! Start method Spawn: this program is run again for each child.
//!
//! Costs several times what a fork server does, and shares nothing with other children.

use std::os::fd::AsFd;

use multiproc_sys::child::{Rights, Signal, Surroundings, stdio};

use super::{Order, Place, hear};
use crate::builder::StartMethod;
use crate::child::Born;
use crate::error::StartError;
use crate::keeper::{self, LaunchError};
use crate::request::{Request, Role};

pub(crate) fn start(order: &Order<'_>) -> Result<Born, StartError> {
    // All that can fail before there is a process.
    let Place { seat, plan } = order.place()?;
    let null;
    let outputs = match stdio::outputs() {
        Some(outputs) => outputs,
        None => {
            null = stdio::null().map_err(|errno| StartError::from_errno("/dev/null", errno))?;
            [null.as_fd(), null.as_fd()]
        }
    };
    let rights = Rights::of_this_thread().map_err(StartError::from_proc)?;
    let (keeper, launched) = loop {
        let keeper = keeper::with_rights(&rights)?;
        match keeper.launch(Role::Child) {
            Ok(launched) => break (keeper, launched),
            Err(LaunchError::RightsMoved) => keeper::retire(&keeper),
            Err(LaunchError::Start(error)) => return Err(error),
        }
    };
    let changes = Surroundings::of_this_thread().since(&launched.birth);
    let request = Request::new(&plan, changes, false).to_bytes();
    // Queued while the program still loads. An error means that it has ended, which is heard below.
    let sent = launched.socket.send(&request, &outputs);
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
