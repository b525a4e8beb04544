//! The parent's side of the copy: hands out the files, answers for lost workers, cleans up.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::thread;

use multiproc::{Pool, Queue};

use crate::Stop;
use crate::copy::{Job, Note, Outcome, copy_file};
use crate::options::Options;
use crate::plan::Plan;
use crate::report::{self, Bar, Troubles};

/// An item whose worker died so often is given up: it is probably the reason.
const ATTEMPTS: u32 = 3;
/// Notes under way. A full queue holds the workers up, so the bar never lags far behind.
const NOTES: usize = 1024;

/// What was copied.
pub(crate) struct Copied {
    /// The numbers of the files' entries.
    pub(crate) done: Vec<usize>,
    pub(crate) bytes: u64,
}

/// Copies the files among the entries `kept`.
pub(crate) fn copy_files(
    pool: &Pool,
    plan: &Plan,
    kept: &[usize],
    options: &Options,
    troubles: &mut Troubles,
) -> Result<Copied, Stop> {
    let notes = Queue::bounded(NOTES).map_err(|error| Stop(format!("no queue: {error}")))?;
    let files: Vec<usize> = kept
        .iter()
        .copied()
        .filter(|&item| plan.entries[item].is_file())
        .collect();
    let bar = Bar::new(files.len(), plan.bytes);
    troubles.show_above(&bar);

    let listener = thread::spawn({
        let (notes, bar) = (notes.clone(), bar.clone());
        move || report::listen(&notes, &bar)
    });
    let mut crew = Crew {
        plan,
        options,
        notes,
        nonce: std::process::id(),
        victim: victim(plan, &files, options),
        open: files,
        losses: HashMap::new(),
        copied: Copied {
            done: Vec::new(),
            bytes: 0,
        },
    };
    let outcome = crew.rounds(pool, troubles);
    if outcome.is_err() {
        // The workers stop first: none shall make a new temporary file behind our back.
        pool.terminate();
        drop(pool.join());
        crew.remove_parts();
    }
    // The listener takes what is still in the queue, then sees that it is closed.
    crew.notes.close();
    listener.join().expect("the listener does not panic");
    bar.finish();
    outcome.map(|()| crew.copied)
}

/// The state between rounds.
struct Crew<'a> {
    plan: &'a Plan,
    options: &'a Options,
    notes: Queue<Note>,
    /// Tells our temporary files from those of another copy to the same place.
    nonce: u32,
    /// Whose worker is to be killed, at its first attempt.
    victim: Option<usize>,
    /// Files that are neither copied nor given up.
    open: Vec<usize>,
    losses: HashMap<usize, u32>,
    copied: Copied,
}

impl Crew<'_> {
    /// One round answers every open file; what came back as lost makes the next round.
    fn rounds(&mut self, pool: &Pool, troubles: &mut Troubles) -> Result<(), Stop> {
        while !self.open.is_empty() {
            let round = self.open.clone();
            let jobs: Vec<Job> = round.iter().map(|&item| self.job(item)).collect();
            let mut lost = Vec::new();
            for answer in pool.imap_unordered(copy_file, jobs) {
                match answer {
                    Ok((item, outcome)) => self.answered(item, outcome, troubles)?,
                    Err(error) if error.is_worker_lost() => {
                        let item = round[error.index()];
                        let name = self.plan.entries[item].name.display();
                        troubles.say(&format!("{name}: {error}\n{name}: submitted again"));
                        lost.push(item);
                    }
                    // A panic in the task or a broken pool: nothing a retry would help.
                    Err(error) => return Err(Stop(error.to_string())),
                }
            }
            self.open = lost;
            self.mourn(troubles);
        }
        Ok(())
    }

    fn answered(
        &mut self,
        item: usize,
        outcome: Outcome,
        troubles: &mut Troubles,
    ) -> Result<(), Stop> {
        let name = &self.plan.entries[item].name;
        match outcome {
            Outcome::Copied { bytes, pid } => {
                if self.losses.contains_key(&item) {
                    troubles.say(&format!("{}: copied by process {pid}", name.display()));
                }
                self.copied.done.push(item);
                self.copied.bytes += bytes;
            }
            Outcome::Skipped { why } => troubles.add(name, &why),
            Outcome::Full { why } => {
                let path = self.options.destination.join(name);
                return Err(Stop(format!("{}: {why}", path.display())));
            }
        }
        Ok(())
    }

    /// After a round: removes what the dead left, and gives up what killed too many.
    fn mourn(&mut self, troubles: &mut Troubles) {
        self.remove_parts();
        let losses = &mut self.losses;
        self.open.retain(|&item| {
            let count = losses.entry(item).or_insert(0);
            *count += 1;
            if *count == ATTEMPTS {
                troubles.add(&self.plan.entries[item].name, &"its worker died each time");
            }
            *count < ATTEMPTS
        });
    }

    fn job(&self, item: usize) -> Job {
        let name = &self.plan.entries[item].name;
        Job {
            notes: self.notes.clone(),
            item,
            from: self.options.source.join(name).into_os_string(),
            to: self.options.destination.join(name).into_os_string(),
            part: self.part(item).into_os_string(),
            stop_half_way: self.victim == Some(item) && !self.losses.contains_key(&item),
        }
    }

    /// The temporary name of an item: beside the file, so that the rename stays in one folder.
    fn part(&self, item: usize) -> PathBuf {
        let path = self.options.destination.join(&self.plan.entries[item].name);
        path.with_file_name(format!(".folder_copy-{}-{item}.part", self.nonce))
    }

    fn remove_parts(&self) {
        for &item in &self.open {
            // Most are not there: their worker never began, or cleaned up itself.
            drop(fs::remove_file(self.part(item)));
        }
    }
}

/// The largest file: the most there is to lose.
fn victim(plan: &Plan, files: &[usize], options: &Options) -> Option<usize> {
    let largest = || {
        files
            .iter()
            .copied()
            .max_by_key(|&item| plan.entries[item].size())
    };
    options.kill_one.then(largest).flatten()
}
