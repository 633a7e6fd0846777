//! Where data is kept, and why there.

use super::check;
use super::setting::{ARTIFACTS_BUCKET, BACKEND, EVENT_BUS, KV_TABLE, Setting};
use super::source::{Reader, Shown, Source};

/// Where data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In AWS.
    Aws,
    /// In a folder of this machine.
    Embedded,
}

/// The backend that was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendChoice {
    /// The backend.
    pub backend: Backend,
    /// Which, why and how to switch, for the first line of the log and for `doctor`.
    pub reason: String,
}

const RESOURCES: [&Setting; 3] = [&KV_TABLE, &ARTIFACTS_BUCKET, &EVENT_BUS];

impl Backend {
    /// Its name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Embedded => "embedded",
        }
    }
}

impl BackendChoice {
    /// What the settings choose: the backend that is named, else AWS where one of its resources is named,
    /// else the embedded one. Credentials and a region alone choose nothing, so that a newcomer's data
    /// never lands in an account by accident.
    pub(crate) fn read(reader: &mut Reader) -> Self {
        let named: Vec<String> = RESOURCES
            .iter()
            .map(|setting| reader.source(setting))
            .filter(|source| *source != Source::Default)
            .map(|source| source.to_string())
            .collect();
        let source = reader.source(&BACKEND);
        let chosen = if named.is_empty() {
            Backend::Embedded
        } else {
            Backend::Aws
        };
        let words = [Backend::Aws, Backend::Embedded].map(|backend| (backend.name(), backend));
        let backend = reader.read(&BACKEND, chosen, |text| check::word(text, &words));
        Self {
            backend,
            reason: reason(backend, &source, &named),
        }
    }
}

/// Why `backend` was chosen and how to switch.
fn reason(backend: Backend, source: &Source, named: &[String]) -> String {
    let switch = match backend {
        Backend::Aws => "to keep everything on this machine set AGENT_MESH_BACKEND=embedded",
        Backend::Embedded => "to use AWS set one of them or AGENT_MESH_BACKEND=aws",
    };
    let variables = RESOURCES.map(|setting| setting.variable).join(", ");
    match (backend, source) {
        (Backend::Embedded, Source::Default) => {
            format!("embedded, because none of {variables} is set; {switch}")
        }
        (Backend::Aws, Source::Default) => {
            let verb = if named.len() == 1 { "names" } else { "name" };
            format!(
                "aws, because {} {verb} a resource of it; {switch}",
                named.join(", ")
            )
        }
        (Backend::Embedded, source) => {
            format!("embedded, because {source} says so; to use AWS set it to aws")
        }
        (Backend::Aws, source) => {
            format!(
                "aws, because {source} says so; to keep everything on this machine set it to embedded"
            )
        }
    }
}

impl Shown for Backend {
    fn shown(&self) -> Option<String> {
        Some(self.name().to_owned())
    }
}
