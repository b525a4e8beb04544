//! A worker's terms: what it does before its first task, and when it retires.
//!
//! The terms travel to each worker with its seat. A worker that retires simply leaves: what it has
//! not begun goes back to the parent, as after a death, and its state is dropped like any value.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use multiproc_process::guard;
use multiproc_shm::{Object, parcel};
use multiproc_sys::usage::private_memory;
use multiproc_wire::task::{State, TaskRef};
use multiproc_wire::{EncodeError, FunctionError, Parcel, RunError, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::BuildError;

/// How often a worker looks at its memory in the middle of a chunk, which costs some microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The terms of one pool's workers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// Run one after the other; what the last leaves is the state.
    pub(crate) steps: Vec<Preparation>,
    /// Tasks in a worker's life; 0: any number.
    pub(crate) most_tasks: u64,
    /// Bytes a worker may use and stay; 0: any number.
    pub(crate) most_memory: u64,
    /// Whether the worker is a process rather than a thread.
    pub(crate) own_process: bool,
}

/// A function that prepares a worker, and its argument, encoded once for all workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Preparation {
    what: String,
    function: TaskRef,
    argument: Object,
}

impl Preparation {
    pub(crate) fn new<A>(
        what: &str,
        function: Result<TaskRef, FunctionError>,
        argument: &A,
    ) -> Result<Preparation, BuildError>
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        let parcel = codec::encode_checked(argument).map_err(BuildError::Encode)?;
        let argument = parcel::store(&parcel).map_err(|error| match error.is_invalid() {
            true => BuildError::Encode(EncodeError::new(what, error)),
            false => BuildError::Create(error),
        })?;
        Ok(Preparation {
            what: what.to_owned(),
            function: function.map_err(BuildError::Function)?,
            argument,
        })
    }

    fn run(&self, state: &mut State) -> Result<(), String> {
        let task = self.function.resolve().map_err(|error| error.to_string())?;
        let run = || {
            parcel::with_bytes(&self.argument, |bytes, attachments| {
                task.run_with(state, bytes, attachments, &mut Parcel::default())
            })
        };
        match guard::catch(AssertUnwindSafe(run)) {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(RunError::Failed(text)))) => Err(format!("failed: {text}")),
            Ok(Ok(Err(RunError::Decode(error)))) => Err(error.to_string()),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(format!("its argument did not arrive: {error}")),
            Err(report) => Err(match report.location {
                Some(place) => format!("panicked at {place}: {}", report.message),
                None => format!("panicked: {}", report.message),
            }),
        }
        .map_err(|text| format!("its {} {text}", self.what))
    }
}

impl Terms {
    /// Runs the steps; the state they leave, or why one of them gave none.
    pub(crate) fn prepare(&self) -> Result<State, String> {
        let mut state: State = Box::new(());
        for step in &self.steps {
            step.run(&mut state)?;
        }
        Ok(state)
    }
}

/// When a worker has done enough.
pub(crate) struct Retirement {
    /// `None`: it may run any number.
    tasks_left: Option<u64>,
    most_memory: u64,
    looked: Instant,
}

impl Retirement {
    pub(crate) fn new(terms: &Terms) -> Retirement {
        Retirement {
            tasks_left: (terms.most_tasks > 0).then_some(terms.most_tasks),
            most_memory: terms.most_memory,
            looked: Instant::now(),
        }
    }

    /// After a task, or `between` two chunks: whether it is time to go.
    pub(crate) fn is_due(&mut self, between: bool) -> bool {
        if let Some(left) = &mut self.tasks_left {
            *left -= u64::from(!between && *left > 0);
            if *left == 0 {
                return true;
            }
        }
        self.most_memory > 0 && self.uses_too_much(between)
    }

    fn uses_too_much(&mut self, between: bool) -> bool {
        if !between && self.looked.elapsed() < LOOK_EVERY {
            return false;
        }
        self.looked = Instant::now();
        private_memory(std::process::id()).is_some_and(|used| used > self.most_memory)
    }
}
