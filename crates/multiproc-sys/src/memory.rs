//! Memory that several processes map: sealed memory files.

mod named;

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::OnceLock;

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::lift::lift;

pub use named::{FileKey, FileLock, NamedFile, names, remove_name};

/// How much memory is reserved in one system call.
const PIECE: u64 = 64 << 20;

/// An anonymous file in memory whose size nobody can change any more.
///
/// It has a name only for diagnostics, in `/proc`, and vanishes with its last holder.
#[derive(Debug)]
pub struct SharedFile {
    file: File,
    len: u64,
}

impl SharedFile {
    /// A file of `len` bytes with no memory behind it yet ([`SharedFile::reserve`] brings it), closed on exec.
    ///
    /// # Errors
    ///
    /// `EFBIG` beyond `RLIMIT_FSIZE`, `EMFILE` and `ENFILE` without a free descriptor.
    pub fn create(name: &str, len: u64) -> Result<SharedFile, Errno> {
        if len > file_size_limit() {
            // Asking the kernel would also raise SIGXFSZ, which ends the process.
            return Err(Errno::EFBIG);
        }
        let file = File::from(memory_file(name)?);
        file.set_len(len).map_err(errno_of)?;
        seal(
            file.as_fd(),
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW,
        )?;
        Ok(SharedFile { file, len })
    }

    /// Takes a file that came from another process. Its seals and size are checked anew.
    ///
    /// # Errors
    ///
    /// `EPERM` if its size is not sealed, `EINVAL` if it is no memory file.
    pub fn from_fd(fd: OwnedFd) -> Result<SharedFile, Errno> {
        require_seals(fd.as_fd(), SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW)?;
        let file = File::from(fd);
        let len = file.metadata().map_err(errno_of)?.len();
        Ok(SharedFile { file, len })
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts memory behind `len` bytes at `offset`, so that touching them cannot fail.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `ENOMEM` where there is none; part of the range may have memory then.
    pub fn reserve(&self, offset: u64, len: u64) -> Result<(), Errno> {
        // In pieces: a signal makes the kernel begin a piece anew.
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let piece = PIECE.min(end - at);
            self.allocate(FallocateFlags::empty(), at, piece)?;
            at += piece;
        }
        Ok(())
    }

    /// Gives the memory of the whole pages inside the range back; they read as zero.
    ///
    /// # Errors
    ///
    /// Whatever the kernel says; the content is then as before.
    pub fn punch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        self.allocate(flags, offset, len)
    }

    fn allocate(&self, flags: FallocateFlags, offset: u64, len: u64) -> Result<(), Errno> {
        let (offset, len) = (offset as libc::off_t, len as libc::off_t);
        loop {
            match fallocate(&self.file, flags, offset, len) {
                Err(Errno::EINTR) => {}
                answer => return answer,
            }
        }
    }

    /// Maps the whole file, shared and writable, left out of core dumps.
    ///
    /// # Errors
    ///
    /// `ENOMEM` where the address space is too small or limited.
    pub fn map(&self) -> Result<Mapping, Errno> {
        let len = usize::try_from(self.len).map_err(|_| Errno::ENOMEM)?;
        let raw = MmapOptions::new()
            .len(len)
            .map_raw(&self.file)
            .map_err(errno_of)?;
        // Advice only: an old kernel that refuses costs larger core dumps, nothing else.
        let _ = raw.advise(memmap2::Advice::DontDump);
        Ok(Mapping { raw })
    }
}

impl AsFd for SharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A mapped [`SharedFile`]. Other processes change it at any time: go through atomics or locks.
#[derive(Debug)]
pub struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Its first byte.
    pub fn start(&self) -> NonNull<u8> {
        NonNull::new(self.raw.as_mut_ptr()).expect("a mapping does not start at null")
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.raw.len() == 0
    }
}

/// Gives this process pages of its own for variables at these addresses, as writing to each would,
/// but in one go. A range that is not writable memory is left as it is.
pub fn own(addresses: &Range<usize>) {
    let first = addresses.start & !(page_size() - 1);
    let start = std::ptr::with_exposed_provenance_mut(first);
    // SAFETY: populating changes no content and no protection, whatever lies there: it does what
    // writing the values that are there already would do, or fails.
    unsafe { libc::madvise(start, addresses.end - first, libc::MADV_POPULATE_WRITE) };
}

fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    // SAFETY: sysconf takes a number and reads no memory of ours.
    *SIZE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize })
}

/// The most bytes one file may have (`RLIMIT_FSIZE`).
pub fn file_size_limit() -> u64 {
    limit(Resource::RLIMIT_FSIZE)
}

/// The most bytes this process may map (`RLIMIT_AS`).
pub fn address_space_limit() -> u64 {
    limit(Resource::RLIMIT_AS)
}

fn limit(resource: Resource) -> u64 {
    match getrlimit(resource) {
        Ok((RLIM_INFINITY, _)) | Err(_) => u64::MAX,
        Ok((soft, _)) => soft,
    }
}

/// A memory file that holds `bytes` and can never change.
///
/// # Errors
///
/// As [`SharedFile::create`].
pub fn sealed_bytes(name: &str, bytes: &[u8]) -> Result<OwnedFd, Errno> {
    if bytes.len() as u64 > file_size_limit() {
        return Err(Errno::EFBIG);
    }
    let mut file = File::from(memory_file(name)?);
    file.write_all(bytes).map_err(errno_of)?;
    seal(file.as_fd(), unchanging())?;
    Ok(OwnedFd::from(file))
}

/// The content of a file made by [`sealed_bytes`].
///
/// # Errors
///
/// `EPERM` if anything about it could still change; `EINVAL` if it is no memory file.
pub fn read_sealed(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    require_seals(fd, unchanging())?;
    let file = File::from(fd.try_clone_to_owned().map_err(errno_of)?);
    // By position: whoever else holds the file shares its cursor.
    let mut bytes = vec![0; file.metadata().map_err(errno_of)?.len() as usize];
    file.read_exact_at(&mut bytes, 0).map_err(errno_of)?;
    Ok(bytes)
}

fn unchanging() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

/// `MFD_NOEXEC_SEAL`: the file cannot be run, and that cannot be changed.
const NOEXEC_SEAL: u32 = 0x0008;

fn memory_file(name: &str) -> Result<OwnedFd, Errno> {
    let wanted = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(name, wanted | MFdFlags::from_bits_retain(NOEXEC_SEAL)) {
        // Kernels before 6.3 do not know NOEXEC_SEAL; the rest protects just the same.
        Err(Errno::EINVAL) => memfd_create(name, wanted),
        answer => answer,
    }
    .map(lift)
}

/// Adds `seals`, and the seal that no more can be added or taken away.
fn seal(fd: BorrowedFd<'_>, seals: SealFlag) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL)).map(drop)
}

fn require_seals(fd: BorrowedFd<'_>, wanted: SealFlag) -> Result<(), Errno> {
    let bits = fcntl(fd, FcntlArg::F_GET_SEALS)?;
    if SealFlag::from_bits_truncate(bits).contains(wanted) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn errno_of(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_file_cannot_change_its_size() {
        let shared = SharedFile::create("test", 8192).expect("memory file");
        assert_eq!(
            shared.file.set_len(4096).map_err(errno_of),
            Err(Errno::EPERM)
        );
        assert_eq!(
            shared.file.set_len(16384).map_err(errno_of),
            Err(Errno::EPERM)
        );
        let copy = shared.as_fd().try_clone_to_owned().expect("a descriptor");
        assert_eq!(SharedFile::from_fd(copy).expect("sealed").len(), 8192);
    }

    #[test]
    fn an_unsealed_file_is_refused() {
        let fd = memory_file("loose").expect("memory file");
        assert_eq!(SharedFile::from_fd(fd).err(), Some(Errno::EPERM));
        let fd = memory_file("loose").expect("memory file");
        assert_eq!(read_sealed(fd.as_fd()), Err(Errno::EPERM));
    }

    #[test]
    fn sealed_bytes_come_back_and_stay() {
        let fd = sealed_bytes("boot", b"hello").expect("memory file");
        assert_eq!(read_sealed(fd.as_fd()).expect("sealed"), b"hello");
        let mut file = File::from(fd);
        assert!(file.write_all(b"other").is_err());
    }

    #[test]
    fn two_mappings_show_the_same_bytes() {
        let shared = SharedFile::create("test", 4096).expect("memory file");
        shared.reserve(0, 4096).expect("a page");
        let (one, two) = (shared.map().expect("map"), shared.map().expect("map"));
        // SAFETY: both pointers are to a reserved, mapped page, and only this thread uses it.
        unsafe {
            one.start().write(7);
            assert_eq!(two.start().read(), 7);
        }
        shared.punch(0, 4096).expect("punch");
        // SAFETY: as above; a punched page reads as zero.
        assert_eq!(unsafe { two.start().read() }, 0);
    }
}
