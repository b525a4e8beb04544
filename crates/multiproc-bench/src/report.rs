//! `report`: ours beside the rival, in turn, each in a fresh process; medians and ratios.

use std::process::{Command, Stdio};

use crate::Outcome;
use crate::args::Args;

/// One line of the table.
struct Case {
    title: &'static str,
    /// `<bench>` and its parameters.
    call: &'static [&'static str],
    rival: &'static str,
    metric: &'static str,
    unit: &'static str,
    /// What the metric is divided by to be shown in `unit`.
    scale: f64,
    target: Target,
}

/// What ours divided by the rival's is held to.
#[derive(Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

const CASES: [Case; 12] = [
    start("start + join, idle parent", &["start", "--reps", "300"]),
    start(
        "start + join, 2 GiB touched",
        &["start", "--reps", "50", "--ballast", "2048"],
    ),
    Case {
        title: "lock + unlock, alone",
        call: &["lock"],
        rival: "parking_lot",
        metric: "ns_per_op",
        unit: "ns",
        scale: 1.0,
        target: Target::AtMost(1.8),
    },
    wake("event, round trip", &["wake"], 1.2),
    wake("wait for one of two events", &["wake", "--by", "1"], 1.2),
    wake("wait for event or descriptor", &["wake", "--by", "2"], 2.5),
    queue("queue 64 B, 1 to 1", &["oneway", "--size", "64"]),
    queue(
        "queue 64 B, 1 to 1, split",
        &["oneway", "--size", "64", "--split", "1"],
    ),
    queue(
        "queue 64 B, 2 to 2",
        &[
            "oneway",
            "--size",
            "64",
            "--producers",
            "2",
            "--consumers",
            "2",
        ],
    ),
    queue("queue 1 KiB, 1 to 1", &["oneway", "--size", "1024"]),
    queue("queue 64 KiB, 1 to 1", &["oneway", "--size", "65536"]),
    Case {
        title: "pool, trivial task",
        call: &["pool-trivial"],
        rival: "",
        metric: "us_per_task",
        unit: "us",
        scale: 1.0,
        target: Target::AtMost(f64::INFINITY),
    },
];

const fn start(title: &'static str, call: &'static [&'static str]) -> Case {
    Case {
        title,
        call,
        rival: "raw-fork",
        metric: "start_join_p50",
        unit: "us",
        scale: 1e3,
        target: Target::AtMost(1.5),
    }
}

const fn wake(title: &'static str, call: &'static [&'static str], most: f64) -> Case {
    Case {
        title,
        call,
        rival: "futex",
        metric: "round_trip_p50",
        unit: "us",
        scale: 1e3,
        target: Target::AtMost(most),
    }
}

const fn queue(title: &'static str, call: &'static [&'static str]) -> Case {
    Case {
        title,
        call,
        rival: "crossbeam",
        metric: "msgs_per_s",
        unit: "M/s",
        scale: 1e6,
        target: Target::AtLeast(2.0),
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let rounds = args.number("rounds", 5);
    println!("{}", machine());
    println!("medians of {rounds} rounds, ours and the rival in turn\n");
    println!(
        "{:<28} {:>10} {:>10}      {:>7}  {:<9} rival",
        "", "ours", "rival", "ratio", "target"
    );
    for case in &CASES {
        let (mut ours, mut rival) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // Whoever runs second finds a warmer machine: they take turns.
            if round % 2 == 0 {
                ours.push(measured(case, "ours")?);
                rival.push(measured(case, case.rival)?);
            } else {
                rival.push(measured(case, case.rival)?);
                ours.push(measured(case, "ours")?);
            }
        }
        line(case, median(ours), median(rival));
    }
    Ok(())
}

/// One process, one figure. Not a number where there is no rival.
fn measured(case: &Case, imp: &str) -> Result<f64, Box<dyn std::error::Error>> {
    if imp.is_empty() {
        return Ok(f64::NAN);
    }
    let output = Command::new(std::env::current_exe()?)
        .arg(case.call[0])
        .arg(imp)
        .args(&case.call[1..])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let wanted = format!(r#""metric":"{}","value":"#, case.metric);
    let value = text
        .lines()
        .find_map(|line| line.split_once(&wanted))
        .and_then(|(_, rest)| rest.split(',').next())
        .ok_or_else(|| format!("{:?} {imp} said nothing: {}", case.call, output.status))?;
    Ok(value.parse()?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn line(case: &Case, ours: f64, rival: f64) {
    let Case {
        title, unit, scale, ..
    } = case;
    if case.rival.is_empty() {
        println!("{title:<28} {:>10.3} {:>10} {unit:<4}", ours / scale, "");
        return;
    }
    let ratio = ours / rival;
    let (target, met) = match case.target {
        Target::AtMost(most) => (format!("<= {most}"), ratio <= most),
        Target::AtLeast(least) => (format!(">= {least}"), ratio >= least),
    };
    println!(
        "{title:<28} {:>10.2} {:>10.2} {unit:<4} {ratio:>7.2}  {target:<9} {}{}",
        ours / scale,
        rival / scale,
        case.rival,
        if met { "" } else { "   <- missed" },
    );
}

/// A figure without its machine and its day says little.
fn machine() -> String {
    let date = Command::new("date").arg("+%F").output();
    let date = date.map_or_else(
        |_| String::new(),
        |out| String::from_utf8_lossy(&out.stdout).into(),
    );
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("?");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = multiproc::cpu_count();
    format!(
        "{}: {cpus} CPUs ({model}), Linux {}",
        date.trim(),
        kernel.trim()
    )
}
