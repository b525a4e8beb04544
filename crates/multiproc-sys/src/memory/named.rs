//! Shared memory with a name: files of the memory filesystem that unrelated programs meet in.
//!
//! A file comes into being without a name, and gets one by a single step once it is complete: whoever
//! opens a name finds a finished file, and a maker that is killed before leaves nothing. Unlike a
//! [`SharedFile`](super::SharedFile) its size cannot be sealed, as the kernel takes seals for files
//! without a name only. So it is read and written by system calls here, which answer with an error
//! where touching a mapping of a file that was cut would end the process.
//!
//! Two kinds of kernel lock lie on such a file, and neither can be damaged by what is written in it:
//! a *record lock* ([`NamedFile::lock`]), which belongs to the process, and the *claim*
//! ([`NamedFile::claim`]), which belongs to the open file. The kernel drops both when the process ends.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memmap2::MmapOptions;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, FcntlArg, fallocate, fcntl};
use nix::unistd::linkat;

use super::{Mapping, errno_of, file_size_limit};
use crate::lift::lift;

/// Where `shm_open` keeps its files, too.
const DIRECTORY: &str = "/dev/shm";

/// How much memory is reserved in one system call.
const PIECE: u64 = 64 << 20;

/// Which file it is, whatever its name, while anybody has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: u64,
    inode: u64,
}

impl FileKey {
    fn of(metadata: &fs::Metadata) -> FileKey {
        FileKey {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// The file that has this name now. Opens nothing.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none.
    pub fn named(name: &str) -> Result<FileKey, Errno> {
        let metadata = fs::symlink_metadata(path(name)).map_err(errno_of)?;
        Ok(FileKey::of(&metadata))
    }
}

/// A file of shared memory that has a name, or may get one.
#[derive(Debug)]
pub struct NamedFile {
    file: File,
    len: u64,
    key: FileKey,
}

impl NamedFile {
    /// A file of `len` bytes, zero, with memory behind all of them, readable by this user only. It has
    /// no name yet.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `ENOMEM` without memory, `EFBIG` beyond `RLIMIT_FSIZE`, `EMFILE` and `ENFILE`
    /// without a free descriptor, `EOPNOTSUPP` where `/dev/shm` is no memory filesystem.
    pub fn create(len: u64) -> Result<NamedFile, Errno> {
        if len > file_size_limit() {
            // Asking the kernel would also raise SIGXFSZ, which ends the process.
            return Err(Errno::EFBIG);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
            .open(DIRECTORY)
            .map_err(errno_of)?;
        let file = File::from(lift(file.into()));
        let mut at = 0;
        while at < len {
            // In pieces: a signal makes the kernel begin a piece anew.
            let piece = PIECE.min(len - at);
            let flags = FallocateFlags::empty();
            match fallocate(&file, flags, at as libc::off_t, piece as libc::off_t) {
                Ok(()) => at += piece,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let key = FileKey::of(&file.metadata().map_err(errno_of)?);
        Ok(NamedFile { file, len, key })
    }

    /// Gives it a name, in one step.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the name is taken.
    pub fn link(&self, name: &str) -> Result<(), Errno> {
        let path = path(name);
        match linkat(&self.file, "", AT_FDCWD, &path, AtFlags::AT_EMPTY_PATH) {
            // Kernels before 6.10 want a privilege for this, but not for the way round by /proc.
            Err(Errno::ENOENT | Errno::EPERM) => {
                let way = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                let flags = AtFlags::AT_SYMLINK_FOLLOW;
                linkat(AT_FDCWD, way.as_str(), AT_FDCWD, &path, flags)
            }
            answer => answer,
        }
    }

    /// The file of that name, never by way of a link.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none, `ELOOP` and `EINVAL` if it is no plain file, `EPERM` if it belongs to
    /// another user.
    pub fn open(name: &str) -> Result<NamedFile, Errno> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path(name))
            .map_err(errno_of)?;
        let file = File::from(lift(file.into()));
        let metadata = file.metadata().map_err(errno_of)?;
        if !metadata.is_file() {
            return Err(Errno::EINVAL);
        }
        if metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(Errno::EPERM);
        }
        let (len, key) = (metadata.len(), FileKey::of(&metadata));
        Ok(NamedFile { file, len, key })
    }

    /// Which file it is.
    pub fn key(&self) -> FileKey {
        self.key
    }

    /// How long it was when it was made or opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it had no bytes then.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// `ENODATA` if it is shorter by now.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.file.read_exact_at(into, offset).map_err(short)
    }

    /// Writes bytes from `offset` on; the file never grows by it.
    ///
    /// # Errors
    ///
    /// `ENODATA` if it is shorter by now, `EFBIG` beyond `RLIMIT_FSIZE`.
    pub fn write_at(&self, offset: u64, from: &[u8]) -> Result<(), Errno> {
        let end = offset.saturating_add(from.len() as u64);
        if end > self.file.metadata().map_err(errno_of)?.len() {
            return Err(Errno::ENODATA);
        }
        if end > file_size_limit() {
            return Err(Errno::EFBIG);
        }
        self.file.write_all_at(from, offset).map_err(short)
    }

    /// Maps `len` bytes from `offset` on, shared and writable, left out of core dumps.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where the address space is too small or limited.
    pub fn map(&self, offset: u64, len: usize) -> Result<Mapping, Errno> {
        let raw = MmapOptions::new()
            .offset(offset)
            .len(len)
            .map_raw(&self.file)
            .map_err(errno_of)?;
        let _ = raw.advise(memmap2::Advice::DontDump);
        Ok(Mapping { raw })
    }

    /// Keeps all other processes out of [`NamedFile::lock`], waiting for one that is in.
    ///
    /// Record locks belong to the process, not to a thread, and closing *any* descriptor that this
    /// process has for the file drops them: the caller keeps other threads out meanwhile, and such
    /// descriptors open. A child made by a fork has none of them, so a lock never outlives its taker.
    ///
    /// # Errors
    ///
    /// `ENOLCK` where the kernel has no memory for it.
    pub fn lock(&self) -> Result<FileLock<'_>, Errno> {
        loop {
            match fcntl(&self.file, FcntlArg::F_SETLKW(&record(libc::F_WRLCK))) {
                Ok(_) => return Ok(FileLock { file: &self.file }),
                // The kernel takes two threads that wait for one another's process for a deadlock,
                // though none of them waits while it holds.
                Err(Errno::EDEADLK) => std::thread::yield_now(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Claims the file, unless another open file of it does: until [`NamedFile::give_up_claim`], or the
    /// end of this process and of all it has forked meanwhile.
    ///
    /// # Errors
    ///
    /// `EWOULDBLOCK` if it is claimed.
    pub fn claim(&self) -> Result<(), Errno> {
        self.file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => Errno::EWOULDBLOCK,
            fs::TryLockError::Error(error) => errno_of(error),
        })
    }

    /// Gives the claim up.
    pub fn give_up_claim(&self) {
        // What could be refused is refused to descriptors that are not open.
        let _ = self.file.unlock();
    }
}

/// The record lock of a file, held by this process.
#[derive(Debug)]
pub struct FileLock<'a> {
    file: &'a File,
}

impl Drop for FileLock<'_> {
    fn drop(&mut self) {
        // Unlocking a whole range that is locked needs no memory, so it is not refused.
        let _ = fcntl(self.file.as_fd(), FcntlArg::F_SETLK(&record(libc::F_UNLCK)));
    }
}

/// The first byte of the file, which stands for all of it.
fn record(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    }
}

/// Takes a name away. The memory stays until the last process has closed it.
///
/// # Errors
///
/// `ENOENT` if there is none.
pub fn remove_name(name: &str) -> Result<(), Errno> {
    fs::remove_file(path(name)).map_err(errno_of)
}

/// The names that begin with `prefix`.
///
/// # Errors
///
/// Whatever the kernel says of the directory.
pub fn names(prefix: &str) -> Result<Vec<String>, Errno> {
    let entries = fs::read_dir(DIRECTORY).map_err(errno_of)?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(prefix)).collect())
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn short(error: std::io::Error) -> Errno {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::WriteZero => Errno::ENODATA,
        _ => errno_of(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unique(what: &str) -> String {
        format!("multiproc-sys-{what}-{:x}", crate::random::u64())
    }

    #[test]
    fn a_file_has_no_name_until_it_is_linked_and_none_after() {
        let name = unique("link");
        let file = NamedFile::create(8192).expect("a file");
        assert_eq!(FileKey::named(&name), Err(Errno::ENOENT));
        file.link(&name).expect("a free name");
        assert_eq!(FileKey::named(&name), Ok(file.key()));
        assert_eq!(file.link(&name), Err(Errno::EEXIST));
        let other = NamedFile::open(&name).expect("it has a name");
        other.write_at(5000, b"seen").expect("room");
        let mut seen = [0; 4];
        file.read_at(5000, &mut seen).expect("it is that long");
        assert_eq!(&seen, b"seen");
        assert!(names("multiproc-sys-link").expect("a list").contains(&name));
        remove_name(&name).expect("it was there");
        assert_eq!(remove_name(&name), Err(Errno::ENOENT));
    }

    #[test]
    fn what_was_cut_is_an_error_and_does_not_grow_again() {
        let name = unique("cut");
        let file = NamedFile::create(8192).expect("a file");
        file.link(&name).expect("a free name");
        let cutter = OpenOptions::new().write(true).open(path(&name));
        cutter.expect("ours").set_len(4096).expect("not sealed");
        assert_eq!(file.read_at(4000, &mut [0; 200]), Err(Errno::ENODATA));
        assert_eq!(file.write_at(4000, &[1; 200]), Err(Errno::ENODATA));
        assert_eq!(file.write_at(3000, &[1; 200]), Ok(()));
        remove_name(&name).expect("it was there");
    }

    #[test]
    fn only_one_open_file_has_the_claim() {
        let name = unique("claim");
        let file = NamedFile::create(4096).expect("a file");
        file.claim().expect("nobody else knows of it");
        file.link(&name).expect("a free name");
        let other = NamedFile::open(&name).expect("it has a name");
        assert_eq!(other.claim(), Err(Errno::EWOULDBLOCK));
        drop(file);
        other.claim().expect("its owner is gone");
        other.give_up_claim();
        remove_name(&name).expect("it was there");
    }
}
