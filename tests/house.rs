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
