//! The state machines of the folder, by name: a file `workflows/<name>.asl.json` each.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;

use super::states::definition::{Definitions, Missing};
use super::{ACCOUNT, REGION};
use crate::mesh::store::Reply;
use crate::mesh::workflow::LocalMachines;
use crate::mesh::{Error, ErrorKind};

/// The state machines of one data folder.
#[derive(Clone, Debug)]
pub struct FolderMachines {
    definitions: Arc<Definitions>,
}

impl FolderMachines {
    /// Those of the data folder `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            definitions: Arc::new(Definitions::new(data_dir.join("workflows"))),
        }
    }

    /// Does `work`, which reads files.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Definitions) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let definitions = Arc::clone(&self.definitions);
        tokio::task::spawn_blocking(move || work(&definitions))
            .await
            .map_err(|cause| Error::internal("the workflows' folder").caused_by(cause))
    }
}

impl LocalMachines for FolderMachines {
    fn names(&self) -> Reply<'_, Vec<String>> {
        async move {
            let listed = self.read(Definitions::list).await?;
            let listed = listed.map_err(|cause| unreadable(Missing::Io(cause)))?;
            Ok(listed.into_iter().map(|(name, _)| name).collect())
        }
        .boxed()
    }

    fn machine(&self, name: &str) -> String {
        format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}")
    }

    fn check<'a>(&'a self, name: &'a str) -> Reply<'a, ()> {
        async move {
            let name = name.to_owned();
            let read = self.read(move |definitions| definitions.read(&name).map(drop));
            read.await?.map_err(unreadable)
        }
        .boxed()
    }
}

fn unreadable(missing: Missing) -> Error {
    match missing {
        Missing::File => Error::new(ErrorKind::NotFound, "its file is gone"),
        Missing::Io(cause) => {
            Error::new(ErrorKind::AwsUnavailable, "its file cannot be read").caused_by(cause)
        }
        wrong => Error::new(ErrorKind::InvalidParameter, wrong.to_string()),
    }
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
        let right = r#"{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}"#;
        for (file, text) in [
            ("b.asl.json", right),
            ("a_1.asl.json", "{}"),
            ("c.json", right),
            ("ä.asl.json", right),
            (".asl.json", right),
        ] {
            std::fs::write(workflows.join(file), text).unwrap();
        }
        assert_eq!(machines.names().await.unwrap(), ["a_1", "b"]);
        assert_eq!(
            machines.machine("b"),
            "arn:aws:states:us-west-2:000000000000:stateMachine:b"
        );
        assert!(machines.check("b").await.is_ok());
        let kind = async |name| machines.check(name).await.unwrap_err().kind();
        assert_eq!(kind("a_1").await, ErrorKind::InvalidParameter);
        assert_eq!(kind("c").await, ErrorKind::NotFound);
    }
}
