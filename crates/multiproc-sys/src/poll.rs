//! Waiting until descriptors are readable: a few of them once, or many for ever.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::clock::Deadline;
use crate::lift::lift;

/// Waits until `fd` is readable, closed at its other end, or `deadline` passes: then `false`.
///
/// # Errors
///
/// `EINVAL`, `ENOMEM`: nothing a caller could repair.
pub fn readable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    wait(&mut fds, deadline)
}

/// Waits until `fd` takes bytes, is closed at its other end, or `deadline` passes: then `false`.
///
/// # Errors
///
/// As [`readable`].
pub fn writable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    wait(&mut fds, deadline)
}

/// Waits until `fd` is readable, takes bytes, or is closed at its other end; whether there is something
/// to read, be it the end.
///
/// # Errors
///
/// As [`readable`].
pub fn readable_or_writable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN | PollFlags::POLLOUT)];
    wait(&mut fds, Deadline::NEVER)?;
    let seen = fds[0].revents().unwrap_or(PollFlags::POLLERR);
    Ok(seen.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR))
}

/// Waits until one of `fds` is readable or closed at its other end; the indices of those that are,
/// none if `deadline` passed.
///
/// # Errors
///
/// As [`readable`].
pub fn any_readable(fds: &[BorrowedFd<'_>], deadline: Deadline) -> Result<Vec<usize>, Errno> {
    let mut polled: Vec<_> = fds
        .iter()
        .map(|&fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    wait(&mut polled, deadline)?;
    let ready = polled
        .iter()
        .enumerate()
        .filter(|(_, fd)| fd.any().unwrap_or(true));
    Ok(ready.map(|(index, _)| index).collect())
}

fn wait(fds: &mut [PollFd<'_>], deadline: Deadline) -> Result<bool, Errno> {
    loop {
        let left = deadline.remaining();
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(millis(left)).unwrap_or(PollTimeout::MAX)
        });
        match poll(fds, timeout) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            answer => return answer.map(|_| true),
        }
    }
}

/// Rounded up: a sleep that ends too early would spin.
fn millis(left: Duration) -> i32 {
    let millis = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis).unwrap_or(i32::MAX)
}

/// So many tokens at most come of one [`Watch::wait`].
pub const MOST_TOKENS: usize = 64;

/// A set of descriptors that one thread watches and any thread changes.
#[derive(Debug)]
pub struct Watch(nix::sys::epoll::Epoll);

impl Watch {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` without a free descriptor, `ENOMEM`.
    pub fn new() -> Result<Watch, Errno> {
        let Epoll(fd) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Watch(Epoll(lift(fd))))
    }

    /// Watches `fd`; [`Watch::wait`] will name it by `token` as long as it is readable.
    ///
    /// The set does not own `fd`: remove it before it is closed.
    ///
    /// # Errors
    ///
    /// `EEXIST` if it is watched already, `ENOSPC`, `ENOMEM`.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))
    }

    /// Has a watched `fd` named while it is readable, while it can be written to, in both cases, or
    /// only when it is closed at its other end.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not watched, `ENOMEM`.
    pub fn change(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        readable: bool,
        writable: bool,
    ) -> Result<(), Errno> {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, readable);
        flags.set(EpollFlags::EPOLLOUT, writable);
        self.0.modify(fd, &mut EpollEvent::new(flags, token))
    }

    /// Watches `fd` no longer. Not to be watched is no error.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // The only answer a valid pair of descriptors can get is that it was not watched.
        let _ = self.0.delete(fd);
    }

    /// Waits until something is readable, and appends the tokens. Returns without one when
    /// `deadline` passes.
    ///
    /// # Errors
    ///
    /// None with a valid set.
    pub fn wait(&self, tokens: &mut Vec<u64>, deadline: Deadline) -> Result<(), Errno> {
        let mut events = [EpollEvent::empty(); MOST_TOKENS];
        loop {
            let left = deadline.remaining();
            let timeout = left.map_or(EpollTimeout::NONE, |left| {
                EpollTimeout::try_from(millis(left)).unwrap_or(EpollTimeout::MAX)
            });
            match self.0.wait(&mut events, timeout) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(()),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(count) => {
                    tokens.extend(events[..count].iter().map(EpollEvent::data));
                    return Ok(());
                }
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Readable while something in the set is.
impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// A descriptor that becomes readable when it is rung, for waking a thread out of [`Watch::wait`].
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` without a free descriptor, `ENOMEM`.
    pub fn new() -> Result<Bell, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let counter = EventFd::from_value_and_flags(0, flags)?;
        Ok(Bell(lift(counter.into())))
    }

    /// Makes it readable.
    pub fn ring(&self) {
        // A full counter is readable already.
        let _ = nix::unistd::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it silent again; true if it was not.
    pub fn silence(&self) -> bool {
        // An error means that it is silent already.
        nix::unistd::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn readable_and_closed_are_seen() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        assert_eq!(readable(reader.as_fd(), Deadline::NOW), Ok(false));
        writer.write_all(b"x").expect("written");
        assert_eq!(readable(reader.as_fd(), Deadline::NEVER), Ok(true));
        drop(writer);
        assert_eq!(readable(reader.as_fd(), Deadline::NEVER), Ok(true));
    }

    #[test]
    fn a_deadline_ends_the_wait_and_not_earlier() {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let soon = Deadline::after(Duration::from_millis(3));
        assert_eq!(readable(reader.as_fd(), soon), Ok(false));
        assert!(soon.has_passed());
    }

    #[test]
    fn the_readable_ones_of_several_are_named() {
        let bells: Vec<_> = (0..3).map(|_| Bell::new().expect("a bell")).collect();
        bells[2].ring();
        let borrowed: Vec<_> = bells.iter().map(Bell::as_fd).collect();
        assert_eq!(any_readable(&borrowed, Deadline::NEVER), Ok(vec![2]));
        assert!(bells[2].silence() && !bells[2].silence());
        assert_eq!(any_readable(&borrowed, Deadline::NOW), Ok(vec![]));
    }

    #[test]
    fn a_watch_names_what_is_readable_until_it_is_removed() {
        let watch = Watch::new().expect("a watch");
        let bell = Bell::new().expect("a bell");
        watch.add(bell.as_fd(), 7).expect("added");
        let mut tokens = Vec::new();
        watch.wait(&mut tokens, Deadline::NOW).expect("waited");
        assert!(tokens.is_empty());
        bell.ring();
        watch.wait(&mut tokens, Deadline::NEVER).expect("waited");
        assert_eq!(tokens, [7]);
        watch.remove(bell.as_fd());
        watch.remove(bell.as_fd());
        tokens.clear();
        watch.wait(&mut tokens, Deadline::NOW).expect("waited");
        assert!(tokens.is_empty());
    }

    #[test]
    fn what_is_watched_for_can_be_changed() {
        let watch = Watch::new().expect("a watch");
        let (one, _two) = std::os::unix::net::UnixStream::pair().expect("a pair");
        watch.add(one.as_fd(), 7).expect("added");
        let named = || {
            let mut tokens = Vec::new();
            watch.wait(&mut tokens, Deadline::NOW).expect("waited");
            tokens
        };
        assert!(named().is_empty());
        watch.change(one.as_fd(), 7, true, true).expect("changed");
        assert_eq!(named(), [7]);
        watch.change(one.as_fd(), 7, true, false).expect("changed");
        assert!(named().is_empty());
    }

    #[test]
    fn a_ring_reaches_a_waiting_thread() {
        let watch = std::sync::Arc::new(Watch::new().expect("a watch"));
        let bell = Bell::new().expect("a bell");
        watch.add(bell.as_fd(), 1).expect("added");
        let other = std::sync::Arc::clone(&watch);
        let waiter = std::thread::spawn(move || {
            let mut tokens = Vec::new();
            other.wait(&mut tokens, Deadline::NEVER).expect("waited");
            tokens
        });
        bell.ring();
        assert_eq!(waiter.join().expect("no panic"), [1]);
    }
}
