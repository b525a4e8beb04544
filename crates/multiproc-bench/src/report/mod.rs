//! `report`: ours beside its rivals, in turn, each in a fresh process; medians, ratios, what is asked
//! for and what is reached, and how things grow.
//!
//! What is compared stands in [`cases`], what grows in [`growth`]; both go to the terminal and, with
//! `--out FOLDER`, to `BENCHMARKS.md` and plots there. `--only TEXT` keeps the cases with that text in
//! their title or call.

mod case;
mod cases;
mod growth;
mod machine;
mod page;
mod plot;
mod row;
mod summary;

use std::path::Path;

use crate::Outcome;
use crate::args::Args;
use case::Case;
use cases::GROUPS;
use row::Figures;
use summary::Summary;

pub(crate) fn run(args: &Args) -> Outcome {
    let rounds = args.number("rounds", 3);
    let only = args.text("only", "");
    let cpus = multiproc::cpu_count();
    let mut page = page::Page::begin(&machine::describe(), rounds, cpus);
    let mut summary = Summary::new(cpus > 1);
    for group in GROUPS {
        let wanted = |case: &&Case| case.title.contains(only) || case.call.contains(only);
        let mut chosen = group.cases.iter().filter(wanted).peekable();
        if chosen.peek().is_some() {
            page.group(group.title);
        }
        for case in chosen {
            if cpus < case.cpus {
                page.left_out(case, cpus);
                continue;
            }
            let figures = compare(case, rounds);
            page.case(case, &figures, cpus > 1);
            summary.add(case, &figures);
        }
    }
    let out = args.text("out", "");
    if args.number("growth", 1) != 0 {
        grow(&mut page, &mut summary, out)?;
    }
    summary.print();
    if !out.is_empty() {
        page.write(&summary, Path::new(out))?;
    }
    match summary.failed {
        0 => Ok(()),
        failed => Err(format!("{failed} measurements failed, see above").into()),
    }
}

fn grow(page: &mut page::Page, summary: &mut Summary, out: &str) -> Outcome {
    page.group("How it grows");
    for series in growth::SERIES {
        let (points, missing) = growth::measure(series);
        summary.count(missing.as_ref());
        let plot = match out {
            "" => None,
            folder => Some(plot::draw(Path::new(folder), series, &points)?),
        };
        page.series(series, &points, missing.as_ref(), plot.as_deref());
    }
    Ok(())
}

/// All rows of a case, round after round, A B C, C B A, ..: whoever runs later finds a warmer machine.
fn compare(case: &Case, rounds: u64) -> Vec<Figures> {
    let mut rows: Vec<_> = case.rows().map(Figures::of).collect();
    for round in 0..rounds {
        let count = rows.len();
        for at in 0..count {
            let at = if round % 2 == 0 { at } else { count - 1 - at };
            let row = &mut rows[at];
            // Who cannot, or failed, is not asked again.
            if row.missing.is_none() {
                row.add(row::run(case.call, row.imp));
            }
        }
    }
    rows
}
