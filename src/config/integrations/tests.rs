//! Lists of commands, folders and addresses, at their edges.

use super::*;

#[test]
fn commands_are_absolute_paths_or_names() {
    assert_eq!(
        commands("npx, /usr/bin/node").unwrap(),
        ["npx", "/usr/bin/node"]
    );
    for bad in ["./x", "../x", "a/b", "a b", "-x", "a,,b"] {
        assert!(commands(bad).is_err(), "{bad}");
    }
    let many = vec!["a"; LISTED_MAX + 1].join(",");
    assert!(commands(&many).is_err());
    assert!(commands(&many[2..]).is_ok());
}

#[test]
fn egress_is_hosts_addresses_and_networks() {
    let good = "MCP.corp.example,10.1.0.0/16,192.0.2.7,fd00::/8,::1,localhost,LOCALHOST";
    let allowed = egress(good).unwrap();
    let shown: Vec<_> = allowed.iter().map(EgressRule::to_string).collect();
    let rules = [
        "mcp.corp.example",
        "10.1.0.0/16",
        "192.0.2.7/32",
        "fd00::/8",
        "::1/128",
        "localhost",
    ];
    assert_eq!(shown, rules);
    for bad in [
        "10.1.2.3/16",
        "10.0.0.0/33",
        "10.0.0",
        "0x7f.1",
        "http://x",
        "*.x",
        "a:80",
        "ä.example",
        &format!("{}.example", "x".repeat(64)),
    ] {
        assert!(egress(bad).is_err(), "{bad}");
    }
    assert!(
        egress("10.1.2.3/16")
            .unwrap_err()
            .contains("10.1.0.0/16 is")
    );
}

#[test]
fn what_holds_our_data_or_lies_in_it_is_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("home/data");
    let other = folder.path().join("home/other");
    std::fs::create_dir_all(&other).unwrap();
    let link = folder.path().join("link");
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("home"), &link).unwrap();
    shareable(&other, &[&data]).unwrap();
    shareable(folder.path(), &[&data]).unwrap_err();
    shareable(&folder.path().join("none"), &[&data]).unwrap();
    shareable(&data.join("none"), &[&data]).unwrap_err();
    #[cfg(unix)]
    shareable(&link, &[&data]).unwrap_err();
    std::fs::create_dir_all(data.join("outbox")).unwrap();
    shareable(&data.join("outbox"), &[&data]).unwrap_err();
    shareable(&other, &[&data]).unwrap();
}

#[cfg(unix)]
#[test]
fn a_command_is_found_where_it_can_be_run() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let (none, some) = (folder.path().join("a"), folder.path().join("b"));
    for folder in [&none, &some] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("server"), "").unwrap();
    }
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(some.join("server"), mode).unwrap();
    let search = std::env::join_paths([&none, &some])
        .unwrap()
        .into_string()
        .unwrap();
    assert_eq!(find("server", &search), Some(some.join("server")));
    let absolute = some.join("server").display().to_string();
    assert_eq!(find(&absolute, ""), Some(some.join("server")));
    assert_eq!(find("none", &search), None);
    assert_eq!(find(none.join("server").to_str().unwrap(), &search), None);
}
