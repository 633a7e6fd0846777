//! The sources of a package as the rules see them: what is product, what is test, what declares what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::lexer::{Word, lex, words};

/// Every Rust file of a package.
pub(crate) struct Tree {
    /// The package's folder.
    pub(crate) root: PathBuf,
    /// In the order of their paths.
    pub(crate) sources: Vec<Source>,
}

/// A Rust file.
pub(crate) struct Source {
    /// Relative to the package, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Its code outside tests: comments, the insides of literals and test items blanked.
    pub(crate) product: String,
    /// String literals outside tests, each with its line.
    pub(crate) literals: Vec<(usize, String)>,
    /// How many of its lines are test items inside it.
    pub(crate) test_lines: usize,
    /// The modules that it declares in files of their own.
    pub(crate) modules: Vec<Module>,
    /// Whether all of it is compiled for tests only.
    pub(crate) is_test: bool,
}

/// A declaration `mod name;`.
pub(crate) struct Module {
    /// The file it stands for, if that is where it belongs.
    pub(crate) path: String,
    /// Whether it is compiled for tests only.
    pub(crate) is_test: bool,
}

/// The folders in which sources lie.
const FOLDERS: [&str; 4] = ["src", "tests", "benches", "examples"];

impl Tree {
    /// Reads the package in `root`.
    pub(crate) fn load(root: &Path) -> Self {
        let mut paths = Vec::new();
        for folder in FOLDERS {
            collect(root, folder, &mut paths);
        }
        paths.sort();
        let mut sources: Vec<Source> = paths
            .into_iter()
            .map(|path| {
                let text = fs::read_to_string(root.join(&path)).expect("a source is UTF-8");
                Source::new(path, text)
            })
            .collect();
        let tests = only_for_tests(&sources);
        for source in &mut sources {
            source.is_test = tests.contains(&source.path);
        }
        Self {
            root: root.to_owned(),
            sources,
        }
    }

    /// The files of the product: those under `src` that are not only for tests.
    pub(crate) fn product(&self) -> impl Iterator<Item = &Source> {
        self.sources
            .iter()
            .filter(|source| source.path.starts_with("src/") && !source.is_test)
    }

    /// The file at `path`.
    pub(crate) fn find(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let lexed = lex(&text);
        let modules = modules(&path, &lexed.code);
        let (product, in_tests) = without_tests(&lexed.code);
        Self {
            path,
            product,
            literals: lexed
                .literals
                .into_iter()
                .filter(|(line, _)| !in_tests.contains(line))
                .collect(),
            test_lines: in_tests.len(),
            modules,
            is_test: false,
            text,
        }
    }

    /// The names in its code outside tests.
    pub(crate) fn words(&self) -> Vec<Word<'_>> {
        words(&self.product)
    }

    /// Whether `word` follows `before` in the code, spaces aside.
    pub(crate) fn follows(&self, word: Word<'_>, before: &str) -> bool {
        self.product[..word.start].trim_end().ends_with(before)
    }

    /// Whether `after` follows `word`, spaces aside.
    pub(crate) fn precedes(&self, word: Word<'_>, after: &str) -> bool {
        self.product[word.end..].trim_start().starts_with(after)
    }

    /// The `use` declaration in which `word` stands, up to it.
    pub(crate) fn import_before(&self, word: Word<'_>) -> Option<&str> {
        let before = &self.product[..word.start];
        let statement = &before[before.rfind(';').map_or(0, |end| end + 1)..];
        let keyword = words(statement)
            .into_iter()
            .rfind(|word| word.text == "use")?;
        let import = &statement[keyword.end..];
        // `use<'a>` captures lifetimes, and a body after it is none of an import.
        let is_import = import.starts_with(char::is_whitespace)
            && !import.contains(|character: char| "()=".contains(character));
        is_import.then_some(import)
    }

    /// Whether `word` is a segment of a path, in an expression, a type or an import.
    pub(crate) fn is_segment(&self, word: Word<'_>) -> bool {
        self.follows(word, "::") || self.precedes(word, "::") || self.import_before(word).is_some()
    }
}

/// Adds the Rust files under `folder`, which need not exist.
fn collect(root: &Path, folder: &str, paths: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return;
    };
    for entry in entries {
        let entry = entry.expect("a folder can be read");
        let name = entry.file_name().into_string().expect("a name is UTF-8");
        let path = format!("{folder}/{name}");
        let kind = entry.file_type().expect("a file has a type");
        if kind.is_dir() {
            collect(root, &path, paths);
        } else if name.ends_with(".rs") {
            paths.push(path);
        }
    }
}

/// The modules that the file at `path` declares.
fn modules(path: &str, code: &str) -> Vec<Module> {
    let folder = path.strip_suffix(".rs").unwrap_or(path);
    let folder = match folder.rsplit_once('/') {
        Some((parent, "main" | "lib")) => parent,
        _ => folder,
    };
    let (product, _) = without_tests(code);
    words(code)
        .windows(2)
        .filter(|pair| pair[0].text == "mod" && code[pair[1].end..].trim_start().starts_with(';'))
        .map(|pair| Module {
            path: format!("{folder}/{}.rs", pair[1].text),
            // A declaration that was blanked is a test's.
            is_test: product.as_bytes()[pair[1].start] == b' ',
        })
        .collect()
}

/// `code` with the items under `#[cfg(test)]` blanked, and the lines on which they stood.
fn without_tests(code: &str) -> (String, BTreeSet<usize>) {
    let mut product = code.as_bytes().to_vec();
    let mut lines = BTreeSet::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(") {
        let start = from + found;
        let attribute_end = start + group_end(&code[start..], '[', ']');
        from = attribute_end;
        let condition = words(&code[start..attribute_end]);
        let is_test = condition.iter().any(|word| word.text == "test")
            && condition.iter().all(|word| word.text != "not");
        if !is_test {
            continue;
        }
        from = item_end(code, attribute_end);
        let first = code[..start].matches('\n').count() + 1;
        let last = first + code[start..from].matches('\n').count();
        lines.extend(first..=last);
        for byte in &mut product[start..from] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    let product = String::from_utf8(product).expect("whole characters were blanked");
    (product, lines)
}

/// Where the item that begins at `from` ends: at its semicolon, or at the end of its braces.
fn item_end(code: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(next) = code[at..].chars().next() {
        match next {
            ';' => return at + 1,
            '{' => return at + group_end(&code[at..], '{', '}'),
            '[' => at += group_end(&code[at..], '[', ']'),
            '(' => at += group_end(&code[at..], '(', ')'),
            _ => at += next.len_utf8(),
        }
    }
    code.len()
}

/// How long the first group in `open` and `close` is, from the beginning of `code`.
fn group_end(code: &str, open: char, close: char) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        if character == open {
            depth += 1;
        } else if character == close {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return at + 1;
            }
        }
    }
    code.len()
}

/// The paths that are compiled for tests only: `tests.rs` and what is declared under `#[cfg(test)]`, with
/// all that lies below them, and everything outside `src`.
fn only_for_tests(sources: &[Source]) -> BTreeSet<String> {
    let declared: BTreeMap<&str, bool> = sources
        .iter()
        .flat_map(|source| &source.modules)
        .map(|module| (module.path.as_str(), module.is_test))
        .collect();
    let is_test =
        |path: &str| path.ends_with("/tests.rs") || declared.get(path).copied().unwrap_or(false);
    let above = |path: &str| {
        let folders: Vec<String> = path
            .match_indices('/')
            .map(|(at, _)| format!("{}.rs", &path[..at]))
            .collect();
        folders
    };
    sources
        .iter()
        .map(|source| source.path.as_str())
        .filter(|path| {
            !path.starts_with("src/")
                || is_test(path)
                || above(path).iter().any(|folder| is_test(folder))
        })
        .map(str::to_owned)
        .collect()
}

/// A package with just these files, for planting violations.
pub(crate) fn planted(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }
    let tree = Tree::load(folder.path());
    (folder, tree)
}

#[test]
fn what_is_compiled_for_tests_only_is_no_product() {
    let (_folder, tree) = planted(&[
        (
            "src/lib.rs",
            "//! A.\npub mod a;\n#[cfg(test)]\nmod fixture;\n#[cfg(all(test, unix))]\nfn f() {\n}\nfn kept() {}\n",
        ),
        (
            "src/a.rs",
            "//! A.\nmod tests;\n#[cfg(not(test))]\nfn kept() {}\n",
        ),
        ("src/a/tests.rs", "//! A.\nmod deep;\n"),
        ("src/a/tests/deep.rs", "//! A.\n"),
        ("src/fixture.rs", "//! A.\n"),
        ("tests/x/main.rs", "//! A.\n"),
    ]);
    let product: Vec<&str> = tree.product().map(|source| source.path.as_str()).collect();
    assert_eq!(product, ["src/a.rs", "src/lib.rs"]);
    let library = tree.find("src/lib.rs").expect("it was planted");
    assert_eq!(library.test_lines, 5);
    let names: Vec<&str> = library.words().iter().map(|word| word.text).collect();
    assert_eq!(names, ["pub", "mod", "a", "fn", "kept"]);
    let kept = tree.find("src/a.rs").expect("it was planted");
    assert!(kept.words().iter().any(|word| word.text == "kept"));
}

#[test]
fn imports_are_told_from_other_code() {
    let (_folder, tree) = planted(&[(
        "src/lib.rs",
        "use a::{b, c};\nfn f(x: u8) -> impl Sized + use<> { g(c); d }\nfn h() { let c = e; }\n",
    )]);
    let source = tree.find("src/lib.rs").expect("it was planted");
    let imported: Vec<(&str, usize)> = source
        .words()
        .into_iter()
        .filter(|word| source.import_before(*word).is_some())
        .map(|word| (word.text, word.line))
        .collect();
    assert_eq!(imported, [("a", 1), ("b", 1), ("c", 1)]);
}
