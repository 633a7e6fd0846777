//! The state machines of the folder, by name: a file `workflows/<name>.asl.json` each.

use std::path::{Path, PathBuf};

use futures::FutureExt as _;

use super::{ACCOUNT, REGION};
use crate::mesh::Error;
use crate::mesh::store::Reply;
use crate::mesh::workflow::LocalMachines;
use crate::mesh::workflow::names::is_name;

/// What the name of a definition's file ends with.
const DEFINITION_SUFFIX: &str = ".asl.json";

/// The most files that are looked at.
const FILES_MAX: usize = 10_000;

/// The state machines of one data folder.
#[derive(Clone, Debug)]
pub struct FolderMachines {
    folder: PathBuf,
}

impl FolderMachines {
    /// Those of the data folder `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            folder: data_dir.join("workflows"),
        }
    }
}

impl LocalMachines for FolderMachines {
    fn names(&self) -> Reply<'_, Vec<String>> {
        let folder = self.folder.clone();
        async move {
            tokio::task::spawn_blocking(move || names(&folder))
                .await
                .map_err(|cause| Error::internal("the workflows' folder").caused_by(cause))
        }
        .boxed()
    }

    fn machine(&self, name: &str) -> String {
        format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}")
    }
}

/// The names in `folder`; none where it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let name = |file: std::fs::DirEntry| {
        let file = file.file_name().into_string().ok()?;
        let name = file.strip_suffix(DEFINITION_SUFFIX)?;
        is_name(name).then(|| name.to_owned())
    };
    let files = files.take(FILES_MAX).filter_map(Result::ok);
    let mut names: Vec<String> = files.filter_map(name).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_is_a_file_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let machines = FolderMachines::new(folder.path());
        assert!(machines.names().await.unwrap().is_empty());
        let workflows = folder.path().join("workflows");
        std::fs::create_dir(&workflows).unwrap();
        for file in [
            "b.asl.json",
            "a_1.asl.json",
            "c.json",
            "ä.asl.json",
            ".asl.json",
        ] {
            std::fs::write(workflows.join(file), "{}").unwrap();
        }
        assert_eq!(machines.names().await.unwrap(), ["a_1", "b"]);
        assert_eq!(
            machines.machine("b"),
            "arn:aws:states:us-west-2:000000000000:stateMachine:b"
        );
    }
}
