//! The AWS SDK: the only folder that names `aws_sdk_*` crates.
