//! The rules of ARCHITECTURE.md, checked in the text of the sources; each has a test that plants a violation.
//!
//! `AGENT_MESH_TIDY_WRITE=1 cargo test --test tidy` writes the tree of the sources into ARCHITECTURE.md.
#![expect(
    clippy::expect_used,
    reason = "what these tests cannot read is a failure of theirs"
)]

mod documents;
mod lexer;
mod rules;
mod source;

use std::path::Path;

use rules::{Rule, architecture, files, names};
use source::Tree;

/// Fails with every place in this package that breaks `rule`.
fn hold(rule: &Rule) {
    let tree = Tree::load(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(
        tree.sources
            .iter()
            .any(|source| source.path == "src/lib.rs"),
        "the sources were not found"
    );
    let findings = (rule.check)(&tree);
    assert!(findings.is_empty(), "{}", rule.report(&findings));
}

#[test]
fn every_file_opens_with_one_sentence() {
    hold(&files::OPENING);
}

#[test]
fn no_file_is_called_mod() {
    hold(&files::NO_MOD_RS);
}

#[test]
fn no_file_is_too_long() {
    hold(&files::SIZE);
}

#[test]
fn every_file_is_part_of_the_package() {
    hold(&files::DECLARED);
}

#[test]
fn layers_name_only_what_lies_below_them() {
    hold(&names::LAYERS);
}

#[test]
fn only_the_configuration_reads_the_environment() {
    hold(&names::ENVIRONMENT);
}

#[test]
fn only_the_edges_name_rmcp() {
    hold(&names::RMCP);
}

#[test]
fn only_the_aws_folder_names_the_sdks() {
    hold(&names::AWS_SDK);
}

#[test]
fn only_one_file_forms_physical_keys() {
    hold(&names::PHYSICAL_KEYS);
}

#[test]
fn only_the_transport_and_the_printer_write_to_stdout() {
    hold(&names::STDOUT);
}

#[test]
fn time_comes_from_a_clock() {
    hold(&names::TIME);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test, which no setting of the product is"
)]
fn the_tree_in_the_architecture_is_that_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("AGENT_MESH_TIDY_WRITE").is_some_and(|value| !value.is_empty()) {
        architecture::write(root);
    }
    hold(&architecture::TREE);
}
