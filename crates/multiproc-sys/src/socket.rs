//! A pair of connected sockets that carries packets and descriptors between two processes.
//!
//! Packets keep their boundaries (`SOCK_SEQPACKET`), descriptors are closed on exec on both sides,
//! no call raises `SIGPIPE`, and a call interrupted by a signal goes on.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt,
    recvmsg, sendmsg, socketpair, sockopt,
};

/// The most descriptors one packet carries here. The kernel's own limit is 253.
pub const MOST_DESCRIPTORS: usize = 16;

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
    Ok((Socket(one), Socket(two)))
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
    /// buffer, `EBADF`, `ETOOMANYREFS` for the descriptors.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights };
        loop {
            let sent = sendmsg::<()>(
                self.0.as_raw_fd(),
                &[IoSlice::new(bytes)],
                control,
                MsgFlags::MSG_NOSIGNAL,
                None,
            );
            match sent {
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
        let mut control = nix::cmsg_space!([std::os::fd::RawFd; MOST_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = loop {
            let got = recvmsg::<()>(
                self.0.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                MsgFlags::MSG_CMSG_CLOEXEC,
            );
            match got {
                // Said once, and before the packets that wait: the other end was closed with some of
                // ours unread.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                answer => break answer?,
            }
        };
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                // SAFETY: the kernel has just installed these descriptors for us, and nobody else
                // knows them yet, so each has exactly one owner from here on.
                fds.extend(
                    raw.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        Ok(Received {
            len: message.bytes,
            fds,
            truncated: message
                .flags
                .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC),
        })
    }
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
