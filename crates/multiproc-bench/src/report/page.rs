//! What a reader sees: the table in the terminal as it grows, and the same as a page.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::cases::Case;
use super::growth::{Point, Series};
use super::row::Figures;
use crate::Outcome;

/// The page so far.
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn begin(machine: &str, rounds: u64) -> Page {
        println!("{machine}\nmedians of {rounds} rounds, all rows in turn; ratio = ours / theirs");
        let text = format!(
            "# Benchmarks\n\n\
             Written by `cargo run --release -p multiproc-bench -- report --out docs`.\n\n\
             {machine}. Medians of {rounds} rounds; in a round each row runs in a process of its own, \
             one after the other, forwards and backwards in turn. A ratio is ours divided by theirs \
             in the same run; below 1.5 in either direction it says little on a shared machine.\n"
        );
        Page { text }
    }

    pub(super) fn group(&mut self, title: &str) {
        println!("\n{title}");
        self.line(&format!("\n## {title}\n"));
    }

    pub(super) fn case(&mut self, case: &Case, figures: &[Figures]) {
        self.line(&format!("\n### {}\n\n`{}`\n", case.title, case.call));
        self.line(&format!(
            "| | {} | ratio | goal | |\n|---|---:|---:|---|---|",
            case.unit
        ));
        let ours = figures.first().and_then(|row| row.median().ok());
        for row in figures {
            let cells = cells(case, ours, row);
            let [value, ratio, goal, remark] = &cells;
            let title = if row.imp == "ours" { case.title } else { "" };
            println!(
                "{title:<32} {:<18} {value:>12} {:<4} {ratio:>7} {goal:<8} {remark}",
                row.imp, case.unit
            );
            self.line(&format!("| {} | {} |", row.imp, cells.join(" | ")));
        }
        if !case.note.is_empty() {
            self.line(&format!("\n{}", case.note));
        }
    }

    pub(super) fn series(&mut self, series: &Series, points: &[Point], plot: Option<&str>) {
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
    }

    pub(super) fn write(&self, folder: &Path) -> Outcome {
        fs::create_dir_all(folder)?;
        Ok(fs::write(folder.join("BENCHMARKS.md"), &self.text)?)
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("a String takes every text");
    }
}

/// Value, ratio, goal, remark.
fn cells(case: &Case, ours: Option<f64>, row: &Figures) -> [String; 4] {
    let value = match row.median() {
        Ok(value) => value,
        Err(reason) => {
            return [
                String::new(),
                String::new(),
                String::new(),
                reason.to_owned(),
            ];
        }
    };
    let shown_value = shown(value / case.scale);
    let Some(ours) = ours.filter(|_| row.imp != "ours") else {
        return [shown_value, String::new(), String::new(), String::new()];
    };
    let ratio = ours / value;
    let goal = case.goal(row.imp);
    let missed = goal.is_some_and(|goal| !goal.is_met(ratio));
    let goal = goal.map_or(String::new(), |goal| goal.to_string());
    let remark = if missed { "missed" } else { "" };
    [shown_value, format!("{ratio:.2}"), goal, remark.to_owned()]
}

/// Three digits that say something.
fn shown(value: f64) -> String {
    match value.abs() {
        v if v == 0.0 || v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
