//! Prints the ten most frequent words in the text files below a folder: the sources this program was
//! built from, or the folder given. Each file is a task; the counts are merged as they come.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use multiproc::{Pool, TaskFailure};

type Counts = HashMap<String, u64>;

fn count(file: PathBuf) -> Result<Counts, TaskFailure> {
    let text = fs::read(file)?;
    let mut counts = Counts::new();
    let text = String::from_utf8_lossy(&text);
    let words = text.split(|letter: char| !letter.is_alphabetic());
    for word in words.filter(|word| word.len() > 1) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    Ok(counts)
}

fn text_files(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        let text = ["rs", "md", "txt"].map(std::ffi::OsStr::new);
        if kind.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            text_files(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|it| text.contains(&it)) {
            files.push(path);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let mut files = Vec::new();
    text_files(&folder, &mut files)?;
    let number = files.len();

    let started = Instant::now();
    let pool = Pool::new(0)?;
    let mut total = Counts::new();
    for counts in pool.imap_unordered(count, files).chunk_size(0) {
        // The task's own error, such as a file that is gone, is inside that of the pool.
        for (word, times) in counts?? {
            *total.entry(word).or_default() += times;
        }
    }
    let time = started.elapsed();

    let mut words: Vec<(String, u64)> = total.into_iter().collect();
    words.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    for (word, times) in words.iter().take(10) {
        println!("{times:>8} {word}");
    }
    println!(
        "{} different words in {number} files: {time:?}",
        words.len()
    );
    Ok(())
}
