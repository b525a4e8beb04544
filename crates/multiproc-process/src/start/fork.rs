//! Start method Fork: this process itself is copied, with all its memory and open files.
//!
//! Owns the invariant **a copy is made only while no other thread is inside anything**: the library's
//! own threads rest, and where others run, the start is refused. In the copy, all that this process
//! knew of children of *its* is forgotten, since they are not the copy's; references to shared
//! objects it has of its own, by its seat.

use std::os::fd::AsFd;

use multiproc_shm::family;
use multiproc_sys::Errno;
use multiproc_sys::child::stdio::{self, Stream};
use multiproc_sys::child::{Forked, Rights, Surroundings, fork, lifetime, set_name};
use multiproc_sys::rest::{self, Restless};

use super::{Order, Starter, Work};
use crate::bootstrap::{self, Call};
use crate::builder::Lifetime;
use crate::child::{self, Born};
use crate::context::StartMethod;
use crate::error::StartError;
use crate::request::environment_to_bytes;
use crate::{current, exit, guard, keeper, stdio as streams};

pub(super) struct Fork;

impl Starter for Fork {
    fn make(&self, order: &Order<'_>, work: Work<'_>) -> Result<Born, StartError> {
        start(order, work)
    }
}

fn start(order: &Order<'_>, work: Work<'_>) -> Result<Born, StartError> {
    let rights = Rights::of_this_thread().map_err(StartError::from_proc)?;
    // It reaps the copy, which is this thread's child and not its own.
    let keeper = keeper::with_rights(&rights)?;
    let seat = family::reserve(order.name)?;
    if let Work::Task(_, argument) = &work {
        seat.endow(argument)?;
    }
    let parent = std::process::id();
    let rest = rest::all_at_rest().map_err(|restless| match restless {
        Restless::Threads(names) => StartError::ThreadsRunning { names },
        Restless::Os(errno) => StartError::from_proc(errno),
    })?;
    let forked = seat.endow_all(|| fork(rest))?;
    match forked.map_err(|errno| StartError::from_errno("fork", errno))? {
        Forked::Parent(pid, pidfd) => Ok(Born {
            member: seat.launched(),
            pid,
            pidfd,
            keeper,
            method: StartMethod::Fork,
        }),
        Forked::Copy => {
            let member = seat.launched();
            drop(keeper);
            if family::take_seat(member).is_err() {
                lifetime::exit_now(1);
            }
            become_child(order, work, parent)
        }
    }
}

/// The way into a child of [`bootstrap`], as far as it is not gone already: a copy is where the starter
/// is and has what the starter has.
fn become_child(order: &Order<'_>, work: Work<'_>, parent: u32) -> ! {
    keeper::forget_all();
    child::forget_all();
    streams::forget_all();
    drop(order.our_ends.take());
    guard::install();
    let ready = prepare(order, parent);
    let daemon = order.lifetime == Lifetime::Daemon;
    let parent_name = current::name();
    current::become_child(order.name.to_owned(), daemon, parent, parent_name);
    let code = match work {
        Work::Task(task, argument) => {
            let call = Call {
                task,
                argument: argument.handle(),
            };
            bootstrap::run(order.outbox.clone(), ready, || bootstrap::call(&call))
        }
        Work::Closure(closure) => bootstrap::run(order.outbox.clone(), ready, || {
            bootstrap::call_closure(closure)
        }),
    };
    exit::end(code)
}

fn prepare(order: &Order<'_>, parent: u32) -> Result<(), String> {
    set_name(order.name);
    if order.lifetime == Lifetime::Detached {
        family::look_after_orphans();
    } else if lifetime::die_with_parent(parent) != Ok(true) {
        lifetime::exit_now(1);
    }
    let os = |errno: Errno| errno.to_string();
    let [output, error] = order.streams.outputs();
    let null;
    let input = match order.streams.input() {
        Some(input) => input,
        None => {
            null = stdio::null().map_err(os)?;
            null.as_fd()
        }
    };
    // A stream may lead where another one is now.
    let streams = [input, output, error].map(|fd| fd.try_clone_to_owned());
    for (stream, fd) in [Stream::Input, Stream::Output, Stream::Error]
        .into_iter()
        .zip(streams)
    {
        let fd = fd.map_err(|error| error.to_string())?;
        stream.point_to(fd.as_fd()).map_err(os)?;
    }
    bootstrap::enter(order.directory.as_ref().map(AsFd::as_fd))?;
    if !order.wishes.environment.is_empty() {
        bootstrap::set_environment(&environment_to_bytes(&order.wishes.environment()));
    }
    let born_in = Surroundings::of_this_thread();
    let changes = order.wishes.surroundings().since(&born_in);
    changes
        .apply()
        .map_err(|errno| format!("cannot change its surroundings: {errno}"))
}
