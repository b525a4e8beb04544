//! After a death: everybody is woken, and what the dead member held goes back.
//!
//! Whoever reaps a member buries it (one store) and wakes the published sleepers; that may be done
//! by a thread that takes no lock of ours. The sweep takes the arena lock, so it runs on a thread of
//! its own, or on the thread of a user who has just joined the process anyway. Any member may sweep,
//! and any number at once.
//!
//! Descendants whose parent died are nobody's children in the family: the sweeper looks for them by
//! their life words, and asks the kernel before it believes one.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;
use multiproc_sys::rest::{self, Resident};
use multiproc_sys::robust::Refusal;

use crate::alloc;
use crate::arena::{self, Arena};
use crate::error::CreateError;
use crate::files;
use crate::layout::{GRANULE, heap_at};
use crate::ledger;
use crate::member::{self, MemberId, Phase};
use crate::own::Own;
use crate::segment;
use crate::sleep;

/// How often orphans are looked at, while there are any.
const ORPHANS_EVERY: Duration = Duration::from_millis(1500);
/// How soon first, while one is known to be on its way out.
const DYING_FIRST: Duration = Duration::from_millis(5);

/// The sweeper of this process: a thread, which no fork takes along.
static SWEEPER: Own<Mutex<Option<Arc<Inbox>>>> = Own::new();

/// Nothing panics under a lock of this file.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a sweeper is told.
#[derive(Debug, Default)]
struct Inbox {
    dead: Mutex<Vec<MemberId>>,
    /// Counts what it is told; its sweeper sleeps on it.
    told: AtomicU32,
    /// Another one has taken over.
    over: AtomicBool,
}

impl Inbox {
    fn put(&self, dead: MemberId) {
        lock(&self.dead).push(dead);
        self.wake();
    }

    fn close(&self) {
        self.over.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        self.told.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.told);
    }
}

/// Makes this process the first member of a new family. Its life word is held by the sweeper, which
/// never ends, while the main thread of a program may.
pub(crate) fn found_family(arena: &'static Arena) -> Result<(), CreateError> {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&name)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let id = member::occupy(&arena.lock_for_create()?, &name, None)?;
    let slot = member::slot(arena, id.index());
    let _said = slot.say_pid(id);
    let (held, ready) = mpsc::sync_channel(1);
    let thread = start_sweeper(arena, move || {
        let holds = member::slot(arena, id.index()).hold_life(id) == Ok(true);
        let _ = held.send(holds);
        holds
    })?;
    if ready.recv() != Ok(true) {
        *lock(SWEEPER.get()) = None;
        let _ = thread.join();
        return Err(CreateError::Limit(Refusal::Layout.to_string()));
    }
    member::become_member(id);
    // Nobody else knows of the slot yet.
    let _live = slot.advance(id, Phase::Starting, Phase::Live);
    Ok(())
}

/// Starts the sweeper, which goes on after `first` if that says so.
fn start_sweeper(
    arena: &'static Arena,
    first: impl FnOnce() -> bool + Send + 'static,
) -> Result<JoinHandle<()>, CreateError> {
    let mut sweeper = lock(SWEEPER.get());
    let inbox = Arc::new(Inbox::default());
    let its = Arc::clone(&inbox);
    let thread = std::thread::Builder::new()
        .name("multiproc-sweep".into())
        .spawn(move || {
            let me = rest::register();
            if first() {
                work(arena, &me, &its);
            }
        })
        .map_err(|error| {
            CreateError::Limit(format!(
                "cannot start the thread that cleans up after dead processes: {error}; \
                 raise RLIMIT_NPROC (ulimit -u)"
            ))
        })?;
    if let Some(before) = sweeper.replace(inbox) {
        before.close();
    }
    Ok(thread)
}

fn sweeper(arena: &'static Arena) -> Result<Arc<Inbox>, CreateError> {
    loop {
        if let Some(inbox) = &*lock(SWEEPER.get()) {
            return Ok(Arc::clone(inbox));
        }
        // Two threads may both start one: the second takes over, and the first ends.
        start_sweeper(arena, || true)?;
    }
}

/// Starts the sweeper, which looks for orphans at once.
pub(crate) fn ensure_sweeper(arena: &'static Arena) {
    // Where no thread can be had, other members look, or this one at its next death.
    let _ = sweeper(arena);
}

/// The sweeper's life: the dead it is told of, and orphans while there are any.
fn work(arena: &'static Arena, me: &Resident, inbox: &Inbox) {
    let mut soon = DYING_FIRST;
    loop {
        let told = inbox.told.load(Ordering::Acquire);
        let dead = std::mem::take(&mut *lock(&inbox.dead));
        for id in dead {
            sweep(arena, id);
            soon = DYING_FIRST;
        }
        if inbox.over.load(Ordering::Acquire) {
            return;
        }
        let until = match look_after_orphans(arena) {
            Orphans::None => Deadline::NEVER,
            Orphans::Running => Deadline::after(ORPHANS_EVERY),
            Orphans::Dying => {
                soon = (soon * 2).min(ORPHANS_EVERY);
                Deadline::after(soon)
            }
        };
        let _ = me.rest(|| futex::wait(&inbox.told, told, until));
    }
}

/// Buries `id` and wakes everybody. Takes no lock.
pub(crate) fn bury(arena: &'static Arena, id: MemberId) -> bool {
    let buried = member::slot(arena, id.index()).bury(id);
    if buried {
        mourn(arena);
    }
    buried
}

/// Wakes everybody who sleeps: the dead may have taken a wake along.
fn mourn(arena: &'static Arena) {
    let deaths = &arena.header().deaths;
    deaths.fetch_add(1, Ordering::SeqCst);
    futex::wake_all(deaths);
    sleep::wake_published(arena);
}

/// Hands a buried member to the sweeper.
pub(crate) fn hand_over(arena: &'static Arena, id: MemberId) {
    // Where no thread can be had, the slot stays Dead: the next sweep of this process takes it.
    if let Ok(inbox) = sweeper(arena) {
        inbox.put(id);
    }
}

/// Gives back all that `id`, which is Dead, held, and frees its slot.
///
/// Killed here: each reference is one transaction, so the next sweep finds the rest.
pub(crate) fn sweep(arena: &'static Arena, id: MemberId) {
    const AT_ONCE: usize = 64;
    let slot = member::slot(arena, id.index());
    let mut from = heap_at(arena.len());
    loop {
        let Ok(locked) = arena.lock(Deadline::NEVER) else {
            return;
        };
        if slot.now(id.index()) != (id, Phase::Dead) {
            return;
        }
        for _ in 0..AT_ONCE {
            let Some(object) = ledger::first_held(arena, id, from) else {
                sleep::forget_threads(arena, id);
                let _ = slot.advance(id, Phase::Dead, Phase::Free);
                alloc::drain(arena, locked);
                segment::remove_stale_after_death(arena);
                return files::tell_of_death(arena);
            };
            alloc::release_locked(&locked, id, object);
            // Not again, even where a damaged ledger has kept the bit.
            from = object + GRANULE;
        }
        alloc::drain(arena, locked);
    }
}

/// What there is to look at again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Orphans {
    None,
    /// Members whose parent is gone.
    Running,
    /// One of them is on its way out.
    Dying,
}

/// Looks at the members whose parent is gone, and at the dead nobody has swept.
fn look_after_orphans(arena: &'static Arena) -> Orphans {
    let mut left = Orphans::None;
    for index in 0..member::used(arena) {
        let slot = member::slot(arena, index);
        let (id, phase) = slot.now(index);
        let parent = MemberId::from_bits(slot.parent.load(Ordering::Relaxed));
        // The root has no parent to reap it either, but it does not look after itself.
        let orphan = parent.is_none_or(|parent| !is_running(arena, parent))
            && member::me().is_ok_and(|me| me != id);
        let pid = slot.pid();
        match phase {
            Phase::Dead => sweep(arena, id),
            // Its parent died before it ran; should it come late, it finds itself buried.
            Phase::Starting if orphan && pid.is_none() => give_up_on(arena, id),
            // The kernel's mark and the process table both say so: either alone may be wrong, of a
            // thread that ended, or of another container's process.
            Phase::Starting | Phase::Live if orphan => {
                let marked = slot.life.is_suspect() || phase == Phase::Starting;
                if marked && slot.has_ended() {
                    if bury(arena, id) {
                        sweep(arena, id);
                    }
                } else {
                    left = left.max(if marked {
                        Orphans::Dying
                    } else {
                        Orphans::Running
                    });
                }
            }
            _ => {}
        }
    }
    left
}

/// Buries a member that never ran, and never will: it finds its seat gone. One that went Live this
/// moment is left alone.
fn give_up_on(arena: &'static Arena, id: MemberId) {
    if member::slot(arena, id.index()).advance(id, Phase::Starting, Phase::Dead) {
        mourn(arena);
        sweep(arena, id);
    }
}

fn is_running(arena: &'static Arena, id: MemberId) -> bool {
    let (now, phase) = member::slot(arena, id.index()).now(id.index());
    now == id && phase == Phase::Live
}

/// For tests: sweeps what is dead on this thread, and waits until no member but those of `alive`
/// is left.
#[doc(hidden)]
pub(crate) fn settle(deadline: Deadline) -> bool {
    let Some(arena) = arena::existing() else {
        return true;
    };
    loop {
        let _ = look_after_orphans(arena);
        let left = (0..member::used(arena))
            .filter(|&index| member::slot(arena, index).now(index).1 != Phase::Free)
            .count();
        if left <= 1 {
            return true;
        }
        if deadline.has_passed() {
            return false;
        }
        std::thread::yield_now();
    }
}
