//! Rules for files: how they open, what they are called, how long they are, that they are compiled.

use std::collections::BTreeSet;

use super::{Finding, Rule};
use crate::source::Source;

/// The most lines of a file without its tests.
const LINES_MAX: usize = 500;

/// Every file says in one sentence what it is.
pub(crate) const OPENING: Rule = Rule {
    name: "Every .rs file opens with one sentence in `//!`.",
    why: "The tree in ARCHITECTURE.md is printed from these sentences; a stranger finds his way by them.",
    remedy: "Make the first line `//! What this file is, in one sentence.` (further paragraphs may follow).",
    check: |tree| tree.sources.iter().filter_map(opening).collect(),
};

/// No file is called `mod.rs`.
pub(crate) const NO_MOD_RS: Rule = Rule {
    name: "No file is called mod.rs.",
    why: "Ten tabs of that name tell nobody where he is.",
    remedy: "Move `name/mod.rs` to `name.rs`, beside the folder.",
    check: |tree| {
        let files = tree.sources.iter();
        files
            .filter(|source| source.path.ends_with("/mod.rs"))
            .map(|source| Finding::new(&source.path, 1, "it is called mod.rs"))
            .collect()
    },
};

/// No file is too long to be read at once.
pub(crate) const SIZE: Rule = Rule {
    name: "A file has at most 500 lines without its tests.",
    why: "What is longer holds more than one thing, and nobody reads it whole.",
    remedy: "Move a part that has a name of its own to `<name>/<part>.rs`, tests to `<name>/tests.rs`.",
    check: |tree| tree.product().filter_map(size).collect(),
};

/// Every file is compiled.
pub(crate) const DECLARED: Rule = Rule {
    name: "Every file under src/ is declared by the file above it.",
    why: "What no `mod` names is not compiled, not tested and not checked, and looks as if it were.",
    remedy: "Declare it with `mod` in the file above it, or delete it.",
    check: |tree| {
        let declared: BTreeSet<&str> = tree
            .sources
            .iter()
            .flat_map(|source| &source.modules)
            .map(|module| module.path.as_str())
            .chain(["src/lib.rs", "src/main.rs"])
            .collect();
        let files = tree.sources.iter();
        files
            .filter(|source| source.path.starts_with("src/"))
            .filter(|source| !declared.contains(source.path.as_str()))
            .map(|source| Finding::new(&source.path, 1, "no file declares it"))
            .collect()
    },
};

/// The sentence with which a file opens: the first paragraph of its `//!`, on one line.
pub(crate) fn sentence(source: &Source) -> Option<String> {
    let lines: Vec<&str> = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    (!lines.is_empty()).then(|| lines.join(" "))
}

fn opening(source: &Source) -> Option<Finding> {
    let finding = |what: &str| Some(Finding::new(&source.path, 1, what));
    let Some(sentence) = sentence(source) else {
        return finding("the first line is no `//!`");
    };
    if !sentence.ends_with('.') {
        return finding("its first paragraph does not end with a full stop");
    }
    if sentence.starts_with(|first: char| first.is_lowercase()) {
        return finding("its sentence does not begin with a capital");
    }
    // A full stop, a space and a capital: the beginning of another sentence.
    let second = sentence.match_indices(". ").any(|(at, stop)| {
        sentence[at + stop.len()..].starts_with(|next: char| next.is_uppercase())
    });
    if second {
        return finding(
            "its first paragraph has more than one sentence; put an empty `//!` between",
        );
    }
    None
}

fn size(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count() - source.test_lines;
    (lines > LINES_MAX).then(|| {
        let what = format!("{lines} lines without tests, more than {LINES_MAX}");
        Finding::new(&source.path, LINES_MAX + 1, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::found;

    #[test]
    fn a_file_that_does_not_open_with_one_sentence_is_found() {
        for bad in [
            "",
            "use a;\n",
            "\n//! A.\n",
            "// A.\n",
            "/// A.\n",
            "//!\n//! A.\n",
            "//! Without a stop\n",
            "//! lower case.\n",
            "//! One. Two.\n",
            "//! One.\n//! Two.\n",
        ] {
            assert_eq!(
                found(&OPENING, &[("src/a.rs", bad)]),
                ["src/a.rs:1"],
                "{bad:?}"
            );
        }
        for good in [
            "//! One.\n",
            "//! One, e.g. this,\n//! on two lines.\n//!\n//! More. And more.\nuse a;\n",
            "//! `a` of v1.2 and b.\n",
        ] {
            assert!(
                found(&OPENING, &[("src/a.rs", good)]).is_empty(),
                "{good:?}"
            );
        }
        assert_eq!(found(&OPENING, &[("tests/a/b.rs", "")]), ["tests/a/b.rs:1"]);
        assert_eq!(found(&OPENING, &[("benches/a.rs", "")]), ["benches/a.rs:1"]);
    }

    #[test]
    fn a_file_called_mod_is_found() {
        let files = [("src/a/mod.rs", ""), ("src/a/modes.rs", "")];
        assert_eq!(found(&NO_MOD_RS, &files), ["src/a/mod.rs:1"]);
    }

    #[test]
    fn a_file_is_measured_at_its_edge_and_without_its_tests() {
        let edge = "//! A.\n".to_owned() + &"fn f() {}\n".repeat(LINES_MAX - 1);
        assert!(found(&SIZE, &[("src/a.rs", &edge)]).is_empty());
        let past = edge.clone() + "fn g() {}\n";
        assert_eq!(found(&SIZE, &[("src/a.rs", &past)]), ["src/a.rs:501"]);
        let tested = edge + "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
        assert!(found(&SIZE, &[("src/a.rs", &tested)]).is_empty());
        assert!(found(&SIZE, &[("src/a/tests.rs", &past)]).is_empty());
    }

    #[test]
    fn a_file_that_nobody_declares_is_found() {
        let files = [
            ("src/lib.rs", "pub mod a;\nmod inline { fn f() {} }\n"),
            ("src/a.rs", "#[cfg(test)]\nmod tests;\n// mod b;\n"),
            ("src/a/tests.rs", ""),
            ("src/a/b.rs", ""),
            ("tests/x/main.rs", ""),
        ];
        assert_eq!(found(&DECLARED, &files), ["src/a/b.rs:1"]);
    }
}
