//! What clients and server say to each other. `PROTOCOL.md` describes it for other programs.
//!
//! The order of variants and fields is the protocol: postcard writes a variant as its number, so a
//! new one goes to the end, and any other change is a new [`VERSION`].

use multiproc_process::PanicReport;
use multiproc_sync::DeadlockLink;
use multiproc_wire::Bytes;
use serde::{Deserialize, Serialize};

/// The version of everything in this file, which the handshake compares.
pub(crate) const VERSION: u16 = 1;

/// The object number of the server itself.
pub(crate) const SERVER: u64 = 0;

/// The map of names that every client can reach, which is there from the start.
pub(crate) const NAMES: u64 = 1;

/// The sequence number of requests that get no reply.
pub(crate) const NO_REPLY: u64 = 0;

/// An encoded value, and the objects of this server that proxies inside it stand for: a proxy is an
/// index into `links`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packed {
    pub(crate) bytes: Bytes,
    pub(crate) links: Vec<u64>,
}

/// How long a call may wait, in microseconds: `None` for ever, zero not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wait(pub(crate) Option<u64>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Chosen by the client, which finds the reply by it.
    pub(crate) seq: u64,
    pub(crate) object: u64,
    pub(crate) op: Op,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    Server(ServerOp),
    Map(MapOp),
    List(ListOp),
    Set(SetOp),
    Queue(QueueOp),
    Lock(LockOp),
    Semaphore(SemaphoreOp),
    Condition(ConditionOp),
    Event(EventOp),
    Barrier(BarrierOp),
    Run(Run),
}

/// A function of the program, to be run beside the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) task: [u64; 3],
    /// Whether the function may change the object; else others may read it meanwhile.
    pub(crate) exclusive: bool,
    pub(crate) argument: Packed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ServerOp {
    /// The first request of a connection.
    Hello(Hello),
    Create(Make),
    /// So many handles fewer.
    Release {
        object: u64,
        count: u64,
    },
    /// A handle is on its way to another client under the number `loan`, which the lender chose.
    Lend {
        object: u64,
        loan: u64,
    },
    /// It has arrived: one handle more for this client.
    Adopt {
        object: u64,
        loan: u64,
    },
    Census,
    Shutdown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// What functions are known by; empty for a program that sends none.
    pub(crate) build: Bytes,
    pub(crate) pid: u32,
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Make {
    Map,
    List { items: Vec<Packed>, fixed: bool },
    Set,
    Queue { capacity: u64 },
    Lock { reentrant: bool },
    Semaphore { permits: u64, most: u64 },
    Condition,
    Event,
    Barrier { parties: u64 },
    User { task: [u64; 3], argument: Packed },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MapOp {
    Get {
        key: Bytes,
    },
    Insert {
        key: Bytes,
        value: Packed,
    },
    Remove {
        key: Bytes,
    },
    Contains {
        key: Bytes,
    },
    Len,
    Clear,
    /// Up to `most` entries in the order of the keys' bytes, behind `after`.
    Page {
        after: Option<Bytes>,
        most: u32,
    },
    GetMany {
        keys: Vec<Bytes>,
    },
    InsertMany {
        entries: Vec<(Bytes, Packed)>,
    },
    /// The value there is, else `value`, which is there from now on.
    GetOrInsert {
        key: Bytes,
        value: Packed,
    },
    PopFirst,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ListOp {
    Len,
    Get {
        index: u64,
    },
    Set {
        index: u64,
        value: Packed,
    },
    Insert {
        index: u64,
        value: Packed,
    },
    Remove {
        index: u64,
    },
    Extend {
        values: Vec<Packed>,
    },
    Pop,
    Page {
        from: u64,
        most: u32,
    },
    Truncate {
        len: u64,
    },
    Reverse,
    /// The index of the first item with these bytes.
    Find {
        value: Packed,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SetOp {
    Insert {
        values: Vec<Bytes>,
    },
    Remove {
        values: Vec<Bytes>,
    },
    Contains {
        value: Bytes,
    },
    Len,
    Clear,
    Page {
        after: Option<Bytes>,
        most: u32,
    },
    PopFirst,
    /// What both, either, one or only this one of two sets have.
    Combine {
        with: u64,
        how: Algebra,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algebra {
    Union,
    Intersection,
    Difference,
    SymmetricDifference,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum QueueOp {
    Put {
        value: Packed,
        wait: Wait,
    },
    Get {
        wait: Wait,
    },
    /// At least one, at most so many.
    GetMany {
        most: u32,
        wait: Wait,
    },
    Len,
    Capacity,
    Close,
    IsClosed,
    TaskDone,
    /// Until no item is in the queue or in the hands of a client; answers with how many were lost since
    /// this client was last told.
    Join {
        wait: Wait,
    },
    Unfinished,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LockOp {
    Acquire {
        thread: u64,
        wait: Wait,
    },
    /// As `Acquire`, and sound again if its owner died.
    Recover {
        thread: u64,
        wait: Wait,
    },
    Release {
        thread: u64,
    },
    IsLocked,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SemaphoreOp {
    /// Answers with the number of the permit.
    Acquire {
        wait: Wait,
    },
    /// That permit, or any.
    Release {
        permit: Option<u64>,
    },
    Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConditionOp {
    /// Releases the lock and waits; has it again when it answers, with whether it was notified.
    Wait {
        lock: u64,
        thread: u64,
        wait: Wait,
    },
    Notify {
        count: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EventOp {
    Set,
    Clear,
    IsSet,
    Wait { wait: Wait },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BarrierOp {
    Wait {
        wait: Wait,
    },
    Reset,
    Abort,
    /// Parties, waiting, and whether it is broken.
    State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) seq: u64,
    pub(crate) result: Result<Answer, Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Unit,
    Bool(bool),
    Count(u64),
    Value(Option<Packed>),
    Values(Vec<Option<Packed>>),
    Entries(Vec<(Bytes, Packed)>),
    Keys(Vec<Bytes>),
    Counts(Vec<u64>),
    Welcome(Welcome),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// The server's own number, drawn at random.
    pub(crate) server: u64,
    /// This connection's number.
    pub(crate) client: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// No such object.
    NotFound,
    /// The object has no such operation.
    WrongKind,
    Refused(String),
    /// The function comes from another build of the program.
    Build,
    Panicked(PanicReport),
    Poisoned,
    Decode(String),
    Encode(String),
    TooLarge {
        size: u64,
        limit: u64,
    },
    /// It would have to wait, and must not.
    WouldBlock,
    TimedOut,
    Closed,
    OwnerDied {
        pid: u32,
        name: String,
    },
    NotHeld,
    NotOwner,
    AboveBound,
    Broken(BarrierEnd),
    OutOfRange {
        len: u64,
    },
    /// Threads wait for each other's locks, this one first.
    Deadlock(Vec<DeadlockLink>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BarrierEnd {
    TimedOut,
    Aborted,
    Reset,
    Died,
}
