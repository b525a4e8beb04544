//! The timeline: which worker ran what, when, and who died; in the format of Chrome's tracing, which
//! Perfetto and `chrome://tracing` open.
//!
//! Noted in memory while the pool works, as brief as possible, since whoever collects does it; written
//! when the pool ends. Workers send their own times, on the clock that all processes share.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use multiproc_process::ExitStatus;
use multiproc_sys::clock::monotonic_nanos;
use parking_lot::Mutex;

use crate::book::Loss;
use crate::outcome::Span;

/// No more events are kept: about 64 MiB.
const MOST_EVENTS: usize = 1 << 20;

/// The timeline of one pool, if somebody wants it.
#[derive(Default)]
pub(crate) struct Trace {
    on: AtomicBool,
    timeline: Mutex<Option<Timeline>>,
}

struct Timeline {
    file: File,
    begun: u64,
    events: Vec<Event>,
    left_out: u64,
}

/// Something on the row of a slot.
struct Event {
    slot: usize,
    at: u64,
    what: What,
}

enum What {
    Task { job: u64, item: usize, took: u64 },
    Ended { pid: u32, status: ExitStatus },
    Lost(Loss),
}

impl Trace {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// From now on; what was noted for another file is written there.
    pub(crate) fn begin(&self, path: &Path, name: &str) -> io::Result<()> {
        let file = File::create(path)?;
        self.write(name)?;
        *self.timeline.lock() = Some(Timeline {
            file,
            begun: monotonic_nanos(),
            events: Vec::new(),
            left_out: 0,
        });
        self.on.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A task has run.
    pub(crate) fn ran(&self, slot: usize, job: u64, item: usize, Span { begun, took }: Span) {
        self.note(slot, begun, What::Task { job, item, took });
    }

    /// A worker has ended.
    pub(crate) fn ended(&self, slot: usize, pid: u32, status: ExitStatus, loss: Option<Loss>) {
        if self.is_on() {
            let now = monotonic_nanos();
            self.note(slot, now, What::Ended { pid, status });
            if let Some(loss) = loss {
                self.note(slot, now, What::Lost(loss));
            }
        }
    }

    fn note(&self, slot: usize, at: u64, what: What) {
        if let Some(timeline) = &mut *self.timeline.lock() {
            if timeline.events.len() < MOST_EVENTS {
                timeline.events.push(Event { slot, at, what });
            } else {
                timeline.left_out += 1;
            }
        }
    }

    /// Writes what was noted, if anybody wanted it. Nothing is noted after that.
    pub(crate) fn write(&self, name: &str) -> io::Result<()> {
        self.on.store(false, Ordering::Relaxed);
        match self.timeline.lock().take() {
            Some(timeline) => timeline.write(name),
            None => Ok(()),
        }
    }
}

impl Timeline {
    fn write(&self, name: &str) -> io::Result<()> {
        let mut out = BufWriter::new(&self.file);
        let mut text = String::new();
        json_text(&mut text, name);
        write!(
            out,
            "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"left_out\":{}}},\"traceEvents\":[\n\
             {{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":0,\"args\":{{\"name\":{text}}}}}",
            self.left_out
        )?;
        let rows = self.events.iter().map(|event| event.slot + 1).max();
        for row in 1..=rows.unwrap_or(0) {
            write!(
                out,
                ",\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{row},\
                 \"args\":{{\"name\":\"worker {row}\"}}}}"
            )?;
        }
        for event in &self.events {
            self.write_event(&mut out, event)?;
        }
        out.write_all(b"\n]}\n")?;
        out.flush()
    }

    fn write_event(&self, out: &mut impl Write, event: &Event) -> io::Result<()> {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let (at, row) = (micros(event.at.saturating_sub(self.begun)), event.slot + 1);
        let place = format!("\"pid\":1,\"tid\":{row},\"ts\":{at:.3}");
        match event.what {
            What::Task { job, item, took } => write!(
                out,
                ",\n{{\"name\":\"task {item}\",\"cat\":\"task\",\"ph\":\"X\",{place},\
                 \"dur\":{:.3},\"args\":{{\"call\":{job},\"item\":{item}}}}}",
                micros(took)
            ),
            What::Ended { pid, status } => {
                let mut text = String::new();
                json_text(&mut text, &format!("worker {status}"));
                write!(
                    out,
                    ",\n{{\"name\":{text},\"cat\":\"worker\",\"ph\":\"i\",\"s\":\"t\",{place},\
                     \"args\":{{\"pid\":{pid}}}}}"
                )
            }
            What::Lost(Loss {
                job,
                item,
                attempt,
                again,
            }) => {
                let what = if again { "retry" } else { "lost" };
                write!(
                    out,
                    ",\n{{\"name\":\"{what}: task {item}\",\"cat\":\"{what}\",\"ph\":\"i\",\
                     \"s\":\"t\",{place},\"args\":{{\"call\":{job},\"item\":{item},\
                     \"attempt\":{attempt}}}}}"
                )
            }
        }
    }
}

/// A text as JSON has it.
fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}
