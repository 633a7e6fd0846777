//! What must not compile, each beside a twin that does and differs in one line of code.

use std::fs;
use std::path::{Path, PathBuf};

fn cases() -> Vec<(PathBuf, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail/cases");
    let mut failing: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with("_fails.rs"))
        .collect();
    failing.sort();
    let twin =
        |path: &PathBuf| PathBuf::from(path.to_str().unwrap().replace("_fails.rs", "_compiles.rs"));
    failing
        .iter()
        .map(|path| (path.clone(), twin(path)))
        .collect()
}

#[test]
fn what_must_not_compile_does_not_and_its_twin_does() {
    let programs = trybuild::TestCases::new();
    for (fails, compiles) in cases() {
        programs.compile_fail(fails);
        programs.pass(compiles);
    }
}

#[test]
fn a_twin_differs_in_one_line_of_code() {
    let code = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("//!"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let cases = cases();
    assert!(cases.len() >= 9, "{}", cases.len());
    for (fails, compiles) in cases {
        let (one, other) = (code(&fails), code(&compiles));
        assert_eq!(one.len(), other.len(), "{fails:?}");
        let differing = one
            .iter()
            .zip(&other)
            .filter(|(one, other)| one != other)
            .count();
        assert_eq!(differing, 1, "{fails:?}");
    }
}

#[test]
fn nothing_fails_merely_for_being_private_or_missing() {
    for (fails, _) in cases() {
        let first = fs::read_to_string(&fails)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned();
        assert!(first.starts_with("//! Fails because "), "{fails:?}");
        let reason = fs::read_to_string(fails.with_extension("stderr")).unwrap();
        for code in [
            "E0603", "E0616", "E0451", "E0425", "E0432", "E0433", "E0599", "E0423", "E0624",
        ] {
            assert!(!reason.contains(code), "{fails:?} fails with {code}");
        }
    }
}
