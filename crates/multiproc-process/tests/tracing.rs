//! With the feature `tracing`: a subscriber that the fork server has set is every child's, and sees the
//! span with the name of the process around whatever its task traces.

mod common;

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{helper, is_helper, limited, run};
use multiproc_process::{Process, set_forkserver_preload};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Everything that was traced in this process, in words.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener(AtomicU64);

/// The fields of a span or an event.
#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

fn say(text: String) {
    SAID.lock().unwrap().push(text);
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut words = Words::default();
        span.record(&mut words);
        say(format!("span {}{}", span.metadata().name(), words.0));
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        say(format!("{}{}", event.metadata().level(), words.0));
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {
        say("enter".into());
    }

    fn exit(&self, _: &Id) {}
}

fn listen() {
    tracing::subscriber::set_global_default(Listener(AtomicU64::new(1))).unwrap();
}

#[test]
fn events_and_spans_carry_the_name_of_the_process() {
    limited(|| drop(run(&mut helper("traces"))));
}

#[test]
fn traces() {
    if !is_helper("traces") {
        return;
    }
    set_forkserver_preload(listen);
    listen();
    let process = Process::call(|| {
        tracing::info!("at work");
        std::mem::take(&mut *SAID.lock().unwrap())
    });
    let process = process.name("traced").start().unwrap();
    let theirs = process.join().unwrap();
    let pid = process.pid();
    let expected = [
        "INFO message=begins process=traced".to_owned(),
        format!("span process name=traced pid={pid} parent=\"main\""),
        "enter".to_owned(),
        "INFO message=at work".to_owned(),
    ];
    assert_eq!(theirs, expected);
    let ours = SAID.lock().unwrap().join("\n");
    let started = format!("INFO message=started process 'traced' (pid {pid}) by ForkServer");
    assert!(ours.contains(&format!("{started} process=main")), "{ours}");
    assert!(ours.contains("exited with code 0 process=main"), "{ours}");
}
