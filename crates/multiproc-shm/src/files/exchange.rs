//! The file exchange: the root's table of packed files, the thread that serves it, and how members ask.
//!
//! A request is one packet: what is asked, the bundle's handle, and a socket for the answer; with
//! [`KEEP`], the packed files beside it. The thread takes one private lock, which nobody holds while
//! he waits for anything, and none of the arena's: whether a bundle lives is read without.
//!
//! A packet whose descriptors the root has no room for would lose them. So two descriptors are held
//! *in spare*, and let go for the moment in which a packet is received.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use multiproc_sys::child::block_all_signals;
use multiproc_sys::clock::Deadline;
use multiproc_sys::socket::{self, Received, Socket};
use multiproc_sys::{Errno, poll, rest};

use super::pack;
use crate::arena::{self, Arena};
use crate::error::{CreateError, OpenError, TOO_MANY_FILES};
use crate::member::{self, MemberId};
use crate::object::Handle;

/// How long a request waits for a root that does not answer: it is stopped, not dead.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Requests. To keep packed files; to look at them; to look which are still wanted.
const KEEP: u8 = 1;
const GIVE: u8 = 2;
const LOOK: u8 = 3;
const REQUEST: usize = 1 + 24;

/// Answers. Done, with the packed files if they were asked for; none are kept under that handle; the
/// root has no descriptor free.
const DONE: u8 = 0;
const UNKNOWN: u8 = 1;
const FULL: u8 = 2;

/// Enough for the few calls of the thread.
const STACK: usize = 128 * 1024;

/// The root's part.
struct Exchange {
    root: MemberId,
    kept: Mutex<HashMap<[u64; 3], Socket>>,
    door: OnceLock<Door>,
}

/// How members reach the root: made when there is to be one.
struct Door {
    members: Socket,
    root: Socket,
}

/// In the root, and in what was forked from it.
static EXCHANGE: OnceLock<Exchange> = OnceLock::new();

/// In a process that was made by an exec, and in what was forked from it.
static ADOPTED: OnceLock<Socket> = OnceLock::new();

/// How this process asks.
enum Way {
    Here(&'static Exchange),
    By(&'static Socket),
}

fn way() -> Result<Way, CreateError> {
    if let Some(socket) = ADOPTED.get() {
        return Ok(Way::By(socket));
    }
    arena::get()?;
    let me = member::me()?;
    // Every member but the root had it before it was made: see `ensure`.
    let exchange = EXCHANGE.get_or_init(|| Exchange {
        root: me,
        kept: Mutex::default(),
        door: OnceLock::new(),
    });
    if exchange.root == me {
        return Ok(Way::Here(exchange));
    }
    let door = exchange.door.get().ok_or(CreateError::NoExchange)?;
    Ok(Way::By(&door.members))
}

/// Makes sure that a child made from now on can reach the exchange.
pub(crate) fn ensure() -> Result<(), CreateError> {
    members_end().map(drop)
}

/// The socket that a child is to [`adopt`].
pub(crate) fn members_end() -> Result<BorrowedFd<'static>, CreateError> {
    match way()? {
        Way::By(socket) => Ok(socket.as_fd()),
        Way::Here(exchange) => exchange.door().map(|door| door.members.as_fd()),
    }
}

/// Takes the socket that leads to the root of this process's family.
pub(crate) fn adopt(socket: OwnedFd) -> Result<(), OpenError> {
    let socket = Socket::from_fd(socket).map_err(|errno| OpenError::Os {
        doing: "taking over the way to the file exchange",
        errno,
    })?;
    ADOPTED.set(socket).map_err(|_| OpenError::Incompatible {
        ours: "a process without a family".into(),
        theirs: "one that has a way to its file exchange".into(),
    })
}

/// In a process forked from the root: closes the files that were on their way there, and the root's
/// end of the door. Kept open here, they would outlive their last user, and the root.
pub(crate) fn leave_behind(me: MemberId) {
    let Some(exchange) = EXCHANGE.get() else {
        return;
    };
    // Another thread of the root may have had the lock in the moment of the fork, for ever now.
    let Ok(mut kept) = exchange.kept.try_lock() else {
        return;
    };
    if exchange.root == me {
        return;
    }
    kept.clear();
    // A copy of a copy has nothing to leave: its number may be another file's by now.
    static LEFT: AtomicBool = AtomicBool::new(false);
    if let Some(door) = exchange.door.get()
        && !LEFT.swap(true, Ordering::Relaxed)
    {
        // SAFETY: in this process nobody uses the root's end, now or later: its thread stayed
        // behind, and every other use asks first whether this is the root. It is closed once, in
        // the first process of a line of copies, as the others inherit the mark.
        drop(unsafe { OwnedFd::from_raw_fd(door.root.as_fd().as_raw_fd()) });
    }
}

/// Keeps `packed` for as long as the bundle lives.
pub(super) fn keep(bundle: Handle, packed: Socket) -> Result<(), CreateError> {
    let socket = match way()? {
        Way::Here(exchange) => {
            exchange.kept().insert(bundle.to_words(), packed);
            return Ok(());
        }
        Way::By(socket) => socket,
    };
    match ask(socket, KEEP, bundle, Some(packed.as_fd())) {
        Ok(_) => Ok(()),
        Err(Refused::Here(errno)) => Err(CreateError::from_errno("packing open files", errno)),
        Err(Refused::Full) => Err(CreateError::Limit(ROOT_FULL.into())),
        Err(Refused::Unknown | Refused::Gone) => Err(CreateError::NoExchange),
    }
}

/// Copies of the files of `bundle`, which stay where they are.
pub(super) fn look_at(bundle: Handle) -> Result<Vec<OwnedFd>, OpenError> {
    let socket = match way()? {
        Way::Here(exchange) => {
            let kept = exchange.kept();
            let packed = kept.get(&bundle.to_words()).ok_or(OpenError::NotFound)?;
            return pack::unpack(packed);
        }
        Way::By(socket) => socket,
    };
    match ask(socket, GIVE, bundle, None) {
        Ok(Some(packed)) => pack::unpack(&packed),
        Ok(None) | Err(Refused::Unknown) => Err(OpenError::NotFound),
        Err(Refused::Here(Errno::EMFILE | Errno::ENFILE)) => {
            Err(OpenError::TooManyFiles(TOO_MANY_FILES))
        }
        Err(Refused::Here(errno)) => Err(OpenError::Os {
            doing: "asking for open files",
            errno,
        }),
        Err(Refused::Full) => Err(OpenError::TooManyFiles(ROOT_FULL)),
        Err(Refused::Gone) => Err(OpenError::NoExchange),
    }
}

/// Has the exchange let go what is no longer wanted.
pub(super) fn look() {
    match way() {
        Ok(Way::Here(exchange)) => exchange.let_go(&mut exchange.kept()),
        Ok(Way::By(socket)) => {
            let request = [&[LOOK], [0; REQUEST - 1].as_slice()].concat();
            // With so many requests before it that there is no room, the root will look after those;
            // and where there is no root, there is nothing to let go.
            let _ = socket.try_send(&request, &[]);
        }
        Err(_) => {}
    }
}

const ROOT_FULL: &str = "the family's first process, which keeps open files on their way, has no \
    file descriptor free; raise RLIMIT_NOFILE there (ulimit -n)";

/// Why a request came to nothing.
enum Refused {
    Here(Errno),
    Full,
    Unknown,
    Gone,
}

fn ask(
    socket: &Socket,
    what: u8,
    bundle: Handle,
    packed: Option<BorrowedFd<'_>>,
) -> Result<Option<Socket>, Refused> {
    let deadline = Deadline::after(PATIENCE);
    let (mine, theirs) = socket::pair().map_err(Refused::Here)?;
    let mut request = vec![what];
    request.extend(bundle.to_words().iter().flat_map(|word| word.to_le_bytes()));
    let mut fds = vec![theirs.as_fd()];
    fds.extend(packed);
    socket
        .send_deadline(&request, &fds, deadline)
        .map_err(|errno| match errno {
            Errno::ETOOMANYREFS => Refused::Here(errno),
            _ => Refused::Gone,
        })?;
    drop(theirs);
    let mut answer = [0];
    let got = mine.recv_deadline(&mut answer, deadline);
    let Some(mut got) = got.map_err(Refused::Here)? else {
        return Err(Refused::Gone);
    };
    if got.is_end() {
        // The root has gone, or had no room even for the socket.
        return Err(match socket.try_send(&[LOOK; REQUEST], &[]) {
            Ok(()) | Err(Errno::EAGAIN) => Refused::Full,
            Err(_) => Refused::Gone,
        });
    }
    match answer[0] {
        _ if got.truncated => Err(Refused::Here(Errno::EMFILE)),
        DONE => Ok(got
            .fds
            .pop()
            .and_then(|packed| Socket::from_fd(packed).ok())),
        FULL => Err(Refused::Full),
        _ => Err(Refused::Unknown),
    }
}

impl Exchange {
    /// Nothing panics under the lock. A copy of the root does no more than try it: see `leave_behind`.
    fn kept(&self) -> MutexGuard<'_, HashMap<[u64; 3], Socket>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&'static self) -> Result<&'static Door, CreateError> {
        static MAKING: Mutex<()> = Mutex::new(());
        if let Some(door) = self.door.get() {
            return Ok(door);
        }
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = self.door.get() {
            return Ok(door);
        }
        let doing = "making the family's file exchange";
        let os = |errno| CreateError::from_errno(doing, errno);
        let (members, root) = socket::pair().map_err(os)?;
        let spare = Spare::hold(&members).ok_or_else(|| os(Errno::EMFILE))?;
        let (hand_over, door) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("multiproc-files".into())
            .stack_size(STACK)
            .spawn(move || {
                // Its maker sends it below, and holds it until then.
                let door = door.recv().expect("the door is made");
                self.serve(door, spare)
            })
            .map_err(|error| {
                CreateError::Limit(format!(
                    "cannot start the thread that hands open files on: {error}; \
                     raise RLIMIT_NPROC (ulimit -u)"
                ))
            })?;
        let door = self.door.get_or_init(|| Door { members, root });
        let _ = hand_over.send(door);
        Ok(door)
    }

    fn serve(&'static self, door: &'static Door, mut spare: Spare) -> ! {
        // The program's handlers run on the program's threads.
        block_all_signals();
        let me = rest::register();
        loop {
            // It fails only for want of memory for a moment, if at all.
            let asked = me.rest(|| poll::readable(door.root.as_fd(), Deadline::NEVER));
            if asked.is_err() {
                std::thread::yield_now();
            }
            let mut kept = self.kept();
            let mut request = [0; REQUEST];
            loop {
                spare.let_go();
                let Ok(Some(got)) = door.root.try_recv(&mut request) else {
                    break;
                };
                answer(&mut kept, request, got, &mut spare, door);
                spare.hold_again(&door.members);
            }
            spare.hold_again(&door.members);
            self.let_go(&mut kept);
        }
    }

    fn let_go(&self, kept: &mut HashMap<[u64; 3], Socket>) {
        let Some(arena) = arena::existing() else {
            return;
        };
        kept.retain(|&bundle, _| is_live(arena, bundle));
    }
}

fn is_live(arena: &'static Arena, bundle: [u64; 3]) -> bool {
    Handle::from_words(bundle).valid_in(arena).is_some()
}

/// One request. An answer that cannot be sent was not waited for.
fn answer(
    kept: &mut HashMap<[u64; 3], Socket>,
    request: [u8; REQUEST],
    got: Received,
    spare: &mut Spare,
    door: &Door,
) {
    let what = request[0];
    let (words, _) = request[1..].as_chunks::<8>();
    let bundle = [0, 1, 2].map(|index: usize| u64::from_le_bytes(words[index]));
    let mut fds = got.fds.into_iter();
    let Some(Ok(asker)) = fds.next().map(Socket::from_fd) else {
        return;
    };
    let packed = fds.next().and_then(|packed| Socket::from_fd(packed).ok());
    let (said, fd) = match (what, packed) {
        // Room for this one and for what is held in spare, when the asker's socket is closed.
        (KEEP, Some(packed)) if spare.hold_one(&door.members) => {
            kept.insert(bundle, packed);
            (DONE, None)
        }
        (KEEP, _) => (FULL, None),
        (GIVE, _) => match kept.get(&bundle) {
            Some(packed) => (DONE, Some(packed.as_fd())),
            None => (UNKNOWN, None),
        },
        _ => (UNKNOWN, None),
    };
    if asker.try_send(&[said], fd.as_slice()) == Err(Errno::ETOOMANYREFS) {
        let _ = asker.try_send(&[FULL], &[]);
    }
}

/// Descriptors that make room for others: all duplicates of one that this process has anyway.
struct Spare(Vec<OwnedFd>);

impl Spare {
    const MANY: usize = 2;

    fn hold(like: &Socket) -> Option<Spare> {
        let mut spare = Spare(Vec::with_capacity(Spare::MANY));
        spare.hold_again(like);
        (spare.0.len() == Spare::MANY).then_some(spare)
    }

    fn let_go(&mut self) {
        self.0.clear();
    }

    fn hold_one(&mut self, like: &Socket) -> bool {
        let copy = like.as_fd().try_clone_to_owned();
        let held = copy.is_ok();
        self.0.extend(copy);
        held
    }

    /// Where that fails, another thread has been faster; the next request tries again.
    fn hold_again(&mut self, like: &Socket) {
        while self.0.len() < Spare::MANY && self.hold_one(like) {}
    }
}
