//! Segments with a name: one file, one descriptor and one mapping for each in a process.
//!
//! | what | who changes it | when |
//! |---|---|---|
//! | name | its maker; whoever unlinks it | after the file is complete |
//! | header page | its maker | before the name |
//! | content | anybody | |
//! | record lock on the file | a process that writes a list's slot | while it writes |
//! | claim on the file | the manager's process that made it | from before the name until it ends |
//!
//! The process keeps a book of the segments it has open, by file. That is more than thrift: closing
//! a second descriptor of a file would drop the record lock that a thread of this process holds through the
//! first. So a segment's file is opened and closed under the lock of the book, and where there are
//! two descriptors after all, under that of the writing threads as well.
//!
//! # Killed here: others see
//!
//! | step | others see |
//! |---|---|
//! | before the link | no name, and no memory: the file goes with its last descriptor |
//! | after | a complete segment |
//! | writing a list's slot | the kernel drops the record lock; the slot says what is whole |
//! | a manager, anywhere | names whose claim is free, which the next manager takes away |

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use multiproc_sys::memory::{FileKey, FileLock, Mapping, NamedFile, remove_name};
use multiproc_sys::{Errno, random};

use super::Content;
use super::header::{self, HEADER, Header};
use crate::error::{AccessError, CreateError, OpenError};

/// The longest name a file can have.
const LONGEST: usize = 255;

const MAKING: &str = "making named shared memory";

/// The named segments this process has open. A fork goes on with its parent's book, as it has what is
/// written there: no copy is made while another thread of the program runs, nor by a thread under this lock.
static BOOK: Mutex<Option<HashMap<FileKey, Weak<Named>>>> = Mutex::new(None);

type Book = HashMap<FileKey, Weak<Named>>;

/// A named segment, as this process has it open.
pub(super) struct Named {
    name: String,
    header: Header,
    mapping: Mapping,
    /// There until the drop, which closes it.
    file: Option<NamedFile>,
    /// Threads of this process that write by a protocol: the record lock is the whole process's.
    writing: Mutex<()>,
    /// Whether this process has the claim: asking for it again would say that nobody has.
    claimed: bool,
}

/// Neither another thread nor another process writes by a protocol.
pub(super) struct Writing<'a> {
    // In this order: the file is free before the next thread may ask for it.
    _file: FileLock<'a>,
    _threads: MutexGuard<'a, ()>,
}

fn with_book<R>(act: impl FnOnce(&mut Book) -> R) -> R {
    let mut book = BOOK.lock().unwrap_or_else(PoisonError::into_inner);
    act(book.get_or_insert_default())
}

impl Named {
    /// A new one without its name: nobody else can open it before [`Named::publish`].
    pub(super) fn create(
        name: &str,
        size: usize,
        content: Content,
        managed: bool,
    ) -> Result<Arc<Named>, CreateError> {
        check_name(name).map_err(CreateError::Invalid)?;
        let refused = |errno| create_error(MAKING, name, errno);
        let header = Header {
            len: size as u64,
            id: random::u64(),
            content,
            managed,
        };
        let whole = header.len.checked_add(HEADER);
        let whole = whole.filter(|&whole| i64::try_from(whole).is_ok());
        let whole = whole.ok_or_else(|| {
            CreateError::Invalid(format!("{size} bytes are more than a file can have"))
        })?;
        let file = NamedFile::create(whole).map_err(refused)?;
        if managed {
            file.claim().map_err(refused)?;
        }
        file.write_at(0, &header.to_bytes()).map_err(refused)?;
        let mapping = file.map(HEADER, size).map_err(refused)?;
        let mut named = Named::new(name, header, mapping, file);
        named.claimed = managed;
        Ok(Arc::new(named))
    }

    /// Gives it its name, in one step.
    pub(super) fn publish(self: &Arc<Named>) -> Result<(), CreateError> {
        with_book(|book| {
            let linked = self.file().link(&self.name);
            linked.map_err(|errno| create_error(MAKING, &self.name, errno))?;
            book.insert(self.file().key(), Arc::downgrade(self));
            Ok(())
        })
    }

    fn new(name: &str, header: Header, mapping: Mapping, file: NamedFile) -> Named {
        Named {
            name: name.to_owned(),
            header,
            mapping,
            file: Some(file),
            writing: Mutex::new(()),
            claimed: false,
        }
    }

    pub(super) fn open(name: &str, content: Content) -> Result<Arc<Named>, OpenError> {
        check_name(name).map_err(OpenError::Invalid)?;
        let named = with_book(|book| open_in(book, name))?;
        named.expect_content(content)
    }

    /// The segment of that identity: one this process has open, else the one with that name.
    pub(super) fn receive(name: &str, id: u64, content: Content) -> Result<Arc<Named>, OpenError> {
        // Given away only after the book: a last one's drop needs it.
        let open: Vec<Arc<Named>> =
            with_book(|book| book.values().filter_map(Weak::upgrade).collect());
        match open.into_iter().find(|named| named.header.id == id) {
            Some(named) => named.expect_content(content),
            None => {
                let named = Named::open(name, content)?;
                // The name belongs to another by now.
                let same = named.header.id == id;
                same.then_some(named).ok_or(OpenError::NotFound)
            }
        }
    }

    fn expect_content(self: Arc<Named>, content: Content) -> Result<Arc<Named>, OpenError> {
        if self.header.content == content {
            return Ok(self);
        }
        Err(OpenError::Incompatible {
            ours: content.name().into(),
            theirs: self.header.content.name().into(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self) -> u64 {
        self.header.id
    }

    pub(super) fn len(&self) -> usize {
        self.mapping.len()
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.mapping.start()
    }

    pub(super) fn file(&self) -> &NamedFile {
        self.file.as_ref().expect("the file is open until the drop")
    }

    pub(super) fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        let read = self.file().read_at(HEADER + offset as u64, into);
        read.map_err(|errno| access_error("reading shared memory", errno))
    }

    pub(super) fn write_at(&self, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        let written = self.file().write_at(HEADER + offset as u64, from);
        written.map_err(|errno| access_error("writing shared memory", errno))
    }

    pub(super) fn write_lock(&self) -> Result<Writing<'_>, AccessError> {
        let threads = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.file().lock();
        Ok(Writing {
            _file: file.map_err(|errno| access_error("locking shared memory", errno))?,
            _threads: threads,
        })
    }

    /// Takes its name away, if it still has it.
    pub(super) fn unlink(&self) {
        if FileKey::named(&self.name) == Ok(self.file().key()) {
            // Somebody may have been faster.
            let _ = remove_name(&self.name);
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // Given back after the book, which its own drop would need.
        let mut other = None;
        with_book(|book| {
            let key = self.file().key();
            other = book.get(&key).and_then(Weak::upgrade);
            match &other {
                // Opened again while this one was on its way out.
                Some(other) => close_beside(other, self.file.take()),
                None => {
                    book.remove(&key);
                    self.file = None;
                }
            }
        });
    }
}

/// Closes one more descriptor of a file while no thread of this process has its record lock.
fn close_beside(other: &Named, file: Option<NamedFile>) {
    let _no_thread = other.writing.lock().unwrap_or_else(PoisonError::into_inner);
    drop(file);
}

/// Opens a segment's file, or finds it open. The caller gives the result away only after the book.
fn open_in(book: &mut Book, name: &str) -> Result<Arc<Named>, OpenError> {
    let refused = |errno| open_error("opening named shared memory", errno);
    let known = |book: &Book, key| book.get(&key).and_then(Weak::upgrade);
    if let Some(named) = known(book, FileKey::named(name).map_err(refused)?) {
        return Ok(named);
    }
    let file = NamedFile::open(name).map_err(refused)?;
    if let Some(named) = known(book, file.key()) {
        // The name has come back to a segment we know, between the two looks.
        close_beside(&named, Some(file));
        return Ok(named);
    }
    let header = read_header(&file)?;
    let len = usize::try_from(header.len)
        .map_err(|_| OpenError::Corrupt("a segment is larger than the address space"))?;
    let mapping = file.map(HEADER, len).map_err(refused)?;
    let key = file.key();
    let named = Arc::new(Named::new(name, header, mapping, file));
    book.insert(key, Arc::downgrade(&named));
    Ok(named)
}

fn read_header(file: &NamedFile) -> Result<Header, OpenError> {
    let mut bytes = [0; header::LEN];
    match file.read_at(0, &mut bytes) {
        Ok(()) => Header::from_bytes(&bytes, file.len()),
        Err(Errno::ENODATA) => Err(header::too_short(file.len())),
        Err(errno) => Err(open_error("reading the header of a segment", errno)),
    }
}

pub(super) fn unlink(name: &str) -> Result<(), OpenError> {
    check_name(name).map_err(OpenError::Invalid)?;
    remove_name(name).map_err(|errno| open_error("unlinking named shared memory", errno))
}

/// Takes the name away from a managed segment whose manager is gone: one that nobody claims.
pub(super) fn unlink_if_stale(name: &str) {
    // Segments of this process are looked at through the descriptor it has; and none is opened
    // meanwhile, so no thread can come by a record lock that closing ours would drop.
    let mut known = None;
    with_book(|book| {
        let Ok(key) = FileKey::named(name) else {
            return;
        };
        known = book.get(&key).and_then(Weak::upgrade);
        match &known {
            Some(named) if named.claimed || !named.header.managed => {}
            Some(named) => unlink_unclaimed(name, named.file()),
            // On its way out in this process.
            None if book.contains_key(&key) => {}
            None => {
                let file = NamedFile::open(name).ok();
                let file = file.filter(|file| file.key() == key);
                let managed = |file: &NamedFile| read_header(file).is_ok_and(|it| it.managed);
                if let Some(file) = file.filter(managed) {
                    unlink_unclaimed(name, &file);
                }
            }
        }
    });
}

fn unlink_unclaimed(name: &str, file: &NamedFile) {
    if file.claim().is_ok() {
        let _ = remove_name(name);
        file.give_up_claim();
    }
}

/// What is wrong with a name.
fn check_name(name: &str) -> Result<(), String> {
    let wrong = match name {
        "" => "is empty",
        "." | ".." => "means a directory",
        _ if name.contains('/') => "contains a slash; leave it out, also at the beginning",
        _ if name.contains('\0') => "contains a NUL",
        _ if name.len() > LONGEST => "is longer than 255 bytes",
        _ => return Ok(()),
    };
    let begin: String = name.chars().take(40).collect();
    Err(format!("the name {begin:?} of shared memory {wrong}"))
}

fn create_error(doing: &'static str, name: &str, errno: Errno) -> CreateError {
    match errno {
        Errno::EEXIST => CreateError::Exists(name.to_owned()),
        Errno::ENOSPC => CreateError::NoSpace(format!(
            "{doing}: /dev/shm is full; unlink what is left there, or mount it larger"
        )),
        Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT => CreateError::Invalid(format!(
            "{doing}: /dev/shm is no filesystem in memory ({errno}); mount a tmpfs there"
        )),
        errno => CreateError::from_errno(doing, errno),
    }
}

fn open_error(doing: &'static str, errno: Errno) -> OpenError {
    match errno {
        Errno::ENOENT => OpenError::NotFound,
        Errno::ELOOP => header::incompatible("a symbolic link".into()),
        Errno::EINVAL | Errno::EISDIR => header::incompatible("something that is no file".into()),
        Errno::EPERM => header::incompatible("a file of another user".into()),
        errno => CreateError::from_errno(doing, errno).into(),
    }
}

fn access_error(doing: &'static str, errno: Errno) -> AccessError {
    match errno {
        Errno::ENODATA => AccessError::Corrupt("its file has been cut by another program"),
        Errno::EFBIG => AccessError::NoSpace(
            "RLIMIT_FSIZE is smaller than the segment, so this process cannot write there; \
             raise it (ulimit -f)"
                .into(),
        ),
        errno => AccessError::Os { doing, errno },
    }
}
