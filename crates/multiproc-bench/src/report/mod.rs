//! `report`: ours beside its rivals, in turn, each in a fresh process; medians, ratios, and how things
//! grow.
//!
//! What is compared stands in [`cases`], what grows in [`growth`]; both go to the terminal and, with
//! `--out FOLDER`, to `BENCHMARKS.md` and plots there.

mod cases;
mod growth;
mod machine;
mod page;
mod plot;
mod row;

use std::path::Path;

use crate::Outcome;
use crate::args::Args;
use cases::{Case, GROUPS};
use row::Figures;

pub(crate) fn run(args: &Args) -> Outcome {
    let rounds = args.number("rounds", 3);
    let mut page = page::Page::begin(&machine::describe(), rounds);
    for group in GROUPS {
        page.group(group.title);
        for case in group.cases {
            let figures = compare(case, rounds)?;
            page.case(case, &figures);
        }
    }
    let out = args.text("out", "");
    if args.number("growth", 1) != 0 {
        page.group("How it grows");
        for series in growth::SERIES {
            let points = growth::measure(series)?;
            let plot = match out {
                "" => None,
                folder => Some(plot::draw(Path::new(folder), series, &points)?),
            };
            page.series(series, &points, plot.as_deref());
        }
    }
    match out {
        "" => Ok(()),
        folder => page.write(Path::new(folder)),
    }
}

/// All rows of a case, round after round, A B C, C B A, ..: whoever runs later finds a warmer machine.
fn compare(case: &Case, rounds: u64) -> Result<Vec<Figures>, Box<dyn std::error::Error>> {
    let mut rows: Vec<_> = case.rows().map(Figures::of).collect();
    for round in 0..rounds {
        let count = rows.len();
        for at in 0..count {
            let at = if round % 2 == 0 { at } else { count - 1 - at };
            let figure = row::measure(case.call, rows[at].imp, case.metric)?;
            rows[at].add(figure);
        }
    }
    Ok(rows)
}
