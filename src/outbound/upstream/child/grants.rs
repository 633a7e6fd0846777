//! What a child may read: the system's folders, where its program is installed, and what the operator lists.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Folders of the system with programs and libraries, and what programs ask the system for. Of `/etc` only
/// what is no secret also for an administrator's process, of `/proc` nothing of other processes.
const SYSTEM: [&str; 45] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/java",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/self",
    "/proc/stat",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];

/// Devices that keep nothing.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// How many links are followed from a program to its file.
const LINKS_MAX: usize = 16;

/// How much of a script's first line is looked at, in bytes.
const FIRST_LINE_BYTES_MAX: u64 = 512;

/// Where things are that bound what may be granted.
pub(super) struct Bounds<'a> {
    /// The user's home folder.
    pub(super) home: Option<&'a Path>,
    /// What no child may see.
    pub(super) private: &'a [PathBuf],
    /// The folders that programs are looked for in.
    pub(super) search_path: &'a str,
}

/// What every child may write.
pub(super) fn devices() -> impl Iterator<Item = PathBuf> {
    DEVICES.into_iter().map(PathBuf::from)
}

/// What a child may read to run `program` at all, without what is private.
pub(super) fn system(program: &Path, bounds: &Bounds<'_>) -> Vec<PathBuf> {
    let installed = installed(program, bounds);
    let folders = SYSTEM.into_iter().map(PathBuf::from).chain(installed);
    folders
        .flat_map(|path| without(path, bounds.private))
        .collect()
}

/// `path`, or what is in it apart from what is private.
fn without(path: PathBuf, private: &[PathBuf]) -> Vec<PathBuf> {
    let found = path.canonicalize().unwrap_or_else(|_| path.clone());
    let held: Vec<PathBuf> = private
        .iter()
        .map(|private| private.canonicalize().unwrap_or_else(|_| private.clone()))
        .collect();
    if held.iter().any(|private| found.starts_with(private)) {
        return Vec::new();
    }
    if !held.iter().any(|private| private.starts_with(&found)) {
        return vec![path];
    }
    let entries = fs::read_dir(&found).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| without(entry.path(), private))
        .collect()
}

/// Where `program` is installed: its file, every link on the way to it, and, for a script, what runs it.
fn installed(program: &Path, bounds: &Bounds<'_>) -> Vec<PathBuf> {
    let mut paths = along_links(program);
    if let Some(interpreter) = interpreter(program, bounds.search_path) {
        paths.extend(along_links(&interpreter));
    }
    paths.iter().map(|path| prefix(path, bounds)).collect()
}

/// `path` and what it leads to, link by link.
fn along_links(path: &Path) -> Vec<PathBuf> {
    let mut paths = vec![path.to_owned()];
    let mut current = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&current) else {
            break;
        };
        current = current.parent().unwrap_or(Path::new("/")).join(target);
        paths.push(current.clone());
    }
    // Folders on the way may be links themselves.
    paths.extend(path.canonicalize());
    paths
}

/// The folder that a program's own files are in: the one above its `bin`, or the one that it lies in; the
/// program alone where that would hold much else.
fn prefix(program: &Path, bounds: &Bounds<'_>) -> PathBuf {
    let Some(folder) = program.parent() else {
        return program.to_owned();
    };
    let is_bin = folder.file_name().is_some_and(|name| name == "bin");
    let candidate = if is_bin {
        folder.parent()
    } else {
        Some(folder)
    };
    match candidate {
        Some(candidate) if is_narrow(candidate, bounds) => candidate.to_owned(),
        _ if is_bin && is_narrow(folder, bounds) => folder.to_owned(),
        _ => program.to_owned(),
    }
}

/// Whether a folder is some program's own: neither one that the system or a home folder is made of, nor one
/// with anything private in it.
fn is_narrow(folder: &Path, bounds: &Bounds<'_>) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    let below_home = bounds
        .home
        .and_then(|home| home.canonicalize().ok())
        .map(|home| match folder.strip_prefix(&home) {
            Ok(rest) => rest.components().count() >= 2,
            Err(_) => !home.starts_with(&folder),
        });
    let is_deep = folder.components().count() > 2;
    let holds_private = bounds.private.iter().any(|private| {
        private
            .canonicalize()
            .unwrap_or_else(|_| private.clone())
            .starts_with(&folder)
    });
    is_deep && below_home.unwrap_or(true) && !holds_private
}

/// What runs a script: the program that its first line names, or the one that `env` would find.
fn interpreter(program: &Path, search_path: &str) -> Option<PathBuf> {
    let mut line = Vec::new();
    let file = fs::File::open(program).ok()?;
    BufReader::new(file.take(FIRST_LINE_BYTES_MAX))
        .read_until(b'\n', &mut line)
        .ok()?;
    let line = String::from_utf8(line).ok()?;
    let mut words = line.strip_prefix("#!")?.split_whitespace();
    let first = PathBuf::from(words.next()?);
    if first.file_name()? != "env" {
        return Some(first);
    }
    let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    std::env::split_paths(search_path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A home folder with a data folder in it, and programs as package managers install them.
    fn home() -> (tempfile::TempDir, PathBuf, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap().join("home/ada");
        for path in [
            ".local/bin/tool",
            ".local/share/agent-mesh/data",
            ".local/share/keyrings/login",
            ".nvm/versions/v20/bin/node",
            ".nvm/versions/v20/lib/npm/bin/npx-cli.js",
            "project/server",
        ] {
            let path = home.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let private = vec![home.join(".local/share/agent-mesh")];
        (folder, home, private)
    }

    fn bounds<'a>(home: &'a Path, private: &'a [PathBuf], search_path: &'a str) -> Bounds<'a> {
        Bounds {
            home: Some(home),
            private,
            search_path,
        }
    }

    #[test]
    fn a_program_brings_its_own_folder_and_no_home_folder() {
        let (_folder, home, private) = home();
        let bounds = bounds(&home, &private, "");
        for (program, expected) in [
            (".nvm/versions/v20/bin/node", ".nvm/versions/v20"),
            (".local/bin/tool", ".local/bin"),
            ("project/server", "project/server"),
        ] {
            assert_eq!(prefix(&home.join(program), &bounds), home.join(expected));
        }
        assert_eq!(prefix(Path::new("/server"), &bounds), Path::new("/server"));
    }

    #[test]
    fn a_script_brings_what_runs_it_and_what_its_links_lead_to() {
        let (_folder, home, private) = home();
        let version = home.join(".nvm/versions/v20");
        let script = version.join("lib/npm/bin/npx-cli.js");
        fs::write(&script, "#!/usr/bin/env -S node --flag\n").unwrap();
        let link = home.join("project/npx");
        symlink(&script, &link).unwrap();
        let search = version.join("bin").display().to_string();
        let bounds = bounds(&home, &private, &search);
        let granted = installed(&link, &bounds);
        assert!(granted.contains(&link), "{granted:?}");
        assert!(granted.contains(&version.join("lib/npm")), "{granted:?}");
        assert!(granted.contains(&version), "{granted:?}");
        assert!(!granted.iter().any(|path| home.starts_with(path)));
    }

    #[test]
    fn what_is_private_is_left_out_of_what_holds_it() {
        let (_folder, home, private) = home();
        let granted = without(home.clone(), &private);
        assert!(granted.contains(&home.join("project")));
        assert!(granted.contains(&home.join(".local/share/keyrings")));
        assert!(!granted.iter().any(|path| private[0].starts_with(path)));
        assert!(without(private[0].join("data"), &private).is_empty());
    }
}
