//! The tree in ARCHITECTURE.md: printed from the sentences with which the files open.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::files::sentence;
use super::{Finding, Rule};
use crate::source::Tree;

/// The document.
const DOCUMENT: &str = "ARCHITECTURE.md";
/// What stands before the tree in it.
const BEGIN: &str = "<!-- tree -->\n";
/// What stands after the tree.
const END: &str = "<!-- /tree -->";

/// The tree is that of the sources.
pub(crate) const TREE: Rule = Rule {
    name: "The tree in ARCHITECTURE.md is that of the sources.",
    why: "A map that is drawn by hand is wrong after a week.",
    remedy: "Run: AGENT_MESH_TIDY_WRITE=1 cargo test --test tidy (it writes the part between \
             `<!-- tree -->` and `<!-- /tree -->`), and commit the file.",
    check: |tree| check(tree).into_iter().collect(),
};

/// Writes the tree of the package in `root` into its document, which is made where there is none.
pub(crate) fn write(root: &Path) {
    let path = root.join(DOCUMENT);
    let text = fs::read_to_string(&path).unwrap_or_else(|_| "# Architecture\n".to_owned());
    let printed = print(&Tree::load(root));
    let (before, after) = match around(&text) {
        Some((before, _, after)) => (before.to_owned(), after.to_owned()),
        None => (
            format!("{}\n\n{BEGIN}", text.trim_end()),
            format!("{END}\n"),
        ),
    };
    fs::write(path, before + &printed + &after).expect("ARCHITECTURE.md can be written");
}

fn check(tree: &Tree) -> Option<Finding> {
    let Ok(text) = fs::read_to_string(tree.root.join(DOCUMENT)) else {
        return Some(Finding::new(DOCUMENT, 1, "there is none"));
    };
    let Some((before, held, _)) = around(&text) else {
        return Some(Finding::new(
            DOCUMENT,
            1,
            "it has no `<!-- tree -->` and `<!-- /tree -->`",
        ));
    };
    let printed = print(tree);
    if held == printed {
        return None;
    }
    let same = held
        .lines()
        .zip(printed.lines())
        .take_while(|(held, printed)| held == printed)
        .count();
    let line = before.lines().count() + same + 1;
    let expected = printed.lines().nth(same).unwrap_or("its end").trim();
    Some(Finding::new(
        DOCUMENT,
        line,
        format!("here should be: {expected}"),
    ))
}

/// The document before the tree, the tree, and what comes after it.
fn around(text: &str) -> Option<(&str, &str, &str)> {
    let begin = text.find(BEGIN)? + BEGIN.len();
    let end = begin + text[begin..].find(END)?;
    Some((&text[..begin], &text[begin..end], &text[end..]))
}

/// The tree as it stands in the document.
fn print(tree: &Tree) -> String {
    let mut lines = vec![(0, "src/".to_owned(), String::new())];
    for root in ["src/main.rs", "src/lib.rs"] {
        branch(tree, root, 1, &mut lines);
    }
    for folder in ["tests", "benches", "examples"] {
        targets(tree, folder, &mut lines);
    }
    let width = lines
        .iter()
        .map(|(depth, name, _)| depth * 2 + name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = "```text\n".to_owned();
    for (depth, name, sentence) in lines {
        let indent = depth * 2;
        let line = format!(
            "{:indent$}{name:padding$}  {sentence}",
            "",
            padding = width - indent
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text + "```\n"
}

/// A file, and below it what it declares, in the order in which it does; the modules of the library stand
/// beside it.
fn branch(tree: &Tree, path: &str, depth: usize, lines: &mut Vec<(usize, String, String)>) {
    let Some(source) = tree.find(path) else {
        return;
    };
    let below: Vec<&str> = source
        .modules
        .iter()
        .map(|module| module.path.as_str())
        .filter(|path| tree.find(path).is_some_and(|source| !source.is_test))
        .collect();
    let is_root = matches!(path, "src/lib.rs" | "src/main.rs");
    let stem = path
        .rsplit('/')
        .next()
        .unwrap_or(path)
        .trim_end_matches(".rs");
    let name = if below.is_empty() || is_root {
        format!("{stem}.rs")
    } else {
        format!("{stem}.rs {stem}/")
    };
    lines.push((depth, name, sentence(source).unwrap_or_default()));
    let depth = if is_root { depth } else { depth + 1 };
    for path in below {
        branch(tree, path, depth, lines);
    }
}

/// The targets in `folder`: its files, and the `main.rs` of its folders.
fn targets(tree: &Tree, folder: &str, lines: &mut Vec<(usize, String, String)>) {
    let mut found = Vec::new();
    for source in &tree.sources {
        let Some(name) = source
            .path
            .strip_prefix(folder)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            continue;
        };
        let target = match name.split_once('/') {
            None => name.to_owned(),
            Some((target, "main.rs")) => format!("{target}/"),
            Some(_) => continue,
        };
        found.push((1, target, sentence(source).unwrap_or_default()));
    }
    if !found.is_empty() {
        lines.push((0, format!("{folder}/"), String::new()));
        lines.append(&mut found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::planted;

    const FILES: [(&str, &str); 6] = [
        ("src/main.rs", "//! Starts.\n"),
        (
            "src/lib.rs",
            "//! All.\nmod z;\n\nmod a;\n#[cfg(test)]\nmod fixture;\n",
        ),
        (
            "src/z.rs",
            "//! Last and\n//! first.\n//!\n//! More.\nmod inner;\n",
        ),
        ("src/z/inner.rs", "//! Inside.\n"),
        ("src/a.rs", "//! First.\n"),
        ("src/fixture.rs", "//! No product.\n"),
    ];

    #[test]
    fn the_tree_is_printed_in_the_order_of_declaration() {
        let mut files = FILES.to_vec();
        files.push(("tests/whole/main.rs", "//! Whole calls.\n"));
        files.push(("tests/whole/part.rs", "//! Part.\n"));
        files.push(("benches/limits.rs", "//! Limits.\n"));
        let (_folder, tree) = planted(&files);
        let expected = "```text\n\
                        src/\n  main.rs     Starts.\n  lib.rs      All.\n  z.rs z/     Last and first.\n    \
                        inner.rs  Inside.\n  a.rs        First.\ntests/\n  whole/      Whole calls.\n\
                        benches/\n  limits.rs   Limits.\n```\n";
        assert_eq!(print(&tree), expected);
    }

    #[test]
    fn a_document_that_is_missing_or_without_marks_is_found() {
        let (_folder, tree) = planted(&FILES);
        assert_eq!(
            check(&tree),
            Some(Finding::new(DOCUMENT, 1, "there is none"))
        );
        let mut files = FILES.to_vec();
        files.push((DOCUMENT, "# Architecture\n"));
        let (_folder, tree) = planted(&files);
        assert!(check(&tree).is_some_and(|finding| finding.what.contains("<!-- tree -->")));
    }

    #[test]
    fn what_is_written_is_what_is_checked_and_the_rest_stays() {
        let mut files = FILES.to_vec();
        files.push((
            DOCUMENT,
            "Before.\n\n<!-- tree -->\nold\n<!-- /tree -->\n\nAfter.\n",
        ));
        let (folder, tree) = planted(&files);
        let stale = check(&tree).expect("it is stale");
        assert_eq!((stale.path.as_str(), stale.line), (DOCUMENT, 4));
        write(folder.path());
        assert_eq!(check(&tree), None);
        let text = fs::read_to_string(folder.path().join(DOCUMENT)).expect("it was written");
        assert!(
            text.starts_with("Before.\n\n<!-- tree -->\n```text\n"),
            "{text}"
        );
        assert!(text.ends_with("```\n<!-- /tree -->\n\nAfter.\n"), "{text}");
        // A sentence that changes makes it stale, and the finding points at the line.
        fs::write(folder.path().join("src/a.rs"), "//! Changed.\n").expect("it can be written");
        let stale = check(&Tree::load(folder.path())).expect("it is stale");
        assert!(stale.what.contains("Changed."), "{stale:?}");
        assert_eq!(
            text.lines().nth(stale.line - 1).map(str::trim),
            Some("a.rs        First.")
        );
    }

    #[test]
    fn a_missing_document_is_made() {
        let (folder, tree) = planted(&FILES);
        write(folder.path());
        assert_eq!(check(&tree), None);
    }
}
