//! What the page begins with: what is asked for and what is reached; and each case in one line: ours,
//! the best of the others, the limit.

use super::case::{Case, Goal, What};
use super::page::shown;
use super::row::{Figures, Missing};

/// Both tables so far.
pub(super) struct Summary {
    /// Whether what is missed is called so: a single processor is not what the goals are for.
    judges: bool,
    asked: Vec<[String; 4]>,
    lines: Vec<[String; 6]>,
    missed: usize,
    /// Measurements that should have been and were not.
    pub(super) failed: usize,
}

impl Summary {
    pub(super) fn new(judges: bool) -> Summary {
        Summary {
            judges,
            asked: Vec::new(),
            lines: Vec::new(),
            missed: 0,
            failed: 0,
        }
    }

    pub(super) fn add(&mut self, case: &Case, figures: &[Figures]) {
        for row in figures {
            self.count(row.missing.as_ref());
        }
        let Some(ours) = median(case, &figures[0]) else {
            return;
        };
        if let Some(goal) = case.asked {
            self.asked(case, case.ours, goal, ours, None);
        }
        for (rival, row) in case.rivals.iter().zip(&figures[1..]) {
            if let (Some(goal), Some(theirs)) = (rival.goal, median(case, row)) {
                let what = format!("{} : {}", case.ours, rival.imp);
                self.asked(case, &what, goal, ours, Some(theirs));
            }
        }
        let [peer, over_peer] = best(case, &figures[1..], What::Peer, ours);
        let [limit, over_limit] = best(case, &figures[1..], What::Limit, ours);
        let value = format!("{} {}", shown(ours), case.unit);
        let title = format!("[{}](#{})", case.title, anchor(case.title));
        self.lines
            .push([title, value, peer, over_peer, limit, over_limit]);
    }

    /// Counts what failed.
    pub(super) fn count(&mut self, missing: Option<&Missing>) {
        self.failed += usize::from(matches!(missing, Some(Missing::Failed(_))));
    }

    fn asked(&mut self, case: &Case, what: &str, goal: Goal, ours: f64, theirs: Option<f64>) {
        let met = goal.is_met(ours, theirs);
        self.missed += usize::from(self.judges && !met);
        let verdict = match (self.judges, met) {
            (false, _) => "",
            (true, true) => "met",
            (true, false) => "**missed**",
        };
        let title = format!("[{}](#{}), {what}", case.title, anchor(case.title));
        let said = shown(goal.said(ours, theirs));
        let unit = match (goal, theirs) {
            (Goal::AddsAtMost(_), _) | (_, None) => case.unit,
            _ => "",
        };
        let with_unit = |text: String| format!("{text} {unit}").trim_end().to_owned();
        let row = [
            title,
            with_unit(goal.to_string()),
            with_unit(said),
            verdict.into(),
        ];
        self.asked.push(row);
    }

    pub(super) fn print(&self) {
        println!("\n{}", self.count_of_goals());
    }

    fn count_of_goals(&self) -> String {
        let all = self.asked.len();
        match self.judges {
            true => format!("{} of {all} goals met.", all - self.missed),
            false => format!("{all} goals, not judged on one processor."),
        }
    }

    /// As Markdown.
    pub(super) fn text(&self) -> String {
        let table = |heads: &[&str], rows: Vec<String>| {
            let rule = format!("|---|{}", "---:|".repeat(heads.len() - 1));
            format!("| {} |\n{rule}\n{}\n", heads.join(" | "), rows.join("\n"))
        };
        let asked = self.asked.iter().map(|row| line(row)).collect();
        let lines = self.lines.iter().map(|row| line(row)).collect();
        format!(
            "\n## What is asked for, and what is reached\n\n{} Why a figure is missed stands below its \
             table.\n\n{}\n## Every case in a line\n\n\
             The peer is the best of those measured; the limit is what the kernel and the memory take \
             with no library above them. Ratios are ours divided by theirs.\n\n{}",
            self.count_of_goals(),
            table(&["figure", "asked", "reached", ""], asked),
            table(
                &["case", "ours", "best peer", "ratio", "limit", "ratio"],
                lines
            ),
        )
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// The median in the unit of the case.
pub(super) fn median(case: &Case, row: &Figures) -> Option<f64> {
    row.median(case.metric).map(|value| value / case.scale)
}

/// The best of one kind, with its name; and ours divided by it.
fn best(case: &Case, rows: &[Figures], what: What, ours: f64) -> [String; 2] {
    let of_kind = case.rivals.iter().zip(rows);
    let values = of_kind
        .filter(|(rival, _)| rival.what == what)
        .filter_map(|(rival, row)| Some((rival.imp, median(case, row)?)));
    let better = |a: &(_, f64), b: &(_, f64)| match case.is_rate {
        true => b.1.total_cmp(&a.1),
        false => a.1.total_cmp(&b.1),
    };
    match values.min_by(better) {
        Some((imp, theirs)) => [format!("{} {imp}", shown(theirs)), shown(ours / theirs)],
        None => [String::new(), String::new()],
    }
}

/// Where a heading is found on the page.
fn anchor(title: &str) -> String {
    title
        .to_lowercase()
        .replace(' ', "-")
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '-')
        .collect()
}
