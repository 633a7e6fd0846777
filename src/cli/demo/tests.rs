//! What the demonstration says where it cannot be played to its end; the whole of it is played by the tests
//! of the binary.

use std::path::PathBuf;

use super::*;

fn play(executable: Option<PathBuf>) -> (ExitStatus, String, String) {
    let environment = Environment {
        executable,
        ..Environment::default()
    };
    let (mut output, captured) = Output::captured();
    let status = run(&environment, &mut output);
    (status, captured.stdout(), captured.stderr())
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let (status, _, told) = play(None);
    assert_eq!(status, ExitStatus::Failure);
    assert!(told.contains("path of this program is not known"), "{told}");
    let (status, shown, _) = play(Some("/nowhere/use_aws_mcp".into()));
    assert_eq!(status, ExitStatus::Failure);
    assert!(
        shown.contains("WRONG /nowhere/use_aws_mcp cannot be started"),
        "{shown}"
    );
}

#[cfg(unix)]
#[test]
fn a_server_that_ends_at_once_is_wrong_and_its_log_is_shown() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("server");
    std::fs::write(&program, "#!/bin/sh\necho the disk is on fire >&2\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (status, shown, told) = play(Some(program));
    assert_eq!(status, ExitStatus::Failure);
    assert!(shown.contains("WRONG no handshake"), "{shown}");
    assert!(!shown.contains("as they should"), "{shown}");
    assert!(told.contains("the disk is on fire"), "{told}");
}

#[test]
fn the_tenants_of_the_demonstration_are_a_valid_file() {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment {
        executable: Some("program".into()),
        ..Environment::default()
    };
    prepare(&environment, folder.path())
        .map_err(|message| panic!("{message}"))
        .ok();
    let path = folder.path().join("tenants.toml");
    let tenants = crate::config::TenantsFile::open(
        Some(&path),
        Vec::new(),
        crate::config::SharedNames::default(),
    );
    assert_eq!(tenants.unwrap().count(), 2);
}
