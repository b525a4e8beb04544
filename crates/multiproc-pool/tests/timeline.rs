//! The timeline: valid, complete, and with the deaths in it.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::{kill_me, within_a_minute};
use multiproc_pool::{Pool, Retry, ThreadPool};
use serde_json::Value as Json;

fn events(path: &std::path::Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut json: Json = serde_json::from_str(&text).unwrap();
    json["traceEvents"].as_array_mut().unwrap().split_off(0)
}

fn of<'a>(events: &'a [Json], category: &str) -> Vec<&'a Json> {
    let is_of = |event: &&Json| event["cat"] == category;
    events.iter().filter(is_of).collect()
}

#[test]
fn it_shows_tasks_deaths_and_retries() {
    within_a_minute(|| {
        let folder = tempfile("deaths");
        let pool = Pool::builder().workers(2).name("a \"quoted\" name");
        let pool = pool.build().unwrap();
        pool.map(|n: u64| n, 0..10).unwrap();
        pool.trace(&folder).unwrap();
        pool.map(|n: u64| n, 0..100).unwrap();
        let dies = |n: u32| if n == 3 { kill_me() } else { n };
        let patient = pool.retry(Retry::idempotent(1));
        assert_eq!(patient.map_each(dies, 0..5).len(), 5);
        drop(pool);
        let events = events(&folder);
        let tasks = of(&events, "task");
        assert_eq!(tasks.len(), 104, "what ran before is not in it");
        for task in &tasks {
            assert_eq!(task["ph"], "X");
            assert!(task["ts"].as_f64().unwrap() >= 0.0 && task["dur"].as_f64().unwrap() >= 0.0);
            assert!((1..=2).contains(&task["tid"].as_u64().unwrap()));
        }
        assert_eq!(
            (of(&events, "retry").len(), of(&events, "lost").len()),
            (1, 1)
        );
        let ended = of(&events, "worker");
        assert!(ended[0]["name"].as_str().unwrap().contains("SIGKILL"));
        assert_eq!(events[0]["args"]["name"], "a \"quoted\" name");
        std::fs::remove_file(folder).unwrap();
    });
}

#[test]
fn threads_have_one_too_and_join_writes_it() {
    within_a_minute(|| {
        let path = tempfile("threads");
        let pool = ThreadPool::new(2).unwrap();
        pool.trace(&path).unwrap();
        pool.map(|n: u64| n, 0..50).unwrap();
        pool.close();
        pool.join().unwrap();
        assert_eq!(of(&events(&path), "task").len(), 50);
        std::fs::remove_file(path).unwrap();
        assert!(pool.trace("/nowhere/at/all").is_err());
    });
}

fn tempfile(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("timeline-{name}-{}.json", std::process::id()))
}
