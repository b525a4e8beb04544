//! The command line and the output of every bench: one convention, in one file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process;

use crate::raw;

/// The exit status that says: this implementation does not do this.
pub(crate) const UNSUPPORTED: i32 = 3;

/// `<bench> <impl> [--key value ..]`.
pub(crate) struct Args {
    pub(crate) bench: String,
    /// Empty for `report`.
    pub(crate) imp: String,
    parameters: BTreeMap<String, String>,
}

impl Args {
    pub(crate) fn from_env() -> Args {
        let mut words = std::env::args().skip(1).peekable();
        let bench = words.next().unwrap_or_else(|| usage());
        let imp = match words.next_if(|word| !word.starts_with("--")) {
            Some(imp) => imp,
            None if bench == "report" => String::new(),
            None => usage(),
        };
        let mut parameters = BTreeMap::new();
        while let Some(word) = words.next() {
            let key = word
                .strip_prefix("--")
                .unwrap_or_else(|| usage())
                .to_owned();
            parameters.insert(key, words.next().unwrap_or_else(|| usage()));
        }
        Args {
            bench,
            imp,
            parameters,
        }
    }

    pub(crate) fn number(&self, key: &str, default: u64) -> u64 {
        let text = self.parameters.get(key);
        text.map_or(default, |text| text.parse().unwrap_or_else(|_| usage()))
    }

    /// A word, such as a placement.
    pub(crate) fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.parameters.get(key).map_or(default, String::as_str)
    }

    /// The CPUs of two sides, by `--pin`: `same` for one CPU, `split` for one each, else where the
    /// kernel puts them.
    pub(crate) fn placement(&self) -> [Option<usize>; 2] {
        self.placed(self.text("pin", "free"))
    }

    /// See [`placement`](Args::placement).
    pub(crate) fn placed(&self, how: &str) -> [Option<usize>; 2] {
        let cpus = raw::cpus();
        match (how, &cpus[..]) {
            ("same", [one, ..]) => [Some(*one); 2],
            ("split", [one, other, ..]) => [Some(*one), Some(*other)],
            ("split", _) => self.unsupported("there is one CPU"),
            _ => [None, None],
        }
    }

    /// A number that counts things in memory.
    pub(crate) fn size(&self, key: &str, default: usize) -> usize {
        usize::try_from(self.number(key, default as u64)).unwrap_or_else(|_| usage())
    }

    /// Ends the program: this implementation does not do this.
    pub(crate) fn unsupported(&self, why: &str) -> ! {
        eprintln!("unsupported: {} {}: {why}", self.bench, self.imp);
        process::exit(UNSUPPORTED)
    }

    /// Prints one measured value.
    pub(crate) fn emit(&self, metric: &str, value: f64, unit: &str) {
        let mut line = format!(
            r#"{{"bench":"{}","impl":"{}","metric":"{metric}","value":{value},"unit":"{unit}""#,
            self.bench, self.imp
        );
        for (key, value) in &self.parameters {
            let quote = if value.parse::<f64>().is_ok() {
                ""
            } else {
                "\""
            };
            write!(line, r#","{key}":{quote}{value}{quote}"#).expect("a String takes every text");
        }
        println!("{line}}}");
    }
}

fn usage() -> ! {
    eprintln!(
        "usage: bench <bench> <impl> [--key value ..] | bench report [--rounds N] [--growth 0] \
         [--out FOLDER]"
    );
    process::exit(2)
}
