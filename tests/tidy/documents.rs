//! The parts of the documents that are written from the code's own tables.

use std::fs;
use std::path::Path;

use agent_mesh::config::settings_table_markdown;
use agent_mesh::inbound::rest;
use agent_mesh::inbound::tool::document;

/// A part of a document between two marks, and what it must say.
struct Part {
    file: &'static str,
    mark: &'static str,
    text: fn() -> String,
}

const PARTS: [Part; 3] = [
    Part {
        file: "API.md",
        mark: "tools",
        text: document::markdown,
    },
    Part {
        file: "API.md",
        mark: "statuses",
        text: rest::statuses_markdown,
    },
    Part {
        file: "DEPLOYMENT.md",
        mark: "settings",
        text: settings_table_markdown,
    },
];

/// `document` with the part between its marks replaced by `text`; nothing where it has no such marks.
fn replaced(document: &str, mark: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test, which no setting of the product is"
)]
fn the_documents_say_what_the_tables_say() {
    for part in PARTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(part.file);
        let document = fs::read_to_string(&path).expect(part.file);
        let written = replaced(&document, part.mark, &(part.text)());
        let written = written.unwrap_or_else(|| panic!("{} has no part {}", part.file, part.mark));
        if std::env::var_os("AGENT_MESH_TIDY_WRITE").is_some() {
            fs::write(&path, &written).expect(part.file);
        } else {
            let stale =
                "is stale: run `AGENT_MESH_TIDY_WRITE=1 cargo test --test tidy` and commit it";
            assert!(document == written, "{} {stale}", part.file);
        }
    }
}

#[test]
fn a_stale_part_is_seen() {
    let document = "a\n<!-- x -->\n\nold\n\n<!-- /x -->\nb\n";
    assert_ne!(replaced(document, "x", "new").as_deref(), Some(document));
    assert_eq!(replaced(document, "x", "old").as_deref(), Some(document));
    assert_eq!(replaced(document, "y", "old"), None);
}
