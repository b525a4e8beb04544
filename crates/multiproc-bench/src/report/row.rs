//! One row of a case: a process per measurement, and the median of what they say.

use std::process::{Command, Stdio};

use crate::args::UNSUPPORTED;

/// What a run of a bench said: each metric with its value.
pub(super) type Said = Vec<(String, f64)>;

/// Why a run said nothing.
pub(super) enum Missing {
    /// It cannot be measured here, or by this implementation.
    Unsupported(String),
    /// It should have said something.
    Failed(String),
}

impl Missing {
    pub(super) fn reason(&self) -> &str {
        let (Missing::Unsupported(reason) | Missing::Failed(reason)) = self;
        reason
    }
}

/// The figures of one implementation.
pub(super) struct Figures {
    pub(super) imp: &'static str,
    runs: Vec<Said>,
    pub(super) missing: Option<Missing>,
}

impl Figures {
    pub(super) fn of(imp: &'static str) -> Figures {
        Figures {
            imp,
            runs: Vec::new(),
            missing: None,
        }
    }

    pub(super) fn add(&mut self, run: Result<Said, Missing>) {
        match run {
            Ok(said) => self.runs.push(said),
            Err(missing) => self.missing = Some(missing),
        }
    }

    /// The median of a metric, if every run was measured.
    pub(super) fn median(&self, metric: &str) -> Option<f64> {
        let of = |said: &Said| value(said, metric);
        let mut values: Vec<f64> = self.runs.iter().filter_map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
            .get(values.len() / 2)
            .copied()
            .filter(|_| self.missing.is_none())
    }
}

/// What was said of one metric.
pub(super) fn value(said: &Said, metric: &str) -> Option<f64> {
    said.iter()
        .find_map(|(name, value)| (name == metric).then_some(*value))
}

/// Runs `bench imp parameters`, as `call` has them, in a process of its own.
pub(super) fn run(call: &str, imp: &str) -> Result<Said, Missing> {
    let failed = |what: String| Missing::Failed(format!("failed: {what}"));
    let mut words = call.split_whitespace();
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let output = Command::new(program)
        .args(words.next())
        .arg(imp)
        .args(words)
        .stderr(Stdio::piped())
        .output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().last().unwrap_or("without a word").to_owned();
    if output.status.code() == Some(UNSUPPORTED) {
        return Err(Missing::Unsupported(last));
    }
    if !output.status.success() {
        return Err(failed(format!("{}, {last}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(metric_and_value).collect())
}

/// What [`Args::emit`](crate::args::Args::emit) and its like in other languages write.
fn metric_and_value(line: &str) -> Option<(String, f64)> {
    let (_, rest) = line.split_once(r#""metric":"#)?;
    let (name, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    let (_, rest) = rest.split_once(r#""value":"#)?;
    let value = rest.split([',', '}']).next()?.trim();
    Some((name.to_owned(), value.parse().ok()?))
}
