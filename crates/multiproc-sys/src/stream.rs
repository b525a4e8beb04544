//! Streams of bytes between strangers: Unix and TCP sockets, with descriptors beside the bytes.
//!
//! Every descriptor here is closed on exec and does not block: whoever must wait does so with
//! [`poll`] and a deadline. No call raises `SIGPIPE`, and one interrupted by a signal goes
//! on. A Unix socket has a file; names in the abstract space, which any user could take or reach, are
//! not offered.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrStorage,
    UnixAddr, accept4, bind, connect, getsockname, getsockopt, listen, sendmsg, setsockopt, socket,
    sockopt,
};
use nix::sys::stat::{Mode, fchmod};

use crate::clock::Deadline;
use crate::lift::lift;
use crate::poll;
use crate::socket::{Received, receive};

/// The most descriptors that one [`send`] can carry.
pub const MOST_DESCRIPTORS: usize = 250;

/// Room for the most descriptors that come with one packet, 253, in words.
const CONTROL: usize = 2 + 253 / 2 + 1;

fn new(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None).map(lift)
}

/// Directories in which the file of a socket may have its place, the best first. Not all need be there,
/// or let this process write.
pub fn places() -> impl Iterator<Item = PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let memory = PathBuf::from("/dev/shm");
    own.into_iter().chain([std::env::temp_dir(), memory])
}

/// Listens on a Unix socket whose file is at `path`; only this user may connect.
///
/// The file gets its mode as it is made, and nobody can connect before the listening begins.
///
/// # Errors
///
/// `EADDRINUSE` if there is a file, `ENAMETOOLONG` beyond 107 bytes, and the file system's.
pub fn listen_unix(path: &Path) -> Result<OwnedFd, Errno> {
    let fd = new(AddressFamily::Unix)?;
    // The kernel makes the file with the socket's own mode.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

/// Listens on a TCP port; port 0 lets the kernel choose.
///
/// # Errors
///
/// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`.
pub fn listen_tcp(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let fd = new(family(address))?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Where a TCP socket is bound; `None` for any other.
///
/// # Errors
///
/// None with a valid descriptor.
pub fn tcp_address(fd: BorrowedFd<'_>) -> Result<Option<SocketAddr>, Errno> {
    let address: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let v4 = address.as_sockaddr_in();
    let v4 = v4.map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    let v6 = address.as_sockaddr_in6();
    Ok(v4.or(v6.map(|v6| SocketAddr::from((v6.ip(), v6.port())))))
}

/// The next connection of a listening socket.
///
/// # Errors
///
/// `EAGAIN` where none waits, `EMFILE` and `ENFILE` without a free descriptor, `ECONNABORTED`.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = retry(|| accept4(listener.as_raw_fd(), flags))?;
    // SAFETY: the kernel has just made the descriptor, and nobody else knows it yet.
    let fd = lift(unsafe { OwnedFd::from_raw_fd(fd) });
    hasten(fd.as_fd());
    Ok(fd)
}

/// Connects to the Unix socket at `path`.
///
/// # Errors
///
/// `ECONNREFUSED` if nobody listens, `ENOENT`, `EACCES`, `ETIMEDOUT` if the listener's backlog was
/// full until `deadline`.
pub fn connect_unix(path: &Path, deadline: Deadline) -> Result<OwnedFd, Errno> {
    let address = UnixAddr::new(path)?;
    let fd = new(AddressFamily::Unix)?;
    let mut pause = std::time::Duration::from_millis(1);
    loop {
        match retry(|| connect(fd.as_raw_fd(), &address)) {
            // The backlog is full. The kernel has nothing to wait on for that.
            Err(Errno::EAGAIN) if deadline.has_passed() => return Err(Errno::ETIMEDOUT),
            Err(Errno::EAGAIN) => {
                std::thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
                pause = (pause * 2).min(std::time::Duration::from_millis(50));
            }
            answer => return answer.map(|()| fd),
        }
    }
}

/// Connects to a TCP port.
///
/// # Errors
///
/// `ECONNREFUSED`, `ETIMEDOUT` at the `deadline` or before, `EHOSTUNREACH` and the like.
pub fn connect_tcp(address: SocketAddr, deadline: Deadline) -> Result<OwnedFd, Errno> {
    let fd = new(family(address))?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        answer => return answer.map(|()| fd),
    }
    if !poll::writable(fd.as_fd(), deadline)? {
        return Err(Errno::ETIMEDOUT);
    }
    match getsockopt(&fd, sockopt::SocketError)? {
        0 => {
            hasten(fd.as_fd());
            Ok(fd)
        }
        error => Err(Errno::from_raw(error)),
    }
}

/// Small messages are sent at once. Not for Unix sockets, which always do.
fn hasten(fd: BorrowedFd<'_>) {
    let _ = setsockopt(&fd, sockopt::TcpNoDelay, &true);
}

/// Takes a stream socket that was received: from here on it does not block.
///
/// # Errors
///
/// `ENOTSOCK` or `EPROTOTYPE` where it is something else.
pub fn adopt(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    if getsockopt(&fd, sockopt::SockType)? != SockType::Stream {
        return Err(Errno::EPROTOTYPE);
    }
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).map(drop)
}

/// The user at the other end of a Unix socket, as the kernel noted it when the two were connected;
/// `None` for TCP.
///
/// # Errors
///
/// `ENOTSOCK`.
pub fn peer_user(fd: BorrowedFd<'_>) -> Result<Option<u32>, Errno> {
    if tcp_address(fd)?.is_some() {
        return Ok(None);
    }
    getsockopt(&fd, sockopt::PeerCredentials).map(|peer| Some(peer.uid()))
}

/// The user this process acts as.
pub fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Sends as much of `parts` as there is room for, with all of `fds` beside the first byte.
///
/// # Errors
///
/// `EAGAIN` if there is no room at all, `EPIPE` or `ECONNRESET` when the other end is closed,
/// `ETOOMANYREFS` or `EINVAL` for the descriptors.
pub fn send(fd: BorrowedFd<'_>, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights };
    retry(|| {
        sendmsg::<()>(
            fd.as_raw_fd(),
            &parts,
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
    })
}

/// Sends as much of `bytes` as there is room for, and does not wait even where `fd` blocks.
///
/// # Errors
///
/// As [`send`].
pub fn try_send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    retry(|| nix::sys::socket::send(fd.as_raw_fd(), bytes, flags))
}

/// Receives what is there, with the descriptors that came beside it.
///
/// # Errors
///
/// `EAGAIN` if nothing is there, `ECONNRESET`.
pub fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    retry(|| receive(fd, buffer, &mut [0; CONTROL], MsgFlags::empty()))
}

/// Ends one direction: the other end sees the end of what we sent, or nobody to send to.
pub fn shut(fd: BorrowedFd<'_>, reading: bool) {
    use nix::sys::socket::{Shutdown, shutdown};
    let which = if reading {
        Shutdown::Read
    } else {
        Shutdown::Write
    };
    // Refused only where the connection is gone, which is what was wanted.
    let _ = shutdown(fd.as_raw_fd(), which);
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("{name}-{:x}", crate::random::u64()))
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        let path = path("multiproc-stream");
        let listener = listen_unix(&path).expect("it listens");
        let client = connect_unix(&path, Deadline::NEVER).expect("connected");
        let server = accept(listener.as_fd()).expect("accepted");
        std::fs::remove_file(path).expect("it is there");
        (client, server)
    }

    #[test]
    fn a_socket_file_is_for_its_user_only() {
        let path = path("multiproc-mode");
        let listener = listen_unix(&path).expect("it listens");
        let mode = std::fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(accept(listener.as_fd()).err(), Some(Errno::EAGAIN));
        assert_eq!(listen_unix(&path).err(), Some(Errno::EADDRINUSE));
        drop(listener);
        assert_eq!(
            connect_unix(&path, Deadline::NEVER).err(),
            Some(Errno::ECONNREFUSED)
        );
        std::fs::remove_file(path).expect("it is there");
    }

    #[test]
    fn bytes_and_descriptors_arrive() {
        let (client, server) = pair();
        assert_eq!(peer_user(server.as_fd()), Ok(Some(user())));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let sent = send(client.as_fd(), &[b"he", b"llo"], &[writer.as_fd()]).expect("sent");
        assert_eq!(sent, 5);
        drop(writer);
        let mut buffer = [0; 16];
        let got = recv(server.as_fd(), &mut buffer).expect("received");
        assert_eq!((got.len, got.fds.len(), got.truncated), (5, 1, false));
        drop(got);
        assert!(std::io::read_to_string(reader).expect("the end").is_empty());
        let again = recv(server.as_fd(), &mut buffer);
        assert_eq!(again.err(), Some(Errno::EAGAIN));
        drop(client);
        assert!(recv(server.as_fd(), &mut buffer).expect("the end").is_end());
        assert_eq!(send(server.as_fd(), &[b"x"], &[]), Err(Errno::EPIPE));
    }

    #[test]
    fn tcp_connects_and_says_where_it_listens() {
        let listener = listen_tcp("127.0.0.1:0".parse().expect("an address")).expect("listens");
        let address = tcp_address(listener.as_fd()).expect("bound").expect("TCP");
        assert_ne!(address.port(), 0);
        let soon = Deadline::after(Duration::from_secs(20));
        let client = connect_tcp(address, soon).expect("connected");
        assert!(poll::readable(listener.as_fd(), soon).expect("polled"));
        let server = accept(listener.as_fd()).expect("accepted");
        assert_eq!(peer_user(server.as_fd()), Ok(None));
        send(client.as_fd(), &[b"x"], &[]).expect("sent");
        assert!(poll::readable(server.as_fd(), soon).expect("polled"));
        drop(listener);
        assert_eq!(connect_tcp(address, soon).err(), Some(Errno::ECONNREFUSED));
    }
}
