//! The AWS SDK: the only folder that names `aws_sdk_*` crates.

#![expect(
    clippy::disallowed_types,
    reason = "this is the folder that talks to AWS"
)]

mod answer;
mod attempts;
mod error;

pub mod bucket;
pub mod bus;
pub mod bus_rules;
pub mod clients;
pub mod credentials;
pub mod observed;
pub mod probe;
pub mod provision;
pub mod secrets;
pub mod settings;
pub mod states;
pub mod table;
pub mod topics;

pub use bucket::AwsBucket;
pub use bus::AwsBus;
pub use bus_rules::AwsBusRules;
pub use clients::Connection;
pub use observed::Observed;
pub use secrets::AwsSecrets;
pub use settings::{AwsSettings, CredentialSource, Timeouts};
pub use states::AwsStates;
pub use table::AwsTable;
pub use topics::AwsTopics;
