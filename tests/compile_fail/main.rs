//! What must not compile, each beside a twin that does and differs in one line of code.
#![expect(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

/// The twins: that they compile is shown by this program doing so.
#[allow(dead_code, reason = "nobody runs them")]
#[path = "cases"]
mod twins {
    #[path = "admit_unauthorized_compiles.rs"]
    mod admit_unauthorized;
    #[path = "answer_twice_compiles.rs"]
    mod answer_twice;
    #[path = "answer_without_an_event_compiles.rs"]
    mod answer_without_an_event;
    #[path = "carry_a_handle_compiles.rs"]
    mod carry_a_handle;
    #[path = "exceed_the_permission_compiles.rs"]
    mod exceed_the_permission;
    #[path = "forge_a_run_compiles.rs"]
    mod forge_a_run;
    #[path = "forge_a_tenant_compiles.rs"]
    mod forge_a_tenant;
    #[path = "forge_an_admission_compiles.rs"]
    mod forge_an_admission;
    #[path = "keep_a_tenant_compiles.rs"]
    mod keep_a_tenant;
    #[path = "read_a_tenant_compiles.rs"]
    mod read_a_tenant;
    #[path = "serve_unadmitted_compiles.rs"]
    mod serve_unadmitted;
}

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
fn what_must_not_compile_does_not() {
    let programs = trybuild::TestCases::new();
    for (fails, _) in cases() {
        programs.compile_fail(fails);
    }
}

#[test]
fn every_twin_is_compiled_into_this_program() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file!())).unwrap();
    for (_, compiles) in cases() {
        let name = compiles.file_name().unwrap().to_str().unwrap();
        assert!(source.contains(&format!("#[path = \"{name}\"]")), "{name}");
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
