//! What a process made by this library does before its task: from the hook to the call.
//!
//! Three kinds of process come here: a *zygote* (fork server), which copies itself and never runs a
//! task; a *spare*, such a copy, which waits for one request; and a fresh run of the program that
//! does the same. With the request, either becomes a child. All end here: none ever reaches `main`. A process that is not one of ours, by whatever mark, goes on as
//! the program it is.
#![expect(
    unsafe_code,
    reason = "descriptors taken by number, the environment before other threads exist, and the copy"
)]

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use multiproc_shm::{Handle, Outbox, family, parcel};
use multiproc_sys::Errno;
use multiproc_sys::child::{
    Side, block_all_signals, can_clone, enter_directory, inherited, lifetime, set_name, sibling,
    stdio, take_inherited, unshare_directory,
};
use multiproc_sys::forkmark;
use multiproc_sys::image::{self, Identity};
use multiproc_sys::memory;
use multiproc_sys::socket::{self, Socket};
use multiproc_wire::task::TaskRef;
use multiproc_wire::{Parcel, RunError};
use parking_lot::Mutex;

use crate::builder::Lifetime;
use crate::request::{
    Boot, Hello, MOST_BYTES, Reply, Request, Role, Wanted, environment_from_bytes,
};
use crate::start::Closure;
use crate::{current, exit, guard, log, outcome, preload, rehearsal};

/// Names the boot record: `<descriptor>:<nonce>`. Never part of an environment user code sees.
pub(crate) const VARIABLE: &str = "MULTIPROC_BOOT";

/// The exit code after a panic, as of a program whose `main` panics.
const PANICKED: i32 = 101;

/// The exit code when there was no result to give for another reason.
const FAILED: i32 = 1;

/// The value of the boot variable.
pub(crate) fn variable(record: i32, nonce: u64) -> String {
    format!("{record}:{nonce:016x}")
}

static FORGED: AtomicBool = AtomicBool::new(false);

/// Lets this process announce a program to its children that it is not. For tests.
pub(crate) fn forge_identity(forge: bool) {
    FORGED.store(forge, Ordering::Relaxed);
}

/// The program a new process is told to be.
pub(crate) fn announced_identity() -> Result<Identity, Errno> {
    let mut identity = image::identity()?;
    if FORGED.load(Ordering::Relaxed) {
        identity.size += 1;
    }
    Ok(identity)
}

/// Why the boot variable is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stale {
    Form,
    Record,
    Nonce,
    Parent,
    Socket,
    Arena,
    Exchange,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stale::Form => "it does not have the form of one",
            Stale::Record => "it names no boot record",
            Stale::Nonce => "it belongs to another boot record",
            Stale::Parent => "it was meant for a child of another process",
            Stale::Socket => "its socket does not lead to the parent",
            Stale::Arena => "it names no arena",
            Stale::Exchange => "it names no file exchange",
        })
    }
}

/// A process made by this library, and what it was given.
struct Recognised {
    boot: Boot,
    socket: Socket,
    arena: OwnedFd,
    exchange: OwnedFd,
}

/// Becomes what the boot variable says and never returns, or returns because it says nothing true.
///
/// `initialise` runs what the program would have run before `main`, after this hook.
pub(crate) fn take_over(initialise: impl FnOnce()) {
    let Some(value) = std::env::var_os(VARIABLE) else {
        return;
    };
    // SAFETY: initialisers run one after the other before `main`; no thread of this program reads
    // the environment yet, unless an earlier initialiser has made one, which must expect this.
    unsafe { std::env::remove_var(VARIABLE) };
    if lifetime::is_elevated() {
        return;
    }
    match recognise(&value) {
        Ok(recognised) => {
            // Unwinding any further would let the program begin as if it had been started by hand.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| serve(recognised, initialise)));
            lifetime::exit_now(FAILED);
        }
        Err(stale) => eprintln!("multiproc: {VARIABLE} is ignored: {stale}"),
    }
}

fn recognise(value: &OsStr) -> Result<Recognised, Stale> {
    let (record, nonce) = value
        .to_str()
        .and_then(|text| text.split_once(':'))
        .ok_or(Stale::Form)?;
    let record = record.parse().map_err(|_| Stale::Form)?;
    let nonce = u64::from_str_radix(nonce, 16).map_err(|_| Stale::Form)?;
    let record = inherited(record).ok_or(Stale::Record)?;
    let bytes = memory::read_sealed(record).map_err(|_| Stale::Record)?;
    let boot = Boot::from_bytes(&bytes).ok_or(Stale::Record)?;
    if boot.nonce != nonce {
        return Err(Stale::Nonce);
    }
    if boot.parent != std::os::unix::process::parent_id() {
        return Err(Stale::Parent);
    }
    let socket = inherited(boot.socket).ok_or(Stale::Socket)?;
    if socket::peer_pid(socket) != Ok(boot.parent) {
        return Err(Stale::Socket);
    }
    let arena = inherited(boot.arena).ok_or(Stale::Arena)?;
    let exchange = inherited(boot.exchange).ok_or(Stale::Exchange)?;
    // SAFETY: the parent made these four for this process alone and no other code has run that
    // could have taken them by number: the record is sealed, names this process's parent, and its
    // socket leads there.
    let [record, socket, arena, exchange] =
        [record, socket, arena, exchange].map(|fd| unsafe { take_inherited(fd) });
    drop(record);
    Ok(Recognised {
        boot,
        socket: Socket::from_fd(socket).map_err(|_| Stale::Socket)?,
        arena,
        exchange,
    })
}

fn serve(recognised: Recognised, initialise: impl FnOnce()) -> ! {
    let Recognised {
        boot,
        socket,
        arena,
        exchange,
    } = recognised;
    if let Err(text) = fit(&boot, arena, exchange) {
        say(&socket, &Hello::Refused(text));
        lifetime::exit_now(FAILED);
    }
    // With all signals blocked, as it was started: the parent decides about its children.
    initialise();
    block_all_signals();
    match boot.role {
        Role::Zygote => zygote(socket, boot.parent),
        Role::Child => spawned(socket, boot.parent),
    }
}

/// Whether this process can be of the family.
fn fit(boot: &Boot, arena: OwnedFd, exchange: OwnedFd) -> Result<(), String> {
    let mine = image::identity().map_err(|errno| format!("/proc/self/exe: {errno}"))?;
    if mine != boot.identity {
        return Err(format!(
            "what was run is another program, or another build of this one: expected {}, found {}",
            describe(&boot.identity),
            describe(&mine)
        ));
    }
    family::adopt(arena, exchange).map_err(|error| error.to_string())
}

fn describe(identity: &Identity) -> String {
    let id = identity.build_id.as_deref().unwrap_or_default();
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let Identity { dev, ino, size, .. } = identity;
    format!("file {dev}:{ino} of {size} bytes, build id '{id}'")
}

/// Without a listener there is nothing to say and the next read ends this process.
fn say(socket: &Socket, hello: &Hello) {
    let _ = socket.send(&hello.to_bytes(), &[]);
}

/// Copies this process whenever it is asked to, until the starter closes its end of the socket.
fn zygote(mut socket: Socket, parent: u32) -> ! {
    set_name("mp-forkserver");
    if let Err(errno) = can_clone() {
        say(&socket, &Hello::CannotCopy(errno.to_string()));
        lifetime::exit_now(FAILED);
    }
    // Whoever reads what the program writes must see its end when the program ends.
    if let Err(errno) = stdio::silence() {
        say(&socket, &Hello::CannotCopy(format!("/dev/null: {errno}")));
        lifetime::exit_now(FAILED);
    }
    forkmark::renew();
    guard::install();
    rehearsal::run();
    say(&socket, &Hello::Ready);
    loop {
        let mut buffer = [0; Wanted::MOST_BYTES];
        let wanted = match socket.recv(&mut buffer) {
            Ok(got) if !got.is_end() => Wanted::from_bytes(&buffer[..got.len]),
            _ => lifetime::exit_now(0),
        };
        match wanted {
            Some(Wanted::OneMore) => {
                socket = match copy(socket, parent) {
                    Ok(socket) => socket,
                    Err(_) => lifetime::exit_now(0),
                };
            }
            Some(Wanted::Preload(task)) => match preload::load(task) {
                Ok(()) => say(&socket, &Hello::Ready),
                Err(text) => {
                    say(&socket, &Hello::Refused(text));
                    lifetime::exit_now(FAILED);
                }
            },
            None => lifetime::exit_now(FAILED),
        }
    }
}

/// One spare. Returns the socket to the starter, in the zygote only.
fn copy(socket: Socket, parent: u32) -> Result<Socket, Errno> {
    let refuse = |errno| socket.send(&Reply::Refused(errno).to_bytes(), &[]);
    let (theirs, ours) = match socket::pair() {
        Ok(pair) => pair,
        Err(errno) => return refuse(errno).map(|()| socket),
    };
    // SAFETY: this process has one thread, made no other, and holds no lock here. (An initialiser
    // that made a thread has it here and not in the copies; its locks are its own business, as they
    // are after a fork.)
    match unsafe { sibling() } {
        Ok(Side::Copy) => {
            drop((socket, theirs));
            spare(ours, parent)
        }
        Ok(Side::Original { pid, pidfd }) => {
            drop(ours);
            let fds = [pidfd.as_fd(), theirs.as_fd()];
            match socket.send(&Reply::Born(pid).to_bytes(), &fds) {
                // Too many descriptors are on the way somewhere. The copy sees the end of its
                // socket.
                Err(errno @ Errno::ETOOMANYREFS) => refuse(errno),
                answer => answer,
            }
        }
        Err(errno) => refuse(errno),
    }
    .map(|()| socket)
}

fn spare(socket: Socket, parent: u32) -> ! {
    if lifetime::die_with_parent(parent) != Ok(true) {
        lifetime::exit_now(FAILED);
    }
    set_name("mp-spare");
    rehearsal::run();
    await_request(socket, parent);
}

/// The child of Spawn.
fn spawned(socket: Socket, parent: u32) -> ! {
    let silent = stdio::null().and_then(|null| stdio::Stream::Input.point_to(null.as_fd()));
    if let Err(errno) = silent {
        say(&socket, &Hello::Refused(format!("/dev/null: {errno}")));
        lifetime::exit_now(FAILED);
    }
    guard::install();
    say(&socket, &Hello::Ready);
    await_request(socket, parent);
}

/// One request, if it comes, and the task.
fn await_request(socket: Socket, parent: u32) -> ! {
    // Memory that nobody has touched: only what arrives costs a page.
    static BUFFER: Mutex<[u8; MOST_BYTES]> = Mutex::new([0; MOST_BYTES]);
    let mut buffer = BUFFER.lock();
    let got = match socket.recv(&mut *buffer) {
        Ok(got) if got.is_end() => lifetime::exit_now(0),
        Ok(got) if !got.truncated => got,
        _ => lifetime::exit_now(FAILED),
    };
    drop(socket);
    let request = Request::from_bytes(&buffer[..got.len]);
    drop(buffer);
    match request {
        Some(request) => become_child(request, got.fds, parent),
        None => lifetime::exit_now(FAILED),
    }
}

/// The one way in which every process becomes a child, whatever it was before.
fn become_child(request: Request, fds: Vec<OwnedFd>, parent: u32) -> ! {
    // First of all, as the starter may move on at any moment.
    let directory = unshare_directory();
    let Some(member) = request.member() else {
        lifetime::exit_now(FAILED);
    };
    if request.lifetime == Lifetime::Detached && lifetime::outlive_parent().is_err() {
        lifetime::exit_now(FAILED);
    }
    if family::take_seat(member).is_err() {
        lifetime::exit_now(FAILED);
    }
    let ready = directory
        .map_err(|errno| format!("cannot have a working directory: {errno}"))
        .and_then(|()| prepare(&request, &fds));
    drop(fds);
    if request.lifetime == Lifetime::Detached {
        // After the environment, which only a process of one thread may change.
        family::look_after_orphans();
    }
    let daemon = request.lifetime == Lifetime::Daemon;
    let task = Call {
        task: request.task(),
        argument: request.argument(),
    };
    let outbox = request.outbox();
    request.settings.apply();
    current::become_child(request.name, daemon, parent, request.parent_name);
    let outbox = match family::claim(outbox).and_then(Outbox::from_object) {
        Ok(outbox) => outbox,
        Err(error) => {
            eprintln!("multiproc: the place for the result is gone: {error}");
            lifetime::exit_now(FAILED);
        }
    };
    exit::end(run(outbox, ready, || call(&task)))
}

/// Takes over the starter's surroundings.
fn prepare(request: &Request, fds: &[OwnedFd]) -> Result<(), String> {
    set_name(&request.name);
    let mut fds = fds.iter().map(AsFd::as_fd);
    let mut next = |what: &str| fds.next().ok_or_else(|| format!("{what} did not arrive"));
    let output = next("the standard output")?;
    let error = next("the standard error")?;
    let beside = request.beside;
    let input = beside
        .input
        .then(|| next("the standard input"))
        .transpose()?;
    let directory = beside
        .directory
        .then(|| next("the directory"))
        .transpose()?;
    let environment = beside
        .environment
        .then(|| next("the environment"))
        .transpose()?;
    let input = input.map_or(Ok(()), |input| stdio::Stream::Input.point_to(input));
    input
        .and_then(|()| stdio::Stream::Output.point_to(output))
        .and_then(|()| stdio::Stream::Error.point_to(error))
        .map_err(|errno| format!("cannot set the standard streams: {errno}"))?;
    enter(directory)?;
    if let Some(file) = environment {
        let bytes = memory::read_sealed(file);
        let bytes = bytes.map_err(|errno| format!("cannot read the environment: {errno}"))?;
        set_environment(&bytes);
    }
    let changed = request.changes().apply();
    changed.map_err(|errno| format!("cannot take over the starter's surroundings: {errno}"))
}

/// Goes to the working directory that was asked for, if one was.
pub(crate) fn enter(directory: Option<BorrowedFd<'_>>) -> Result<(), String> {
    let entered = directory.map_or(Ok(()), enter_directory);
    entered.map_err(|errno| format!("cannot enter the working directory: {errno}"))
}

/// Makes the environment the one that `bytes` say. Before this process has other threads.
pub(crate) fn set_environment(bytes: &[u8]) {
    let wanted = environment_from_bytes(bytes);
    for (name, _) in std::env::vars_os() {
        if !wanted.iter().any(|(other, _)| *other == name) {
            // SAFETY: this process has one thread.
            unsafe { std::env::remove_var(name) };
        }
    }
    for (name, value) in wanted {
        if name != VARIABLE {
            // SAFETY: this process has one thread.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// What a child is for, if that can be sent.
pub(crate) struct Call {
    pub(crate) task: TaskRef,
    pub(crate) argument: Handle,
}

/// Has `call` run the task, if all is `ready` for it, and leaves what it came to in the outbox; the
/// exit code.
pub(crate) fn run(
    outbox: Outbox,
    ready: Result<(), String>,
    call: impl FnOnce() -> (Parcel, i32),
) -> i32 {
    let place = outbox.clone();
    guard::last_words(move |report| {
        // The process aborts next; there is nobody to tell if this fails.
        let _ = deliver(&place, &outcome::panicked(report));
    });
    log::info(format_args!("begins"));
    let (reply, code) = match ready {
        Ok(()) => log::in_span(call),
        Err(text) => (outcome::failed(&text), FAILED),
    };
    let code = match deliver(&outbox, &reply) {
        Ok(()) => code,
        Err(text) => {
            // What did not fit may have been large; this is not.
            if let Err(text) = deliver(&outbox, &outcome::failed(&text)) {
                eprintln!("multiproc: {text}");
            }
            FAILED
        }
    };
    log::info(format_args!("returns with code {code}"));
    code
}

/// Runs a task on its argument.
pub(crate) fn call(request: &Call) -> (Parcel, i32) {
    let argument = match family::claim(request.argument) {
        Ok(argument) => argument,
        Err(error) => return (outcome::failed(&format!("the argument: {error}")), FAILED),
    };
    let task = match request.task.resolve() {
        Ok(task) => task,
        Err(error) => return (outcome::failed(&error.to_string()), FAILED),
    };
    reply_of(|reply| {
        parcel::with_bytes(&argument, |bytes, attachments| {
            task.run(bytes, attachments, reply)
        })
        .map_err(|error| format!("the argument: {error}"))
    })
}

/// Runs what a copy of the starter has in its memory.
pub(crate) fn call_closure(closure: Closure<'_>) -> (Parcel, i32) {
    reply_of(|reply| Ok(closure(reply)))
}

/// What `act`, which appends its result, comes to.
fn reply_of(
    act: impl FnOnce(&mut Parcel) -> Result<Result<(), RunError>, String>,
) -> (Parcel, i32) {
    let mut reply = outcome::returned();
    match guard::catch(AssertUnwindSafe(|| act(&mut reply))) {
        Ok(Ok(Ok(()))) => (reply, 0),
        Ok(Ok(Err(error))) => (outcome::not_run(&error), FAILED),
        Ok(Err(text)) => (outcome::failed(&text), FAILED),
        Err(report) => (outcome::panicked(&report), PANICKED),
    }
}

fn deliver(outbox: &Outbox, reply: &Parcel) -> Result<(), String> {
    let stored = parcel::store(reply);
    let delivered = stored.and_then(|stored| outbox.fill(&stored));
    delivered.map_err(|error| format!("cannot hand over the result: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_none_of_ours_is_named_as_such() {
        let reason = |text: &str| recognise(OsStr::new(text)).err();
        assert_eq!(reason(""), Some(Stale::Form));
        assert_eq!(reason("x:y"), Some(Stale::Form));
        assert_eq!(reason("-1:00"), Some(Stale::Record));
        assert_eq!(reason("1000:00"), Some(Stale::Record));
        assert_eq!(reason("1:00"), Some(Stale::Record));
    }
}
