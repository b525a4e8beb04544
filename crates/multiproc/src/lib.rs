//! Python's `multiprocessing` for Rust: processes that run a function, pools, locks and queues,
//! with nothing to set up. Whatever dies, whenever it dies, nobody hangs, nothing finished is
//! lost, and the survivor is told what happened.
//!
//! START HERE: this page is a lesson, in the order in which things are needed.
//!
//! # A process
//!
//! A process runs a function and returns its result. The function is a plain one, or a closure
//! that captures nothing; everything it needs comes as its argument, and several arguments travel
//! as a tuple. Argument and result are serde values.
//!
//! ```
//! use multiproc::Process;
//!
//! fn area((width, height): (u64, u64)) -> u64 { width * height }
//! let process = Process::new(area, (6, 7)).name("area").start()?;
//! assert_eq!(process.join()?, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There is no line to add to `main`, and it works from tests, doc tests and benches as well: this
//! text is one. What a process prints goes where its parent prints. A panic comes back as an error,
//! with its text and place; so does a signal.
//!
//! ```
//! # use multiproc::Process;
//! let process: Process<u32> = Process::new(|n: u32| 100 / n, 0).start()?;
//! let error = process.join().unwrap_err();
//! assert!(error.is_panicked() && error.to_string().contains("divide by zero"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A pool
//!
//! Starting a process takes a fraction of a millisecond; a task of a pool takes less than a
//! microsecond. [`Pool::map`](PoolHandle::map) answers in order, [`Pool::imap_unordered`](PoolHandle::imap_unordered) as soon as something is
//! done, [`Pool::apply_async`](PoolHandle::apply_async) gives a handle for one result.
//!
//! ```
//! use multiproc::Pool;
//!
//! let pool = Pool::new(2)?;
//! assert_eq!(pool.map(|n: u64| n * n, 1..=4)?, [1, 4, 9, 16]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every task ends as its value or an error that says why, in bounded time. A worker that dies
//! costs the one task it was running; the pool replaces it and goes on.
//!
//! # A lock
//!
//! Locks and the other shared objects are for processes and threads alike. They travel: as an
//! argument, inside a struct, in a queue. What arrives is the same object.
//!
//! ```
//! use multiproc::{Lock, Process, Value};
//!
//! fn count((lock, total): (Lock, Value<u64>)) {
//!     for _ in 0..100 {
//!         let _guard = lock.acquire().unwrap();
//!         total.set(total.get() + 1);
//!     }
//! }
//!
//! let (lock, total) = (Lock::new()?, Value::new(0)?);
//! let other = Process::new(count, (lock.clone(), total.clone())).start()?;
//! count((lock, total.clone()));
//! other.join()?;
//! assert_eq!(total.get(), 200);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! If a process dies with the lock in its hands, the next `acquire` says so instead of waiting for
//! ever; whoever has put the data in order calls [`Lock::recover`].
//!
//! # A queue
//!
//! Any number of processes put, any number get. When [`Queue::put`] returns, everyone can see the
//! item; no death of a process loses it after that, and nothing is seen twice.
//!
//! ```
//! use multiproc::{Process, Queue};
//!
//! let queue = Queue::bounded(8)?;
//! let write = |queue: Queue<String>| {
//!     ["A", "B", "C"].map(|letter| queue.put(letter.to_owned()).unwrap());
//!     queue.close();
//! };
//! let writer = Process::new(write, queue.clone()).start()?;
//! let mut text = String::new();
//! queue.iter().for_each(|letter| text += &letter.unwrap());
//! assert_eq!(text, "ABC");
//! writer.join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Whoever has to look after several things calls [`wait`]: it says which queues, events and
//! processes are ready, and which sockets.
//!
//! # A manager
//!
//! A server process that holds dicts, lists and objects of your own types; functions travel to them.
//!
//! ```
//! let manager = multiproc::Manager::start()?;
//! let words = manager.dict::<String, u32>()?;
//! words.update_or("hello".into(), 0, |n, by| *n += by, 1)?;
//! assert_eq!(words.get("hello")?, Some(1));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # Limits
//!
//! Linux, kernel 5.11 or later. A function must be part of the program itself, not of a shared
//! object it has loaded. [`Bytes`] and `Vec<u8>` travel at the speed of a copy, all else at the
//! speed of serde; `&str` cannot be an argument's type, `String` can.

#![forbid(unsafe_code)]

pub use multiproc_manager::types::*;
pub use multiproc_manager::{CallError, Manager, ManagerBuilder, ManagerError, ProxyError};
pub use multiproc_pipe::{
    AcceptError, Address, BindError, Client, ConnectError, Connection, Key, Listener, Receiver,
    RecvError, SendError, Sender, channel, pipe,
};
pub use multiproc_pool::{
    AnyPool, AsyncResult, BrokenCause, BuildError, Imap, ImapUnordered, Pool, PoolBuilder,
    PoolHandle, PoolJoinError, PoolStats, Progress, Retry, Shutdown, TaskError, TaskErrorKind,
    ThreadPool, WorkerState, WorkerStats,
};
pub use multiproc_process::{
    ActiveChild, CloseError, Context, CurrentProcess, ExitStatus, JoinError, LogLevel, PanicReport,
    ParentProcess, Process, ProcessBuilder, Resource, Run, SignalError, StartError, StartMethod,
    Stdio, active_children, cpu_count, current_process, get_start_method, init, log_to_stderr,
    parent_process, set_forkserver_preload, set_start_method, signal_name, start_methods,
};
pub use multiproc_queue::{
    FinishError, GetError, GetManyError, Iter, JoinableQueue, PutError, Queue, SimpleQueue,
    TaskDoneError,
};
pub use multiproc_shm::{
    AccessError, CreateError, ListBuilder, ListError, ListItem, OpenError, ShareableList,
    SharedMemory, SharedMemoryManager,
};
pub use multiproc_sync::*;
pub use multiproc_wire::{
    Bytes, DecodeError, EncodeError, Fd, FunctionError, NotTravelling, TaskFailure,
};
