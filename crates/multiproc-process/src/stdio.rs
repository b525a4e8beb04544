//! Where the standard streams of a process lead, and the starter's ends of those that are pipes.
//!
//! Owns the invariant **a process that writes what nobody reads is not held up**: what is captured
//! is read by the keeper as it comes, whoever joins or does not.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use multiproc_sys::Errno;
use multiproc_sys::child::stdio::{self, Stream};
use multiproc_sys::lift;
use parking_lot::Mutex;

use crate::error::StartError;
use crate::keeper::Keeper;

/// How much is kept of what a process wrote last.
const TAIL: usize = 4096;

/// So often at once, which is as much as a pipe holds: whoever writes without end must not keep the
/// keeper.
const READS: usize = 16;

/// Tokens of the keeper's watch from here up to those of servants are captures.
pub(crate) const CAPTURES: u64 = 1 << 62;

static NEXT_TOKEN: AtomicU64 = AtomicU64::new(CAPTURES);

/// Captures whose pipes are still open at the other end, by token.
static OPEN: Mutex<BTreeMap<u64, Arc<Capture>>> = Mutex::new(BTreeMap::new());

/// Where a standard stream of a process leads. An open file or socket is one, too: `file.into()`.
///
/// ```
/// use std::io::Read;
/// use multiproc_process::{Process, Stdio};
///
/// let process = Process::call(|| println!("hello")).stdout(Stdio::piped()).start()?;
/// let mut text = String::new();
/// process.take_stdout().expect("asked for").read_to_string(&mut text)?;
/// assert_eq!(text, "hello\n");
/// # process.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Stdio(Kind);

#[derive(Debug)]
enum Kind {
    Null,
    Inherit,
    Piped,
    Captured,
    Open(OwnedFd),
}

impl Stdio {
    /// Nowhere: reads as empty, swallows what is written.
    pub fn null() -> Stdio {
        Stdio(Kind::Null)
    }

    /// Where this process's own stream leads at the start.
    pub fn inherit() -> Stdio {
        Stdio(Kind::Inherit)
    }

    /// To this process, by a pipe: see [`Process::take_stdout`](crate::Process::take_stdout) and its
    /// like. A process that writes more than the pipe holds (64 KiB) waits for somebody to read.
    pub fn piped() -> Stdio {
        Stdio(Kind::Piped)
    }

    /// Into memory of this process, of which the last 4 KiB are kept: see
    /// [`Process::captured_stderr`](crate::Process::captured_stderr). The process never waits for a
    /// reader. As an input, nothing.
    pub fn captured() -> Stdio {
        Stdio(Kind::Captured)
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Stdio {
        Stdio(Kind::Open(fd))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        OwnedFd::from(file).into()
    }
}

impl From<PipeReader> for Stdio {
    fn from(pipe: PipeReader) -> Stdio {
        OwnedFd::from(pipe).into()
    }
}

impl From<PipeWriter> for Stdio {
    fn from(pipe: PipeWriter) -> Stdio {
        OwnedFd::from(pipe).into()
    }
}

/// The ends that a process gets, open as long as it is being started.
#[derive(Debug)]
pub(crate) struct TheirEnds {
    /// `None` where the process has nothing to read, which is so at its birth.
    input: Option<OwnedFd>,
    output: OwnedOr,
    error: OwnedOr,
}

/// A descriptor of the start, or the process's own stream.
#[derive(Debug)]
enum OwnedOr {
    Owned(OwnedFd),
    Own(BorrowedFd<'static>),
}

impl AsFd for OwnedOr {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            OwnedOr::Owned(fd) => fd.as_fd(),
            OwnedOr::Own(fd) => *fd,
        }
    }
}

/// The ends that stay with the starter.
#[derive(Debug, Default)]
pub(crate) struct OurEnds {
    pub(crate) input: Option<PipeWriter>,
    pub(crate) output: Option<PipeReader>,
    pub(crate) error: Option<PipeReader>,
    pub(crate) captured: [Option<Arc<Capture>>; 2],
}

impl TheirEnds {
    pub(crate) fn input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn outputs(&self) -> [BorrowedFd<'_>; 2] {
        [self.output.as_fd(), self.error.as_fd()]
    }
}

/// Opens the streams as wished: empty input, and the outputs of this process, if nothing else.
pub(crate) fn open(
    [input, output, error]: [Option<Stdio>; 3],
) -> Result<(TheirEnds, OurEnds), StartError> {
    let mut ours = OurEnds::default();
    let os = |errno| StartError::from_errno("cannot open a standard stream", errno);
    let input = match input.map_or(Kind::Null, |stdio| stdio.0) {
        Kind::Null | Kind::Captured => None,
        Kind::Inherit => stdio::own(Stream::Input).map(|fd| fd.try_clone_to_owned()),
        Kind::Open(fd) => Some(Ok(fd)),
        Kind::Piped => Some(lift::pipe().map(|(reader, writer)| {
            ours.input = Some(writer);
            reader.into()
        })),
    };
    let input = input.transpose().map_err(errno_of).map_err(os)?;
    let output = written(output, Stream::Output).map_err(os)?;
    let error = written(error, Stream::Error).map_err(os)?;
    (ours.output, ours.captured[0]) = output.1;
    (ours.error, ours.captured[1]) = error.1;
    let theirs = TheirEnds {
        input,
        output: output.0,
        error: error.0,
    };
    Ok((theirs, ours))
}

type Written = (OwnedOr, (Option<PipeReader>, Option<Arc<Capture>>));

fn written(wish: Option<Stdio>, stream: Stream) -> Result<Written, Errno> {
    let nothing = || stdio::null().map(OwnedOr::Owned);
    Ok(match wish.map_or(Kind::Inherit, |stdio| stdio.0) {
        Kind::Null => (nothing()?, (None, None)),
        Kind::Inherit => match stdio::own(stream) {
            Some(fd) => (OwnedOr::Own(fd), (None, None)),
            None => (nothing()?, (None, None)),
        },
        Kind::Open(fd) => (OwnedOr::Owned(fd), (None, None)),
        Kind::Piped => {
            let (reader, writer) = lift::pipe().map_err(errno_of)?;
            (OwnedOr::Owned(writer.into()), (Some(reader), None))
        }
        Kind::Captured => {
            let (reader, writer) = lift::pipe().map_err(errno_of)?;
            stdio::do_not_wait(reader.as_fd())?;
            let capture = Capture {
                token: NEXT_TOKEN.fetch_add(1, Ordering::Relaxed),
                keeper: OnceLock::new(),
                state: Mutex::new(Captured {
                    reader: Some(reader),
                    tail: VecDeque::new(),
                }),
            };
            let capture = Arc::new(capture);
            (OwnedOr::Owned(writer.into()), (None, Some(capture)))
        }
    })
}

fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// What a process writes into memory of this one.
#[derive(Debug)]
pub(crate) struct Capture {
    /// By which the keeper's watch names it.
    token: u64,
    keeper: OnceLock<Arc<Keeper>>,
    state: Mutex<Captured>,
}

#[derive(Debug)]
struct Captured {
    /// `None` once nobody can write any more.
    reader: Option<PipeReader>,
    tail: VecDeque<u8>,
}

impl Capture {
    /// Has the keeper read it from now on. Once.
    pub(crate) fn begin(self: &Arc<Capture>, keeper: &Arc<Keeper>) -> Result<(), Errno> {
        let keeper = self.keeper.get_or_init(|| Arc::clone(keeper));
        OPEN.lock().insert(self.token, Arc::clone(self));
        let state = self.state.lock();
        let Some(reader) = &state.reader else {
            return Ok(());
        };
        let watched = keeper.watch().add(reader.as_fd(), self.token);
        watched.inspect_err(|_| drop(OPEN.lock().remove(&self.token)))
    }

    /// Reads what there is; where nobody can write any more, for the last time.
    fn drain(&self) {
        let mut state = self.state.lock();
        let Captured { reader, tail } = &mut *state;
        let Some(open) = reader else { return };
        let mut buffer = [0; TAIL];
        for _ in 0..READS {
            match open.read(&mut buffer) {
                Ok(0) => {
                    if let Some(keeper) = self.keeper.get() {
                        keeper.watch().remove(open.as_fd());
                    }
                    *reader = None;
                    OPEN.lock().remove(&self.token);
                    return;
                }
                Ok(len) => {
                    tail.extend(&buffer[..len]);
                    let surplus = tail.len().saturating_sub(TAIL);
                    tail.drain(..surplus);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nothing more for now.
                Err(_) => return,
            }
        }
    }

    /// The last of what has been written until now.
    pub(crate) fn tail(&self) -> Vec<u8> {
        self.drain();
        self.state.lock().tail.iter().copied().collect()
    }
}

/// The last of what lies in a pipe that nobody has read, without waiting for more.
pub(crate) fn rest_of(pipe: &PipeReader) -> Option<Vec<u8>> {
    stdio::do_not_wait(pipe.as_fd()).ok()?;
    let mut bytes = Vec::new();
    let mut buffer = [0; TAIL];
    let mut pipe = pipe;
    for _ in 0..READS {
        match pipe.read(&mut buffer) {
            Ok(len) if len > 0 => bytes.extend(&buffer[..len]),
            _ => break,
        }
    }
    Some(bytes.split_off(bytes.len().saturating_sub(TAIL)))
}

/// The keeper's watch has named `token`.
pub(crate) fn ready(token: u64) {
    let capture = OPEN.lock().get(&token).map(Arc::clone);
    if let Some(capture) = capture {
        capture.drain();
    }
}

/// Forgets all captures, in a copy of the process that had them.
pub(crate) fn forget_all() {
    OPEN.lock().clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_bytes_are_kept() {
        let (theirs, ours) = open([None, Some(Stdio::captured()), None]).expect("a pipe");
        let capture = ours.captured[0].as_ref().expect("captured");
        let OwnedOr::Owned(writer) = theirs.output else {
            panic!("a pipe is owned");
        };
        let mut writer = File::from(writer);
        for number in 0..3000 {
            write!(writer, "{number:04} ").expect("the pipe takes it");
            if number % 1000 == 0 {
                capture.drain();
            }
        }
        let text = String::from_utf8(capture.tail()).expect("digits");
        assert_eq!(text.len(), TAIL);
        assert!(text.ends_with("2998 2999 "), "{text}");
        drop(writer);
        assert_eq!(capture.tail().len(), TAIL);
        assert!(capture.state.lock().reader.is_none(), "the end was seen");
    }
}
