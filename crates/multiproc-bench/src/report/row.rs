//! One row of a case: a process per measurement, and the median of what they say.

use std::process::{Command, Stdio};

/// What a run of a bench said of one metric: nothing where it cannot be measured here.
pub(super) type Figure = Result<f64, String>;

/// The figures of one implementation.
pub(super) struct Figures {
    pub(super) imp: &'static str,
    values: Vec<f64>,
    missing: Option<String>,
}

impl Figures {
    pub(super) fn of(imp: &'static str) -> Figures {
        Figures {
            imp,
            values: Vec::new(),
            missing: None,
        }
    }

    pub(super) fn add(&mut self, figure: Figure) {
        match figure {
            Ok(value) => self.values.push(value),
            Err(reason) => self.missing = Some(reason),
        }
    }

    /// The median.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn median(&self) -> Result<f64, &str> {
        let mut values = self.values.clone();
        values.sort_unstable_by(f64::total_cmp);
        match values.get(values.len() / 2) {
            Some(&value) => Ok(value),
            None => Err(self.missing.as_deref().unwrap_or("not measured")),
        }
    }
}

/// What a run of a bench said: each metric with its value.
pub(super) type Said = Vec<(String, f64)>;

/// One metric of one run.
pub(super) fn measure(
    call: &str,
    imp: &str,
    metric: &str,
) -> Result<Figure, Box<dyn std::error::Error>> {
    let said = match run(call, imp)? {
        Ok(said) => said,
        Err(reason) => return Ok(Err(reason)),
    };
    let value = said.iter().find(|(name, _)| name == metric);
    let value = value.ok_or_else(|| format!("{call} {imp} does not say {metric}"))?;
    Ok(Ok(value.1))
}

/// Runs `bench imp parameters`, as `call` has them, in a process of its own.
///
/// # Errors
///
/// A run that failed. That it cannot be measured here is no error.
pub(super) fn run(
    call: &str,
    imp: &str,
) -> Result<Result<Said, String>, Box<dyn std::error::Error>> {
    let mut words = call.split_whitespace();
    let output = Command::new(std::env::current_exe()?)
        .args(words.next())
        .arg(imp)
        .args(words)
        .stderr(Stdio::piped())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        let reason = said.lines().last().unwrap_or("without a reason");
        return Ok(Err(reason.to_owned()));
    }
    if !output.status.success() {
        return Err(format!("{call} {imp} ended with {}: {said}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(Ok(text.lines().filter_map(metric_and_value).collect()))
}

/// What [`Args::emit`](crate::args::Args::emit) and its like in other languages write.
fn metric_and_value(line: &str) -> Option<(String, f64)> {
    let (_, rest) = line.split_once(r#""metric":"#)?;
    let (name, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    let (_, rest) = rest.split_once(r#""value":"#)?;
    let value = rest.split([',', '}']).next()?.trim();
    Some((name.to_owned(), value.parse().ok()?))
}
