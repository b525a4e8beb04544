//! The command line and the output of every bench: one convention, in one file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process;

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

    /// A number that counts things in memory.
    pub(crate) fn size(&self, key: &str, default: usize) -> usize {
        usize::try_from(self.number(key, default as u64)).unwrap_or_else(|_| usage())
    }

    /// Ends the program: this implementation does not do this.
    pub(crate) fn unsupported(&self, why: &str) -> ! {
        eprintln!("unsupported: {} {}: {why}", self.bench, self.imp);
        process::exit(3)
    }

    /// Prints one measured value.
    pub(crate) fn emit(&self, metric: &str, value: f64, unit: &str) {
        let mut line = format!(
            r#"{{"bench":"{}","impl":"{}","metric":"{metric}","value":{value},"unit":"{unit}""#,
            self.bench, self.imp
        );
        for (key, value) in &self.parameters {
            // Every parameter of these benches is a number.
            write!(line, r#","{key}":{value}"#).expect("a String takes every text");
        }
        println!("{line}}}");
    }
}

fn usage() -> ! {
    eprintln!("usage: bench <bench> <impl> [--key number ..] | bench report [--rounds N]");
    process::exit(2)
}
