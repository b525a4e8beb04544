//! A pair of connected sockets that carries packets and descriptors between two processes.
//!
//! Packets keep their boundaries (`SOCK_SEQPACKET`), descriptors are closed on exec on both sides,
//! no call raises `SIGPIPE`, and a call interrupted by a signal goes on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::{mem, ptr};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, getsockopt, socketpair, sockopt,
};

use crate::clock::Deadline;
use crate::lift::lift;
use crate::poll;

/// The most descriptors one packet carries: the kernel's limit.
pub const MOST_DESCRIPTORS: usize = 253;

/// Words that hold the control message of so many descriptors, with room to spare.
const CONTROL: usize = (MOST_DESCRIPTORS * size_of::<RawFd>()).div_ceil(8) + 8;

/// One end of a pair.
#[derive(Debug)]
pub struct Socket(OwnedFd);

/// What one [`Socket::recv`] brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes in the packet; 0 with no descriptors means that the other end is closed.
    pub len: usize,
    /// Descriptors, in the order of the sender.
    pub fds: Vec<OwnedFd>,
    /// The buffer was too small, or this process had no room for another descriptor: something of
    /// the packet is lost.
    pub truncated: bool,
}

impl Received {
    /// Whether the other end is closed and nothing is left to read.
    pub fn is_end(&self) -> bool {
        self.len == 0 && self.fds.is_empty() && !self.truncated
    }
}

/// Two connected ends.
///
/// # Errors
///
/// `EMFILE`, `ENFILE` without a free descriptor, `ENOBUFS`, `ENOMEM`.
pub fn pair() -> Result<(Socket, Socket), Errno> {
    let (one, two) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    Ok((Socket(lift(one)), Socket(lift(two))))
}

impl Socket {
    /// Takes a descriptor that was inherited or received, if it is a Unix packet socket.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` or `EPROTOTYPE` where it is something else. The descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Socket, Errno> {
        if getsockopt(&fd, sockopt::SockType)? == SockType::SeqPacket {
            Ok(Socket(fd))
        } else {
            Err(Errno::EPROTOTYPE)
        }
    }

    /// Sends one packet; waits while the other end's buffer is full.
    ///
    /// # Errors
    ///
    /// `EPIPE` or `ECONNRESET` when the other end is closed, `EMSGSIZE` for a packet larger than the
    /// buffer, `EINVAL` for more than [`MOST_DESCRIPTORS`], `EBADF`, `ETOOMANYREFS` for the
    /// descriptors.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.send_with(bytes, fds, MsgFlags::empty())
    }

    /// As [`Socket::send`], and does not wait.
    ///
    /// # Errors
    ///
    /// As [`Socket::send`], and `EAGAIN` while the other end's buffer is full.
    pub fn try_send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.send_with(bytes, fds, MsgFlags::MSG_DONTWAIT)
    }

    /// As [`Socket::send`], until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Socket::send`], and `ETIMEDOUT` if the other end's buffer stays full.
    pub fn send_deadline(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), Errno> {
        loop {
            match self.try_send(bytes, fds) {
                Err(Errno::EAGAIN) if !poll::writable(self.as_fd(), deadline)? => {
                    return Err(Errno::ETIMEDOUT);
                }
                Err(Errno::EAGAIN) => {}
                answer => return answer,
            }
        }
    }

    fn send_with(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        flags: MsgFlags,
    ) -> Result<(), Errno> {
        if fds.len() > MOST_DESCRIPTORS {
            return Err(Errno::EINVAL);
        }
        let mut part = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // Not on the heap, as by `nix`: a fork server that allocates nothing shares more with its copies.
        let mut control = [0; CONTROL];
        // SAFETY: a `msghdr` is integers and pointers, for which zero is a valid value.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            put_descriptors(fds, &mut message, &mut control);
        }
        let flags = (flags | MsgFlags::MSG_NOSIGNAL).bits();
        loop {
            // SAFETY: `message` points to bytes that are only read and to control words, of the lengths
            // it says and alive for the call.
            let sent = unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const message, flags) };
            match Errno::result(sent) {
                Err(Errno::EINTR) => {}
                answer => return answer.map(drop),
            }
        }
    }

    /// Receives one packet into `buffer`; waits for one. What the other end sent before it was closed
    /// is received first.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOBUFS`.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Received, Errno> {
        self.recv_with(buffer, MsgFlags::empty())
    }

    /// As [`Socket::recv`], and does not wait: `None` if there is no packet.
    ///
    /// # Errors
    ///
    /// As [`Socket::recv`].
    pub fn try_recv(&self, buffer: &mut [u8]) -> Result<Option<Received>, Errno> {
        match self.recv_with(buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// As [`Socket::recv`], until `deadline`: then `None`.
    ///
    /// # Errors
    ///
    /// As [`Socket::recv`].
    pub fn recv_deadline(
        &self,
        buffer: &mut [u8],
        deadline: Deadline,
    ) -> Result<Option<Received>, Errno> {
        loop {
            let got = self.try_recv(buffer)?;
            if got.is_some() || !poll::readable(self.as_fd(), deadline)? {
                return Ok(got);
            }
        }
    }

    /// A copy of the packet that is next, with descriptors of its own; the packet stays. Any number
    /// of processes may peek at once. `None` if there is no packet.
    ///
    /// # Errors
    ///
    /// As [`Socket::recv`].
    pub fn peek(&self, buffer: &mut [u8]) -> Result<Option<Received>, Errno> {
        match self.recv_with(buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK) {
            Err(Errno::EAGAIN) => Ok(None),
            answer => answer.map(Some),
        }
    }

    fn recv_with(&self, buffer: &mut [u8], flags: MsgFlags) -> Result<Received, Errno> {
        loop {
            match receive(self.as_fd(), buffer, &mut [0; CONTROL], flags) {
                // ECONNRESET is said once, and before the packets that wait: the other end was
                // closed with some of ours unread.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                answer => return answer,
            }
        }
    }
}

/// Has `message` carry `fds`, at most [`MOST_DESCRIPTORS`], in `control`.
fn put_descriptors(
    fds: &[BorrowedFd<'_>],
    message: &mut libc::msghdr,
    control: &mut [u64; CONTROL],
) {
    let bytes = size_of_val(fds) as u32;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: all of these only count. The room for one header and the numbers of that many descriptors
    // is in `control`, aligned for a header; `BorrowedFd` is such a number.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
        let data = libc::CMSG_DATA(header).cast::<RawFd>();
        for (index, fd) in fds.iter().enumerate() {
            data.add(index).write_unaligned(fd.as_raw_fd());
        }
    }
}

/// One call of `recvmsg`; `control` is room for descriptors. Not by `nix`, which keeps the descriptors
/// of a packet to itself, open, where there was no room for all of them.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: &mut [u64],
    flags: MsgFlags,
) -> Result<Received, Errno> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a `msghdr` is integers and pointers, for which zero is a valid value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control);
    let flags = (flags | MsgFlags::MSG_CMSG_CLOEXEC).bits();
    // SAFETY: `message` points to one buffer and to control words, both writable, of the lengths
    // it says and alive for the call.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let len = Errno::result(len)?;
    let lost = libc::MSG_TRUNC | libc::MSG_CTRUNC;
    Ok(Received {
        len: len.cast_unsigned(),
        // SAFETY: the kernel has just filled `message`, and its control words are alive.
        fds: unsafe { take_descriptors(&message) },
        truncated: message.msg_flags & lost != 0,
    })
}

/// The descriptors that came with a message.
///
/// # Safety
///
/// `message` was filled by `recvmsg`, its control words are unchanged, and nobody else has taken the
/// descriptors.
unsafe fn take_descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the control words are those that the kernel wrote, with their length.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or the address of a header inside the control words, aligned for one.
    while let Some(header) = unsafe { next.as_ref() } {
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: takes any length.
            let before = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (header.cmsg_len - before) / size_of::<RawFd>();
            // SAFETY: the data follows its header.
            let data = unsafe { libc::CMSG_DATA(ptr::from_ref(header)) }.cast::<RawFd>();
            fds.extend((0..count).map(|index| {
                // SAFETY: the header's length says that there are that many numbers, and the
                // kernel has installed each as a descriptor that nobody else knows yet.
                lift(unsafe { OwnedFd::from_raw_fd(data.add(index).read_unaligned()) })
            }));
        }
        // SAFETY: as for the first; `header` is one of them.
        next = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    fds
}

/// The process that made the pair of packet sockets `fd` is an end of.
///
/// # Errors
///
/// `ENOTSOCK` or `EPROTOTYPE` where it is something else.
pub fn peer_pid(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    if getsockopt(&fd, sockopt::SockType)? != SockType::SeqPacket {
        return Err(Errno::EPROTOTYPE);
    }
    let credentials = getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok(u32::try_from(credentials.pid()).unwrap_or(0))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> OwnedFd {
        socket.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_packet_and_its_descriptors_arrive_together() {
        let (here, there) = pair().expect("a pair");
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        here.send(b"hello", &[writer.as_fd()]).expect("sent");
        drop(writer);
        let mut buffer = [0; 16];
        let mut got = there.recv(&mut buffer).expect("received");
        assert_eq!((got.len, got.fds.len(), got.truncated), (5, 1, false));
        let mut copy = std::fs::File::from(got.fds.remove(0));
        copy.write_all(b"x").expect("written");
        drop(copy);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "x");
    }

    #[test]
    fn packets_keep_their_boundaries() {
        let (here, there) = pair().expect("a pair");
        here.send(b"one", &[]).expect("sent");
        here.send(b"three", &[]).expect("sent");
        let mut buffer = [0; 16];
        assert_eq!(there.recv(&mut buffer).expect("received").len, 3);
        assert_eq!(there.recv(&mut buffer).expect("received").len, 5);
    }

    #[test]
    fn a_packet_too_large_for_the_buffer_says_so() {
        let (here, there) = pair().expect("a pair");
        here.send(b"hello", &[]).expect("sent");
        let got = there.recv(&mut [0; 2]).expect("received");
        assert!(got.truncated);
    }

    #[test]
    fn a_closed_end_is_seen_by_both_verbs() {
        let (here, there) = pair().expect("a pair");
        drop(there);
        assert!(here.recv(&mut [0; 2]).expect("the end").is_end());
        assert_eq!(here.send(b"x", &[]), Err(Errno::EPIPE));
    }

    #[test]
    fn last_words_arrive_though_ours_were_not_read() {
        let (here, there) = pair().expect("a pair");
        here.send(b"unread", &[]).expect("sent");
        there.send(b"last words", &[]).expect("sent");
        drop(there);
        let mut buffer = [0; 16];
        assert_eq!(here.recv(&mut buffer).expect("received").len, 10);
        assert!(here.recv(&mut buffer).expect("the end").is_end());
    }

    #[test]
    fn a_packet_can_be_looked_at_any_number_of_times() {
        let (here, there) = pair().expect("a pair");
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        assert!(there.peek(&mut [0; 8]).expect("no packet").is_none());
        let many = vec![writer.as_fd(); MOST_DESCRIPTORS];
        here.send(b"many", &many).expect("sent");
        drop(here);
        for _ in 0..3 {
            let mut buffer = [0; 8];
            let got = there.peek(&mut buffer).expect("peeked").expect("a packet");
            assert_eq!((got.len, got.fds.len(), got.truncated), (4, 253, false));
        }
        let too_many = vec![writer.as_fd(); MOST_DESCRIPTORS + 1];
        let (here, _there) = pair().expect("a pair");
        assert_eq!(here.send(b"x", &too_many), Err(Errno::EINVAL));
    }

    #[test]
    fn waiting_for_a_packet_or_for_room_ends_at_the_deadline() {
        let (here, there) = pair().expect("a pair");
        let soon = Deadline::after(std::time::Duration::from_millis(3));
        let none = there.recv_deadline(&mut [0; 8], soon).expect("no packet");
        assert!(none.is_none() && soon.has_passed());
        while here.try_send(&[0; 1024], &[]) != Err(Errno::EAGAIN) {}
        let late = here.send_deadline(b"x", &[], Deadline::NOW);
        assert_eq!(late, Err(Errno::ETIMEDOUT));
    }

    #[test]
    fn the_maker_of_the_pair_is_known() {
        let (here, _there) = pair().expect("a pair");
        assert_eq!(peer_pid(here.as_fd()), Ok(std::process::id()));
    }

    #[test]
    fn only_a_packet_socket_is_taken() {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        assert_eq!(Socket::from_fd(reader.into()).err(), Some(Errno::ENOTSOCK));
        let (stream, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert_eq!(
            Socket::from_fd(stream.into()).err(),
            Some(Errno::EPROTOTYPE)
        );
    }
}
