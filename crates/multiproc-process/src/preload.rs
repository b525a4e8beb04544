//! What a fork server loads before it makes its first copy.
//!
//! The function travels to the fork server, which calls it once; what it leaves in memory, every copy
//! has, without a copy of its own until it writes there. A fork server with another preload than the
//! one now set is replaced at the next start.

use multiproc_sys::rest::{self, Restless};
use multiproc_wire::task::TaskRef;
use multiproc_wire::{FunctionError, Parcel};
use parking_lot::Mutex;

use crate::guard;

static PRELOAD: Mutex<Option<fn()>> = Mutex::new(None);

/// Has `load` called once in the fork server, before it makes the next process. What that puts into
/// statics (a model, tables) is there in all processes started by
/// [`StartMethod::ForkServer`](crate::StartMethod::ForkServer) from now on, and is in memory once,
/// however many they are, as long as they only read it.
///
/// By other start methods, and in this process itself, it is not called: reach what it loads by
/// `OnceLock::get_or_init` or the like, and it is loaded there at the first use.
///
/// `load` sees no input and prints nowhere. It must not change the working directory, which is this
/// process's, nor make shared objects, since a fork server is no member of the family. Where it panics
/// or leaves a thread running, which copies would not have, every start is an error
/// ([`StartError::Preload`](crate::StartError::Preload)).
///
/// A subscriber of `tracing` that is set in here is the subscriber of every such process.
///
/// ```
/// use std::sync::OnceLock;
/// use multiproc_process::{Process, set_forkserver_preload};
///
/// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
///
/// fn table() -> &'static [u64] {
///     TABLE.get_or_init(|| (0..100_000).map(|n| n * n).collect())
/// }
///
/// set_forkserver_preload(|| {
///     table();
/// });
/// let process = Process::new(|n: usize| table()[n], 7).start()?;
/// assert_eq!(process.join()?, 49);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Differences from Python
///
/// A function, not names of modules; and it may be set again at any time.
pub fn set_forkserver_preload(load: fn()) {
    *PRELOAD.lock() = Some(load);
}

/// What is to be loaded now.
pub(crate) fn wanted() -> Result<Option<TaskRef>, FunctionError> {
    let load = *PRELOAD.lock();
    load.map(TaskRef::of_call).transpose()
}

/// Loads, in the fork server; what is wrong with it, as a sentence without its beginning.
pub(crate) fn load(task: TaskRef) -> Result<(), String> {
    let task = task.resolve().map_err(|error| error.to_string())?;
    // An initialiser of the program may have left a thread already, which is its own business.
    let was_alone = rest::all_at_rest().is_ok();
    guard::catch(|| task.run(&[], &[], &mut Parcel::default()))
        .map_err(|report| {
            let at = report.location.unwrap_or_else(|| "an unknown place".into());
            format!("panicked at {at}: {}", report.message)
        })?
        .map_err(|error| error.to_string())?;
    match rest::all_at_rest() {
        Err(Restless::Threads(names)) if was_alone => Err(format!(
            "left threads running ({}), which the processes would not have",
            names.join(", ")
        )),
        _ => Ok(()),
    }
}
