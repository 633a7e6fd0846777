//! What faces AWS, or the cloud that fits in a folder.

pub mod audit;
pub mod authorizer;
pub mod aws;
pub mod embedded;
pub mod jwks;
pub mod tokens;
pub mod upstream;
