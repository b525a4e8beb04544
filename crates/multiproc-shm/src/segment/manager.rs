//! Named segments that go with the process that made them.
//!
//! No process stands behind a manager. Its segments are *claimed* (a kernel lock on the open file, from
//! before the name until the process ends), so a name whose claim is free has lost its manager,
//! however that ended, and whoever sees that takes it away. They look by the prefix of the names.

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use multiproc_sys::memory::names;
use multiproc_sys::random;

use super::named::{Named, unlink_if_stale};
use super::{Content, Place, SharedMemory, check_size};
use crate::arena::{self, Arena};
use crate::error::CreateError;
use crate::list::{ListItem, ShareableList};

/// What the names of managed segments begin with.
const PREFIX: &str = "multiproc-managed-";

/// Makes named shared memory and takes the names away when it is dropped.
///
/// # Examples
///
/// ```
/// use multiproc_shm::{SharedMemory, SharedMemoryManager};
///
/// let manager = SharedMemoryManager::new();
/// let memory = manager.shared_memory(100)?;
/// let name = memory.name().expect("it has one").to_owned();
/// // Any program of this user may open the name now.
/// assert_eq!(SharedMemory::open(&name)?.len(), 100);
/// drop(manager);
/// assert!(SharedMemory::open(&name).is_err());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # If a process dies
///
/// A panic drops the manager as a return does. After a kill the names are taken away by the survivors
/// of the family, if there are some; else by the next manager that any program of this user makes, or
/// the next that finds `/dev/shm` full. Whoever has the memory open keeps it.
///
/// # Differences from Python
///
/// No server process, so nothing to start and no address. Python's manager forgets its segments when
/// the server is killed.
///
/// # Platform notes
///
/// A child made by a plain fork keeps the claim of its parent's segments alive until it ends.
#[derive(Debug)]
pub struct SharedMemoryManager {
    made: Mutex<Vec<SharedMemory>>,
    /// A forked child inherits the manager, but not its duty.
    process: u32,
}

impl SharedMemoryManager {
    /// A manager of nothing yet. Names that killed managers have left are taken away.
    pub fn new() -> SharedMemoryManager {
        remove_stale();
        SharedMemoryManager {
            made: Mutex::default(),
            process: std::process::id(),
        }
    }

    /// Shared memory of `size` bytes, all zero, under a name of its own.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::create_named`].
    pub fn shared_memory(&self, size: usize) -> Result<SharedMemory, CreateError> {
        let memory = self.prepare(size, Content::Bytes)?;
        memory.publish()?;
        self.keep(&memory);
        Ok(memory)
    }

    /// A list of these items, under a name of its own.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::create_named`].
    pub fn shareable_list<T: Into<ListItem>>(
        &self,
        items: impl IntoIterator<Item = T>,
    ) -> Result<ShareableList, CreateError> {
        let list = ShareableList::make(items, 0, |size| self.prepare(size, Content::List))?;
        self.keep(list.memory());
        Ok(list)
    }

    fn prepare(&self, size: usize, content: Content) -> Result<SharedMemory, CreateError> {
        let name = format!("{PREFIX}{:016x}", random::u64());
        let create = || Named::create(&name, check_size(size)?, content, true);
        let named = match create() {
            Err(error) if error.is_no_space() => {
                remove_stale();
                create()
            }
            answer => answer,
        }?;
        // The family looks after a death from now on.
        if let Some(arena) = arena::existing() {
            arena.header().managers.store(1, Ordering::Relaxed);
        }
        Ok(SharedMemory::from_named(named))
    }

    fn keep(&self, memory: &SharedMemory) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.push(memory.clone());
    }

    /// Takes the names away, as a drop does. Whoever has the memory open keeps it.
    pub fn free(self) {}
}

impl Default for SharedMemoryManager {
    fn default() -> SharedMemoryManager {
        SharedMemoryManager::new()
    }
}

impl Drop for SharedMemoryManager {
    fn drop(&mut self) {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner);
        for memory in mem::take(made) {
            if let Place::Named(named) = &memory.place
                && self.process == std::process::id()
            {
                named.unlink();
            }
        }
    }
}

/// Takes away the names whose managers are gone.
fn remove_stale() {
    // A directory that cannot be read has no names for us either.
    for name in names(PREFIX).unwrap_or_default() {
        unlink_if_stale(&name);
    }
}

/// A member of the family has died: its segments go, if members have ever managed some.
pub(crate) fn remove_stale_after_death(arena: &Arena) {
    if arena.header().managers.load(Ordering::Relaxed) != 0 {
        remove_stale();
    }
}
