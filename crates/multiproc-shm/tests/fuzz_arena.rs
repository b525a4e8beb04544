//! Fault 35: somebody scribbles over the arena. Whoever uses it then is told, or does not notice; nobody
//! crashes, and nobody waits for ever.
//!
//! Each try is a process of its own, with an arena of its own. Runs for three seconds; `FUZZ_SECONDS`
//! sets how long, `SEED` runs one try alone.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use multiproc_shm::testing::{Chance, scribble};
use multiproc_shm::{Kind, Object, Outbox, Ring, ShareableList, SharedMemory, family, parcel};
use multiproc_sys::clock::Deadline;
use multiproc_sys::random;
use multiproc_wire::codec;

/// No try takes so long, unless somebody waits for ever.
const HANG: Duration = Duration::from_secs(60);

/// Words scribbled over in one try, and what is done after each.
const SCRIBBLES: u64 = 12;

/// What a family has.
struct Things {
    objects: Vec<Object>,
    ring: Ring,
    outbox: Outbox,
    memory: SharedMemory,
    list: ShareableList,
}

fn store(objects: &[Object]) -> Result<Object, multiproc_shm::CreateError> {
    parcel::store(&codec::encode(&objects.to_vec()).expect("encodes"))
}

fn plain(len: usize) -> Result<Object, multiproc_shm::CreateError> {
    Object::create(Kind::Plain, 5, len, |_| {})
}

impl Things {
    fn new() -> Things {
        let mut objects: Vec<Object> = [10, 300, 300, 5_000, 100_000]
            .map(|len| plain(len).expect("an object"))
            .into();
        objects.push(store(&objects).expect("stored"));
        objects.push(Object::create(Kind::Locked, 6, 100, |_| {}).expect("an object"));
        let ring = Ring::create(9, 2048).expect("a ring");
        objects.push(ring.object().clone());
        let outbox = Outbox::create().expect("an outbox");
        objects.push(outbox.object().clone());
        // Some that are free.
        drop([10, 300, 100_000, 200_000].map(plain));
        let things = Things {
            objects,
            ring,
            outbox,
            memory: SharedMemory::create(1000).expect("memory"),
            list: ShareableList::new([1, 2]).expect("a list"),
        };
        things.push(1);
        things
    }

    fn push(&self, frames: usize) {
        let deadline = Deadline::after(Duration::from_millis(20));
        for _ in 0..frames {
            let parcel = store(&self.objects[..2]);
            let Ok(mut tail) = self.ring.tail(deadline) else {
                return;
            };
            let _full = tail.push(&[&[7; 30]], 1);
            if let Ok(parcel) = parcel {
                let _full = tail.push_parcel(&parcel);
            }
        }
    }

    fn pop(&self, frames: usize) {
        let deadline = Deadline::after(Duration::from_millis(20));
        let mut bytes = Vec::new();
        for _ in 0..frames {
            let Ok(mut head) = self.ring.head(deadline) else {
                return;
            };
            let _frame = head.pop(&mut bytes);
        }
    }

    /// A bit of everything; whatever it answers.
    fn use_all(&mut self, random: &mut Chance) {
        for len in [10, 300, 5_000, 100_000, 1 << 20] {
            if let Ok(object) = plain(len) {
                object.words()[0].store(7, std::sync::atomic::Ordering::Relaxed);
                let _parcel = store(&[object, self.objects[0].clone()]);
            }
        }
        for object in &self.objects {
            if let Ok(parcel) = parcel::load(object) {
                let _ = codec::decode::<Vec<Object>>(&parcel.bytes, &parcel.attachments);
            }
        }
        self.push(3);
        self.pop(4);
        let _ = Ring::open(self.ring.object().clone());
        let _ = self.outbox.content();
        let _ = self.memory.write_at(0, &[1; 100]);
        let _ = self.list.set(0, random.below(100) as i64 as u32);
        let _ = self.list.get(1);
        let _ = self.objects[6]
            .lock()
            .lock(Deadline::after(Duration::from_millis(20)));
        if let Ok(seat) = family::reserve("nobody") {
            let _ = seat.endow(&self.objects[0]);
            let _ = family::name_of(seat.id());
            // As if it had been started and had died.
            family::sweep_now(seat.launched());
        }
        let _ = family::me().map(|me| (family::is_alive(me), family::pid_of(me)));
        let _ = family::usage();
    }
}

/// What happens in a process of its own; nothing when run by itself.
#[test]
fn case() {
    let Some(seed) = std::env::var("SCRIBBLE").ok() else {
        return;
    };
    let mut random = Chance::from_seed(seed.parse().expect("a number"));
    let mut things = Things::new();
    for _ in 0..SCRIBBLES {
        scribble(&mut random, &things.objects);
        things.use_all(&mut random);
    }
    let keep = random.below(things.objects.len() as u64) as usize;
    things.objects.truncate(keep.max(7));
    drop(things);
}

fn one_try(seed: u64) {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "case", "--nocapture"])
        .env("SCRIBBLE", seed.to_string())
        .env("MULTIPROC_ARENA_MAX", (64 << 20).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let until = Deadline::after(HANG);
    let status = loop {
        match child.try_wait().expect("our child") {
            Some(status) => break status,
            None if until.has_passed() => {
                child.kill().expect("our child");
                panic!("somebody waits for ever; repeat with SEED={seed}");
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    if !status.success() {
        let mut stderr = child.stderr.take().expect("a pipe");
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
        panic!("{status}; repeat with SEED={seed}\n{text}");
    }
}

#[test]
fn fault_35_a_scribbled_arena_is_an_error_and_never_a_crash_or_an_endless_wait() {
    if std::env::var_os("SCRIBBLE").is_some() {
        return;
    }
    if let Some(seed) = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        return one_try(seed);
    }
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(seconds.unwrap_or(3.0));
    let mut tries = 0;
    while Instant::now() < end {
        one_try(random::u64());
        tries += 1;
    }
    println!("{tries} arenas, {} words scribbled over in each", SCRIBBLES);
    assert!(tries > 0);
}
