//! A place that is listened at, and the file that stands for it.
//!
//! The invariant: a socket file is removed only by whoever has shown that nobody listens behind it, and
//! whoever makes, judges or removes one holds a lock on its directory meanwhile. So two that find the
//! same dead listener's file cannot remove each other's new one, and nobody takes for dead one that is
//! about to listen.

use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::{Errno, random, stream};

use super::address::Address;
use crate::error::{BindError, ConnectError};

/// How long others may be busy with the directory.
const DIRECTORY_LIMIT: Duration = Duration::from_secs(5);

/// What a new connection goes through before anybody speaks on it, such as a tunnel that encrypts: the
/// descriptor it gives is spoken on instead.
pub type Passage = Box<dyn Fn(OwnedFd) -> Result<OwnedFd, Errno> + Send + Sync>;

/// A listening socket. Dropped, it removes its file.
pub struct Bound {
    fd: OwnedFd,
    address: Address,
    file: Option<SocketFile>,
    passage: Option<Passage>,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another file by this name is not ours.
    identity: (u64, u64),
    /// A directory that was made for it.
    directory: Option<PathBuf>,
    /// Only the process that made it removes it, not one forked from it.
    maker: u32,
}

impl Bound {
    /// Listens at `address`.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn bind(address: &Address) -> Result<Bound, BindError> {
        match address {
            Address::Unix(path) if path.as_os_str().is_empty() => {
                let directory = private_directory()?;
                let bound = Bound::bind_unix(&directory.join("socket"));
                match bound {
                    Ok(mut bound) => {
                        if let Some(file) = &mut bound.file {
                            file.directory = Some(directory);
                        }
                        Ok(bound)
                    }
                    Err(error) => {
                        let _ = fs::remove_dir(directory);
                        Err(error)
                    }
                }
            }
            Address::Unix(path) => Bound::bind_unix(path),
            Address::Tcp(address) => {
                let fd = stream::listen_tcp(*address).map_err(|errno| match errno {
                    Errno::EADDRINUSE => BindError::InUse(address.to_string()),
                    errno => BindError::Os(errno),
                })?;
                let chosen = stream::tcp_address(fd.as_fd()).map_err(BindError::Os)?;
                Ok(Bound {
                    fd,
                    address: Address::Tcp(chosen.unwrap_or(*address)),
                    file: None,
                    passage: None,
                })
            }
        }
    }

    fn bind_unix(path: &Path) -> Result<Bound, BindError> {
        let path = std::path::absolute(path).map_err(|error| BindError::Os(errno_of(&error)))?;
        let _directory = lock_directory(&path)?;
        let listening = match stream::listen_unix(&path) {
            Err(Errno::EADDRINUSE) if is_dead(&path) => {
                fs::remove_file(&path).map_err(|error| BindError::Os(errno_of(&error)))?;
                stream::listen_unix(&path)
            }
            listening => listening,
        };
        let fd = listening.map_err(|errno| match errno {
            Errno::EADDRINUSE => BindError::InUse(path.display().to_string()),
            Errno::ENAMETOOLONG => BindError::Invalid(format!(
                "`{}` is too long for a socket's path; 107 bytes are possible",
                path.display()
            )),
            errno => BindError::Os(errno),
        })?;
        let made = fs::symlink_metadata(&path).map_err(|error| BindError::Os(errno_of(&error)))?;
        Ok(Bound {
            fd,
            address: Address::Unix(path.clone()),
            file: Some(SocketFile {
                path,
                identity: (made.dev(), made.ino()),
                directory: None,
                maker: std::process::id(),
            }),
            passage: None,
        })
    }

    /// Has every connection go through `passage`. That does not block, and gives one that does not.
    pub fn set_passage(&mut self, passage: Passage) {
        self.passage = Some(passage);
    }

    /// Where it listens: the path or port, even if the system chose it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection, of whoever it may be. The descriptor does not block.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if none waits, `EMFILE` and the like.
    pub fn accept(&self) -> Result<OwnedFd, Errno> {
        let fd = stream::accept(self.fd.as_fd())?;
        match &self.passage {
            Some(passage) => passage(fd),
            None => Ok(fd),
        }
    }
}

/// Whether the other end of a connection runs as this user, where that can be known.
///
/// # Errors
///
/// [`ConnectError::AuthenticationFailed`] if it does not.
pub fn check_user(fd: BorrowedFd<'_>) -> Result<(), ConnectError> {
    match stream::peer_user(fd)? {
        Some(user) if user != stream::user() => Err(ConnectError::AuthenticationFailed),
        _ => Ok(()),
    }
}

/// A new directory that only this user can enter.
fn private_directory() -> Result<PathBuf, BindError> {
    let mut tried = Vec::new();
    for place in stream::places() {
        let directory = place.join(format!("multiproc-{:016x}", random::u64()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) => tried.push(format!("{} ({error})", place.display())),
        }
    }
    Err(BindError::NoPlace(tried.join(", ")))
}

/// Holds the lock of the directory that `path` is in; released with the file.
fn lock_directory(path: &Path) -> Result<File, BindError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let os = |error: std::io::Error| BindError::Os(errno_of(&error));
    let file = File::open(directory).map_err(os)?;
    let until = Deadline::after(DIRECTORY_LIMIT);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(error)) => return Err(os(error)),
            Err(fs::TryLockError::WouldBlock) if until.has_passed() => {
                return Err(BindError::InUse(directory.display().to_string()));
            }
            // The kernel has no such wait with a deadline.
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Whether a socket file is all that is left of a listener.
fn is_dead(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && stream::connect_unix(path, Deadline::NOW).err() == Some(Errno::ECONNREFUSED)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

impl AsFd for Bound {
    /// Readable while somebody waits to be accepted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.maker != std::process::id() {
            return;
        }
        // Where the lock cannot be had, the file stays: the next listener finds it dead.
        if let Ok(_directory) = lock_directory(&self.path)
            && let Ok(found) = fs::symlink_metadata(&self.path)
            && (found.dev(), found.ino()) == self.identity
        {
            let _ = fs::remove_file(&self.path);
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}
