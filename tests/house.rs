//! Rules of the house that can be checked by reading.

use std::fs;
use std::path::Path;

/// The lines of the facade that are not documentation.
fn facade() -> (usize, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/multiproc/src/lib.rs");
    let text = fs::read_to_string(path).expect("the facade is there");
    let code = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"));
    (
        text.lines().count(),
        code.filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

#[test]
fn the_facade_is_short() {
    let (lines, _) = facade();
    assert!(lines < 150, "{lines} lines");
}

#[test]
fn the_facade_only_re_exports() {
    let (_, code) = facade();
    let mut files =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/multiproc/src"))
            .expect("the facade is there");
    assert!(
        files.all(|file| file.is_ok_and(|file| file.file_name() == "lib.rs")),
        "one file only"
    );
    // Without attributes, what is left is statements up to their semicolons.
    let code: String = code
        .into_iter()
        .filter(|line| !line.starts_with('#'))
        .collect();
    for statement in code.split_terminator(';') {
        assert!(
            statement.starts_with("pub use "),
            "not a re-export: {statement}"
        );
    }
}

/// A child made by a fork uses these crates, and `parking_lot`'s tables may be locked in it for ever.
#[test]
fn what_a_forked_child_reaches_has_no_locks_with_tables() {
    for name in ["sys", "wire", "shm", "sync", "queue"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let source = path.join(format!("multiproc-{name}/src"));
        let mut folders = vec![source];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("the sources are there") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = fs::read_to_string(&path).expect("text");
                    let uses = text.contains("parking_lot::");
                    assert!(!uses, "{} uses parking_lot", path.display());
                }
            }
        }
    }
}
