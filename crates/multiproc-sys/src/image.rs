//! The main program as the loader mapped it: where it lies, which parts are code, which parts nobody
//! can write, and which file it came from.
//!
//! Offsets from the program's load base are how a function is named to another process of the same
//! program, so this file owns one invariant: **the base is that of the main program**, the first
//! object the loader reports. An anchor symbol of ours would do until somebody links this library
//! into a shared object; then it would name that object, and every offset would be wrong.
//!
//! It is not a symbol table and does not read the file: everything comes from the program headers in
//! memory, apart from [`identity()`], which asks `/proc` about the file.

use std::ffi::CStr;
use std::ops::{ControlFlow, Range};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::stat::stat;

#[cfg(target_pointer_width = "64")]
type ProgramHeader = libc::Elf64_Phdr;
#[cfg(target_pointer_width = "32")]
type ProgramHeader = libc::Elf32_Phdr;

/// The note type of a build id, in notes named "GNU".
const NT_GNU_BUILD_ID: u32 = 3;

/// The main program's image. Got by [`main()`], the same for the life of the process.
#[derive(Debug)]
pub struct Image {
    base: usize,
    loads: Vec<Segment>,
    relro: Option<Range<usize>>,
    build_id: Option<Vec<u8>>,
}

/// One stretch of the program's memory.
#[derive(Debug)]
struct Segment {
    addresses: Range<usize>,
    flags: u32,
}

/// The main program's image, looked up once.
///
/// The first call takes the loader's lock; a process that clones itself calls this before, so that
/// its children find the answer ready.
pub fn main() -> &'static Image {
    static MAIN: OnceLock<Image> = OnceLock::new();
    MAIN.get_or_init(|| {
        let mut main = None;
        each_object(|object| {
            main = Some(Image::of(object));
            ControlFlow::Break(())
        });
        // A loader that reports no object leaves an image that contains nothing, so that whatever is
        // asked of it is refused.
        main.unwrap_or(Image {
            base: 0,
            loads: Vec::new(),
            relro: None,
            build_id: None,
        })
    })
}

impl Image {
    fn of(object: &Object<'_>) -> Image {
        let mut image = Image {
            base: object.base,
            loads: Vec::new(),
            relro: None,
            build_id: None,
        };
        for header in object.headers {
            match header.p_type {
                libc::PT_LOAD => image.loads.push(Segment {
                    addresses: object.addresses(header),
                    flags: header.p_flags,
                }),
                libc::PT_GNU_RELRO => image.relro = Some(object.addresses(header)),
                _ => {}
            }
        }
        image.build_id = object
            .headers
            .iter()
            .filter(|header| header.p_type == libc::PT_NOTE)
            .find_map(|header| {
                image.find_build_id(object.addresses(header), header.p_align as usize)
            });
        image
    }

    /// Where the program is mapped: what its own addresses count from. Zero in a program that is
    /// linked to a fixed address.
    pub fn base(&self) -> usize {
        self.base
    }

    /// Whether `address` lies in the program at all.
    pub fn contains(&self, address: usize) -> bool {
        self.loads
            .iter()
            .any(|load| load.addresses.contains(&address))
    }

    /// Whether all of `len` bytes at `address` are the program's and can be read but not written:
    /// the part the loader seals after relocation (RELRO), or a segment that never was writable,
    /// which is where a program that needs no relocation keeps its constants.
    pub fn read_only_contains(&self, address: usize, len: usize) -> bool {
        let Some(wanted) = span(address, len) else {
            return false;
        };
        let sealed = self
            .relro
            .as_ref()
            .is_some_and(|relro| covers(relro, &wanted));
        self.loads.iter().any(|load| {
            let readable = load.flags & libc::PF_R != 0;
            let writable = load.flags & libc::PF_W != 0;
            readable && covers(&load.addresses, &wanted) && (sealed || !writable)
        })
    }

    /// Whether `address` lies in the program's machine code.
    pub fn code_contains(&self, address: usize) -> bool {
        self.loads
            .iter()
            .any(|load| load.flags & libc::PF_X != 0 && load.addresses.contains(&address))
    }

    /// The build id the linker wrote, if it wrote one.
    pub fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }

    fn find_build_id(&self, addresses: Range<usize>, align: usize) -> Option<Vec<u8>> {
        if addresses.is_empty() || !self.read_only_contains(addresses.start, addresses.len()) {
            return None;
        }
        // SAFETY: the range is not empty, lies wholly in a mapped, readable segment of the program
        // that nobody writes (checked above), is at most that segment long, and the main program is
        // never unmapped. Bytes need no alignment and have no invalid values.
        let notes = unsafe {
            std::slice::from_raw_parts(
                std::ptr::with_exposed_provenance::<u8>(addresses.start),
                addresses.len(),
            )
        };
        let id = build_id_in(notes, if align == 8 { 8 } else { 4 })?;
        Some(id[..id.len().min(Identity::BUILD_ID_MAX)].to_vec())
    }
}

/// The build id among ELF notes, each `{name size, description size, type, name, description}` with
/// both texts padded to `align`.
fn build_id_in(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    while let Some((header, rest)) = notes.split_first_chunk::<12>() {
        let [name_size, id_size, kind] = [0, 4, 8].map(|at| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        });
        let (name, rest) = take_padded(rest, name_size as usize, align)?;
        let (id, rest) = take_padded(rest, id_size as usize, align)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && !id.is_empty() {
            return Some(id);
        }
        notes = rest;
    }
    None
}

/// The first `size` bytes, and what follows their padding. The last note may lack its padding.
fn take_padded(bytes: &[u8], size: usize, align: usize) -> Option<(&[u8], &[u8])> {
    let taken = bytes.get(..size)?;
    let padded = size.checked_next_multiple_of(align)?;
    Some((taken, bytes.get(padded..).unwrap_or_default()))
}

fn span(start: usize, len: usize) -> Option<Range<usize>> {
    Some(start..start.checked_add(len)?)
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// The file name of the loaded object in which `address` lies: the program's own path, or a shared
/// object's name as the loader knows it. `None` if no object has that address.
pub fn object_name_of(address: usize) -> Option<String> {
    let mut found = None;
    let mut first = true;
    each_object(|object| {
        let is_main = std::mem::replace(&mut first, false);
        let inside = object.headers.iter().any(|header| {
            header.p_type == libc::PT_LOAD && object.addresses(header).contains(&address)
        });
        if !inside {
            return ControlFlow::Continue(());
        }
        // The name is copied here and completed later: no file system while the loader is locked.
        found = Some((is_main, object.name.to_string_lossy().into_owned()));
        ControlFlow::Break(())
    });
    let (is_main, name) = found?;
    Some(match name.is_empty() {
        false => name,
        true if is_main => std::env::current_exe().map_or_else(
            |_| "the main program".into(),
            |path| path.display().to_string(),
        ),
        true => "an object without a name".into(),
    })
}

/// Where the main program keeps its variables: what a copy of this process gets pages of its own for as
/// it writes. Nothing, if they are more than `most` bytes.
pub fn variables(most: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    each_object(|object| {
        let image = Image::of(object);
        let sealed = image.relro.map_or(0, |relro| relro.end);
        let writable = image
            .loads
            .iter()
            .filter(|load| load.flags & libc::PF_W != 0);
        for load in writable {
            let start = load.addresses.start.max(sealed.min(load.addresses.end));
            if load.addresses.end - start <= most {
                found.push(start..load.addresses.end);
            }
        }
        // The main program is the first.
        ControlFlow::Break(())
    });
    found
}

/// A loaded object, as long as the loader lets us look at it.
struct Object<'a> {
    base: usize,
    name: &'a CStr,
    headers: &'a [ProgramHeader],
}

impl Object<'_> {
    fn addresses(&self, header: &ProgramHeader) -> Range<usize> {
        // The loader adds modulo the word size too; a base may be "negative" (prelinked objects).
        let start = self.base.wrapping_add(header.p_vaddr as usize);
        start..start.saturating_add(header.p_memsz as usize)
    }
}

/// Shows `look` every loaded object, the main program first, until it breaks. The loader is locked
/// meanwhile, so `look` must load and unload nothing; and it must not panic, since there is a C
/// frame above it.
fn each_object<F: FnMut(&Object<'_>) -> ControlFlow<()>>(mut look: F) {
    unsafe extern "C" fn step<F: FnMut(&Object<'_>) -> ControlFlow<()>>(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        look: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: dl_iterate_phdr hands back the pointer it was given, below: an exclusive, live `F`.
        let look = unsafe { &mut *look.cast::<F>() };
        // SAFETY: dl_iterate_phdr passes a valid info that lives for this call; only its first four
        // fields, which every C library has, are read.
        let (base, name, headers, count) = unsafe {
            let info = &raw const *info;
            (
                (*info).dlpi_addr,
                (*info).dlpi_name,
                (*info).dlpi_phdr,
                (*info).dlpi_phnum,
            )
        };
        let name = match name.is_null() {
            true => c"",
            // SAFETY: not null, so a C string that the loader keeps for as long as the object.
            false => unsafe { CStr::from_ptr(name) },
        };
        let headers: &[ProgramHeader] = match headers.is_null() {
            true => &[],
            // SAFETY: not null, so the object's program header table of `count` entries, which is
            // mapped read-only, aligned as ELF demands, and stays while the loader is locked.
            false => unsafe { std::slice::from_raw_parts(headers, usize::from(count)) },
        };
        match look(&Object {
            base: base as usize,
            name,
            headers,
        }) {
            ControlFlow::Continue(()) => 0,
            ControlFlow::Break(()) => 1,
        }
    }
    // SAFETY: `step` has the signature asked for and treats its last argument as the `F` that it is;
    // `look` outlives the call, which keeps no pointer.
    unsafe { libc::dl_iterate_phdr(Some(step::<F>), (&raw mut look).cast()) };
}

/// Which program a process runs, for comparing two processes: equal identities mean that offsets
/// into one program are offsets into the other.
///
/// The build id alone would not do, because a linker may leave it out; the file alone would not
/// either, because a copy of the program is the same program only by its build id, and is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The linker's build id, if there is one (at most [`Identity::BUILD_ID_MAX`] bytes of it).
    pub build_id: Option<Vec<u8>>,
    /// The device the program's file lies on.
    pub dev: u64,
    /// The file's inode.
    pub ino: u64,
    /// The file's size in bytes.
    pub size: u64,
    /// The file's modification time in nanoseconds since the epoch, modulo 2^64.
    pub mtime_ns: u64,
}

/// The identity of the program this process runs.
///
/// Asked anew at each call (1.3 us): a file that is touched is different for all who look later, so
/// two processes compare what both see now.
///
/// # Errors
///
/// `ENOENT` if `/proc` is not mounted; otherwise what `stat` says of `/proc/self/exe`.
pub fn identity() -> Result<Identity, Errno> {
    let file = stat("/proc/self/exe")?;
    let seconds = file.st_mtime as u64;
    Ok(Identity {
        build_id: main().build_id().map(<[u8]>::to_vec),
        dev: file.st_dev,
        ino: file.st_ino,
        size: file.st_size as u64,
        mtime_ns: seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(file.st_mtime_nsec as u64),
    })
}

impl Identity {
    /// How much of a build id is kept; linkers write 8 to 20 bytes, unless told what to write.
    pub const BUILD_ID_MAX: usize = 64;

    /// The size of the fixed form.
    pub const SIZE: usize = 5 * 8 + Identity::BUILD_ID_MAX;

    /// The fixed form: device, inode, size, time, length of the build id (all ones: there is none),
    /// each 8 bytes little-endian, then the build id padded with zeros.
    pub fn to_bytes(&self) -> [u8; Identity::SIZE] {
        let id = self.build_id.as_deref();
        let id = id.map(|id| &id[..id.len().min(Identity::BUILD_ID_MAX)]);
        let len = id.map_or(u64::MAX, |id| id.len() as u64);
        let mut bytes = [0; Identity::SIZE];
        let words = [self.dev, self.ino, self.size, self.mtime_ns, len];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let id = id.unwrap_or_default();
        bytes[40..40 + id.len()].copy_from_slice(id);
        bytes
    }

    /// The identity in its fixed form; `None` if `bytes` is nothing that [`Identity::to_bytes`]
    /// writes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Identity> {
        let bytes: &[u8; Identity::SIZE] = bytes.try_into().ok()?;
        let (words, tail) = bytes.split_first_chunk::<40>()?;
        let (words, _) = words.as_chunks::<8>();
        let [dev, ino, size, mtime_ns, len] = [0, 1, 2, 3, 4].map(|i| u64::from_le_bytes(words[i]));
        let (id, padding) = match len {
            u64::MAX => (None, tail),
            _ => {
                let (id, padding) = tail.split_at_checked(usize::try_from(len).ok()?)?;
                (Some(id.to_vec()), padding)
            }
        };
        let padded = padding.iter().all(|&byte| byte == 0);
        padded.then_some(Identity {
            build_id: id,
            dev,
            ino,
            size,
            mtime_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SEALED: &(u64, fn() -> &'static Image) = &(1, main);

    #[test]
    fn own_code_is_code_and_own_constants_are_read_only() {
        let image = main();
        assert!(image.code_contains(main as *const () as usize));
        let address = std::ptr::from_ref(SEALED).addr();
        assert!(image.read_only_contains(address, 16));
        assert!(!image.code_contains(address));
    }

    #[test]
    fn what_can_be_written_is_not_read_only() {
        static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(7);
        let image = main();
        let on_the_stack = 0u64;
        assert!(!image.read_only_contains(COUNTER.as_ptr().addr(), 8));
        assert!(!image.read_only_contains(std::ptr::from_ref(&on_the_stack).addr(), 8));
    }

    #[test]
    fn lengths_that_leave_the_segment_or_wrap_are_refused() {
        let image = main();
        let address = std::ptr::from_ref(SEALED).addr();
        assert!(!image.read_only_contains(address, usize::MAX));
        assert!(!image.read_only_contains(address, usize::MAX / 2));
        assert!(!image.read_only_contains(usize::MAX, 1));
        assert!(!image.code_contains(usize::MAX));
    }

    #[test]
    fn objects_are_named() {
        let name = object_name_of(main as *const () as usize).expect("our own code is loaded");
        let exe = std::env::current_exe().expect("the test has a file");
        assert_eq!(name, exe.display().to_string());
        assert_eq!(object_name_of(0), None);
        let elsewhere = libc::getpid as *const () as usize;
        if !main().code_contains(elsewhere) {
            let name = object_name_of(elsewhere).expect("the C library is loaded");
            assert!(name.contains("libc"), "{name}");
        }
    }

    #[test]
    fn identity_survives_its_fixed_form() {
        let identity = identity().expect("/proc is mounted");
        assert_eq!(
            Identity::from_bytes(&identity.to_bytes()),
            Some(identity.clone())
        );
        let without = Identity {
            build_id: None,
            ..identity.clone()
        };
        assert_eq!(
            Identity::from_bytes(&without.to_bytes()),
            Some(without.clone())
        );
        let empty = Identity {
            build_id: Some(Vec::new()),
            ..identity
        };
        assert_ne!(empty.to_bytes(), without.to_bytes());
    }

    #[test]
    fn other_bytes_are_no_identity() {
        let good = identity().expect("/proc is mounted").to_bytes();
        assert_eq!(Identity::from_bytes(&good[1..]), None);
        let mut long = good;
        long[32..40].copy_from_slice(&65u64.to_le_bytes());
        assert_eq!(Identity::from_bytes(&long), None);
        let mut unpadded = good;
        unpadded[Identity::SIZE - 1] = 1;
        assert_eq!(Identity::from_bytes(&unpadded), None);
    }

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let mut notes = Vec::new();
        for (name, kind, text) in [(b"CORE\0", 3u32, &b"no"[..]), (b"GNU\0\0", 3, b"abcde")] {
            let name = &name[..if name[3] == 0 { 4 } else { 5 }];
            for word in [name.len() as u32, text.len() as u32, kind] {
                notes.extend(word.to_ne_bytes());
            }
            for part in [name, text] {
                notes.extend(part);
                notes.resize(notes.len().next_multiple_of(4), 0);
            }
        }
        assert_eq!(build_id_in(&notes, 4), Some(&b"abcde"[..]));
        for cut in 0..notes.len() {
            // The last note's padding, 3 bytes here, may be missing; nothing else may.
            let found = build_id_in(&notes[..cut], 4);
            assert_eq!(found.is_some(), cut >= notes.len() - 3, "cut at {cut}");
        }
        assert_eq!(build_id_in(&[0xff; 40], 4), None);
    }
}
