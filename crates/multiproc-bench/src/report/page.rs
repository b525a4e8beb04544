//! What a reader sees: the table in the terminal as it grows, and the same as a page.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::case::{Case, Goal, What};
use super::growth::{Point, Series};
use super::row::{Figures, Missing};
use super::summary::{Summary, median};
use crate::Outcome;

/// The page so far.
pub(super) struct Page {
    head: String,
    text: String,
}

impl Page {
    pub(super) fn begin(machine: &str, rounds: u64, cpus: usize) -> Page {
        println!("{machine}\nmedians of {rounds} rounds, all rows in turn; ratio = ours / theirs");
        let mut head = format!(
            "# Benchmarks\n\n\
             Written by `cargo run --release -p multiproc-bench -- report --out docs`.\n\n\
             {machine}. Medians of {rounds} rounds; in a round each row runs in a process of its own, \
             one after the other, forwards and backwards in turn. A ratio is ours divided by theirs \
             in the same run; below 1.5 in either direction it says little on a shared machine.\n"
        );
        if cpus == 1 {
            head += "\nOne processor: what needs two is left out, and nothing is called missed.\n";
        }
        Page {
            head,
            text: String::new(),
        }
    }

    pub(super) fn group(&mut self, title: &str) {
        println!("\n{title}");
        self.line(&format!("\n## {title}"));
    }

    pub(super) fn left_out(&mut self, case: &Case, cpus: usize) {
        let why = format!("left out: needs {} processors, here is {cpus}", case.cpus);
        println!("{:<32} {why}", case.title);
        self.line(&format!("\n### {}\n\n`{}`\n\n{why}", case.title, case.call));
    }

    /// `judges`: whether what misses its goal is called so.
    pub(super) fn case(&mut self, case: &Case, figures: &[Figures], judges: bool) {
        self.line(&format!("\n### {}\n\n`{}`\n", case.title, case.call));
        self.line(&format!(
            "| | {} | ratio | asked | |\n|---|---:|---:|---|---|",
            case.unit
        ));
        let ours = median(case, &figures[0]);
        for (at, row) in figures.iter().enumerate() {
            let rival = at.checked_sub(1).map(|at| &case.rivals[at]);
            let goal = rival.map_or(case.asked, |rival| rival.goal);
            let is_limit = rival.is_some_and(|rival| rival.what == What::Limit);
            let beside = rival.and(ours);
            let [value, ratio, asked, mut remark] = match row.missing.as_ref() {
                Some(missing) => missing_cells(missing),
                None => cells(median(case, row), beside, ours, goal),
            };
            if !judges {
                remark = remark.replace("missed", "");
            }
            let title = if at == 0 { case.title } else { "" };
            println!(
                "{title:<32} {:<18} {value:>12} {:<4} {ratio:>7} {asked:<8} {remark}",
                row.imp, case.unit
            );
            let name = match is_limit {
                true => format!("{} (limit)", row.imp),
                false => row.imp.to_owned(),
            };
            self.line(&format!(
                "| {name} | {value} | {ratio} | {asked} | {remark} |"
            ));
        }
        if !case.note.is_empty() {
            self.line(&format!("\n{}", filled(case.note, figures)));
        }
    }

    pub(super) fn series(
        &mut self,
        series: &Series,
        points: &[Point],
        missing: Option<&Missing>,
        plot: Option<&str>,
    ) {
        println!("{}", series.title);
        self.line(&format!("\n### {}\n\n`{}`\n", series.title, series.call));
        if let Some(plot) = plot {
            self.line(&format!("![{}]({plot})\n", series.title));
        }
        let heads: Vec<_> = series.metrics.iter().map(|metric| metric.title).collect();
        self.line(&format!("| {} | {} |", series.axis, heads.join(" | ")));
        self.line(&format!("|---:|{}", "---:|".repeat(heads.len())));
        for point in points {
            let values: Vec<_> = point.values.iter().map(|value| shown(*value)).collect();
            println!("  {:>10} {}", point.at, values.join("  "));
            self.line(&format!("| {} | {} |", point.at, values.join(" | ")));
        }
        if let Some(missing) = missing {
            println!("  {}", missing.reason());
            self.line(&format!("\nNo further: {}", missing.reason()));
        }
        if !series.note.is_empty() {
            self.line(&format!("\n{}", series.note));
        }
    }

    pub(super) fn write(&self, summary: &Summary, folder: &Path) -> Outcome {
        fs::create_dir_all(folder)?;
        let text = format!("{}{}{}", self.head, summary.text(), self.text);
        Ok(fs::write(folder.join("BENCHMARKS.md"), text)?)
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("a String takes every text");
    }
}

fn missing_cells(missing: &Missing) -> [String; 4] {
    let none = String::new;
    [none(), none(), none(), missing.reason().to_owned()]
}

/// Value, ratio, what is asked, remark. `beside`: ours, in the row of a rival.
fn cells(
    value: Option<f64>,
    beside: Option<f64>,
    ours: Option<f64>,
    goal: Option<Goal>,
) -> [String; 4] {
    let Some(value) = value else {
        return ["", "", "", "not measured"].map(str::to_owned);
    };
    let ratio = beside.map_or(String::new(), |ours| format!("{:.2}", ours / value));
    let theirs = beside.map(|_| value);
    let missed = goal.zip(ours);
    let missed = missed.is_some_and(|(goal, ours)| !goal.is_met(ours, theirs));
    let asked = goal.map_or(String::new(), |goal| goal.to_string());
    let remark = if missed { "missed" } else { "" };
    [shown(value), ratio, asked, remark.to_owned()]
}

/// A note with this run's figures where it names them.
fn filled(note: &str, figures: &[Figures]) -> String {
    let mut parts = note.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').expect("a note's names are closed");
        let (imp, metric) = name.split_once(':').expect("row:metric");
        let (metric, scale) = metric.split_once('/').unwrap_or((metric, "1"));
        let scale: f64 = scale.parse().expect("a scale is a number");
        let row = figures.iter().find(|row| row.imp == imp);
        let value = row.and_then(|row| row.median(metric));
        text += &value.map_or("?".to_owned(), |value| shown(value / scale));
        text += rest;
    }
    text
}

/// Three digits that say something.
pub(super) fn shown(value: f64) -> String {
    match value.abs() {
        v if v == 0.0 || v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
