//! What every child will do, done ahead: in the zygote once for all, and in each spare while nobody
//! waits for it yet.
//!
//! A copy of a process meets each page of its memory with a fault, about 2 µs each, and half of those
//! a child meets are the same for every task. This file only moves them from after the request to
//! before it; nothing depends on what it does.

use std::ops::Range;
use std::sync::OnceLock;

use multiproc_shm::{Handle, MemberId};
use multiproc_sys::child::{Changes, flush};
use multiproc_sys::{image, liveness, memory};
use multiproc_wire::task::TaskRef;

use crate::builder::Lifetime;
use crate::request::{Beside, Plan, Request};
use crate::{guard, outcome};

/// A program with more variables than this is left alone: most of their pages are not for our use, and
/// copying them all costs more than a few faults.
const MOST_VARIABLES: usize = 48 << 10;

/// How much of the stack a small task uses.
const STACK: usize = 8 << 10;

/// What the zygote finds out once, and its copies find there.
static SCRIPT: OnceLock<Script> = OnceLock::new();

struct Script {
    /// For a task that does nothing.
    request: Vec<u8>,
    /// Where the program keeps its variables.
    variables: Vec<Range<usize>>,
}

impl Script {
    fn new() -> Option<Script> {
        let nobody = Handle::from_words([0; 3]);
        let plan = Plan {
            member: MemberId::from_bits(1 << 32)?,
            task: TaskRef::of_call(|| ()).ok()?,
            argument: nobody,
            outbox: nobody,
            name: "Process-1".into(),
            parent_name: "main".into(),
            lifetime: Lifetime::Joined,
        };
        Some(Script {
            request: Request::new(&plan, Changes::default(), Beside::default()).to_bytes(),
            variables: image::variables(MOST_VARIABLES),
        })
    }
}

/// Binds symbols, registers destructors, meets the code, and owns the pages that will be written.
pub(crate) fn run() {
    let script = guard::catch(|| match SCRIPT.get() {
        None => Script::new().map(|script| SCRIPT.get_or_init(|| script)),
        known => known,
    });
    let Ok(Some(script)) = script else { return };
    for addresses in &script.variables {
        memory::own(addresses);
    }
    let frame = 0_u8;
    let here = std::ptr::from_ref(&frame).addr();
    memory::own(&(here - STACK..here));
    let _ = guard::catch(|| play(script));
    liveness::own_number();
}

/// The way of a child from its request to its end, as far as that leaves no trace.
fn play(script: &Script) {
    let mut reply = outcome::returned();
    let request = Request::from_bytes(&script.request);
    if let Some(Ok(task)) = request.map(|request| request.task().resolve()) {
        let _ = task.run(&[], &[], &mut reply);
    }
    flush();
}
