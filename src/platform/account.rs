//! The name of the account that the process runs as.

/// The login name, by the process's user id and not by its environment; `None` where it cannot be told.
/// May start a program, so it is for the start of the process.
#[cfg(unix)]
pub fn login_name() -> Option<String> {
    let user = rustix::process::getuid().as_raw();
    std::fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|accounts| name_in(&accounts, user))
        .or_else(name_by_program)
}

/// The login name; `None`, because only Unix is asked. The configuration then reads its environment.
#[cfg(not(unix))]
pub fn login_name() -> Option<String> {
    None
}

/// The name of `user` in the format of `/etc/passwd`.
#[cfg(unix)]
fn name_in(accounts: &str, user: u32) -> Option<String> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let id: u32 = fields.nth(1)?.parse().ok()?;
        (id == user).then(|| name.to_owned())
    })
}

/// Accounts of a directory service, and all of macOS, are in no file.
#[cfg(unix)]
fn name_by_program() -> Option<String> {
    let output = std::process::Command::new("/usr/bin/id")
        .arg("-un")
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let name = String::from_utf8(output.stdout).ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_one_beside_the_id() {
        let accounts =
            "root:x:0:0:root:/root:/bin/sh\n\n:x:7::\nbroken\nada:x:1000:1000::/home/ada:\n";
        assert_eq!(name_in(accounts, 1000).as_deref(), Some("ada"));
        assert_eq!(name_in(accounts, 0).as_deref(), Some("root"));
        assert_eq!(name_in(accounts, 7), None);
        assert_eq!(name_in(accounts, 1), None);
    }
}
