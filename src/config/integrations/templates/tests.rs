//! What a file of templates may say, and how everything that is wrong is told.

use super::*;

fn parse_text(text: &str, private: &[&Path]) -> Result<Templates, ConfigErrors> {
    parse(Path::new("templates.toml"), text, private, &mut Vec::new())
}

#[test]
fn the_example_is_right_and_names_every_key() {
    let templates = parse_text(EXAMPLE, &[]).unwrap();
    let notes = &templates["notes"];
    let settings = [("project", "apollo"), ("region", "eu")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let args = notes.arguments(&settings.into()).unwrap();
    assert_eq!(
        args,
        ["-m", "notes_server", "--project=apollo", "--region", "eu"]
    );
    for key in TEMPLATE_KEYS {
        assert!(
            EXAMPLE.contains(&format!("\n{key} = ")) || key == "slots",
            "{key}"
        );
    }
}

#[test]
fn what_is_left_out_allows_nothing_but_https() {
    let templates = parse_text("[templates.a]\nprogram = '/bin/true'", &[]).unwrap();
    let template = &templates["a"];
    assert_eq!(template.ports, [443]);
    assert!(template.env.is_empty() && template.paths.is_empty() && template.writable.is_empty());
    let none = parse_text("[templates.a]\nprogram = '/bin/true'\nports = []", &[]).unwrap();
    assert!(none["a"].ports.is_empty());
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let text = format!(
        "other = 1\n[templates.A]\nprogram = 'python3'\nagrs = []\n\
         [templates.b]\nargs = ['{{x}}', '{{', 3]\nenv = ['A B', 'HOME', 'OK']\npaths = ['rel', '{}']\n\
         ports = [0, 65536, 'x', 80]\n[templates.b.slots]\ny = '('\nz = []\nQ = 'a'\n",
        folder.path().display()
    );
    let errors = parse_text(&text, &[&data]).unwrap_err().to_string();
    for part in [
        "templates.toml:1: other: there is no such setting",
        "templates.toml:2: templates.A: a template's id",
        "templates.toml:3: templates.A.program: it must be an absolute path",
        "templates.toml:4: templates.A.agrs: there is no such setting; did you mean `args`?",
        "templates.toml:5: templates.b.program: it is needed",
        "templates.toml:6: templates.b.args: `slots` says nothing of {x}",
        "templates.toml:6: templates.b.args: a slot is written",
        "templates.toml:6: templates.b.args: it must be a text",
        "templates.toml:7: templates.b.env: \"A B\" is no name",
        "templates.toml:7: templates.b.env: HOME is set by this server",
        "templates.toml:8: templates.b.paths: \"rel\" must be an absolute path",
        "which holds what no child may see",
        "templates.toml:9: templates.b.ports: a port is",
        "templates.toml:11: templates.b.slots.y: it is no regular expression",
        "templates.toml:12: templates.b.slots.z: it must be a list of 1 to 256",
        "templates.toml:13: templates.b.slots.Q: a slot's name",
    ] {
        assert!(errors.contains(part), "{part}\n{errors}");
    }
    assert_eq!(errors.matches("a port is").count(), 3, "{errors}");
}

#[test]
fn a_slot_that_no_argument_has_is_a_mistake() {
    let text = "[templates.a]\nprogram = '/bin/true'\nargs = ['{x}']\nslots = {x = 'a', y = 'b'}";
    let errors = parse_text(text, &[]).unwrap_err().to_string();
    assert!(
        errors.contains("slots.y: no argument has this slot"),
        "{errors}"
    );
}
