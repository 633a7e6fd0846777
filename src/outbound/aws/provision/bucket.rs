//! The bucket as the server expects it.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    CreateBucketConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    ObjectOwnership, OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule, Tag, Tagging,
};

use super::{PlannedResource, Resource, TAG, Tell, on_off, property};
use crate::mesh::{Error, ErrorKind};
use crate::outbound::aws::clients::Connection;
use crate::outbound::aws::error::{Part, fault};

const REGION: &str = "region";
const PUBLIC_ACCESS: &str = "public access";
const OWNERSHIP: &str = "object ownership";
const ENCRYPTION: &str = "encryption";
const LIFECYCLE: &str = "unfinished uploads";

/// Parts of uploads that were never finished are removed after this many days.
const UNFINISHED_DAYS: i32 = 7;

/// A bucket and who must own it.
struct Target<'a> {
    client: Client,
    name: &'a str,
    owner: &'a str,
}

async fn target(connection: &Connection) -> Result<Target<'_>, Error> {
    Ok(Target {
        client: connection.s3(None).await,
        name: &connection.settings().bucket,
        owner: connection.account().await?,
    })
}

pub(super) async fn plan(connection: &Connection) -> Result<PlannedResource, Error> {
    let target = target(connection).await?;
    let found_region = region(&target, &connection.region().await).await?;
    let exists = found_region.is_some();
    let mut found = [None, None, None, None];
    if exists {
        found = [
            Some(public_access(&target).await?),
            Some(ownership(&target).await?),
            Some(encryption(&target).await?),
            Some(lifecycle(&target).await?),
        ];
    }
    let [public_access, ownership, encryption, lifecycle] = found;
    Ok(PlannedResource {
        resource: Resource::Bucket,
        name: target.name.to_owned(),
        exists,
        properties: vec![
            property(REGION, connection.region().await, found_region, false),
            property(PUBLIC_ACCESS, "blocked", public_access, true),
            property(OWNERSHIP, "bucket owner enforced", ownership, true),
            property(ENCRYPTION, "on", encryption, true),
            property(LIFECYCLE, removed_after(UNFINISHED_DAYS), lifecycle, true),
        ],
    })
}

pub(super) async fn apply(
    connection: &Connection,
    planned: &PlannedResource,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    let target = target(connection).await?;
    if !planned.exists {
        create(&target, &connection.region().await).await?;
        tell("created");
        tag(&target).await?;
    }
    if planned.wants(PUBLIC_ACCESS) {
        block_public_access(&target).await?;
        tell("public access blocked");
    }
    if planned.exists && planned.wants(OWNERSHIP) {
        enforce_ownership(&target).await?;
        tell("ownership of objects enforced");
    }
    if planned.wants(ENCRYPTION) {
        switch_encryption_on(&target).await?;
        tell("encryption switched on");
    }
    if planned.wants(LIFECYCLE) {
        remove_unfinished(&target).await?;
        tell("unfinished uploads are removed");
    }
    Ok(())
}

fn removed_after(days: i32) -> String {
    format!("removed after {days} days")
}

/// The region of the bucket, if it is there and the owner's.
async fn region(target: &Target<'_>, ours: &str) -> Result<Option<String>, Error> {
    let answer = target
        .client
        .head_bucket()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .send()
        .await;
    let error = match answer {
        Ok(answer) => {
            return Ok(Some(
                answer.bucket_region.unwrap_or_else(|| ours.to_owned()),
            ));
        }
        Err(error) => error,
    };
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    let elsewhere = error
        .raw_response()
        .and_then(|raw| raw.headers().get("x-amz-bucket-region"))
        .map(str::to_owned);
    match (status, elsewhere) {
        (Some(404), _) => Ok(None),
        (Some(301), Some(region)) => Ok(Some(region)),
        (Some(403), _) => Err(Error::new(
            ErrorKind::AwsCredentials,
            "the bucket's name is taken by another account, or the role may not look at it",
        )
        .detail("reason", "refused")
        .fix("choose another name in AGENT_MESH_ARTIFACTS_BUCKET: names of buckets are global")
        .caused_by(error)),
        _ => Err(fault(Part::Bucket, error)),
    }
}

async fn create(target: &Target<'_>, region: &str) -> Result<(), Error> {
    // S3 takes every region as a constraint but its first.
    let configuration = (region != "us-east-1").then(|| {
        CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(region))
            .build()
    });
    let answer = target
        .client
        .create_bucket()
        .bucket(target.name)
        .set_create_bucket_configuration(configuration)
        .object_ownership(ObjectOwnership::BucketOwnerEnforced)
        .send()
        .await;
    match answer {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
        Err(error) if error.code() == Some("BucketAlreadyExists") => Err(Error::new(
            ErrorKind::Conflict,
            "the bucket's name is taken by another account",
        )
        .fix("choose another name in AGENT_MESH_ARTIFACTS_BUCKET: names of buckets are global")
        .caused_by(error)),
        Err(error) => Err(fault(Part::Bucket, error)),
    }
}

async fn tag(target: &Target<'_>) -> Result<(), Error> {
    let tag = Tag::builder().key(TAG.0).value(TAG.1).build();
    let tags = tag.and_then(|tag| Tagging::builder().tag_set(tag).build());
    target
        .client
        .put_bucket_tagging()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .tagging(tags.map_err(incomplete)?)
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Bucket, error))
}

fn incomplete(error: aws_sdk_s3::error::BuildError) -> Error {
    Error::internal("a request to set the bucket up could not be made").caused_by(error)
}

async fn public_access(target: &Target<'_>) -> Result<String, Error> {
    let answer = target
        .client
        .get_public_access_block()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .send()
        .await;
    let block = match answer {
        Ok(answer) => answer.public_access_block_configuration,
        Err(error) if error.code() == Some("NoSuchPublicAccessBlockConfiguration") => None,
        Err(error) => return Err(fault(Part::Bucket, error)),
    };
    let is_blocked = block.is_some_and(|block| {
        [
            block.block_public_acls,
            block.block_public_policy,
            block.ignore_public_acls,
            block.restrict_public_buckets,
        ]
        .iter()
        .all(|part| *part == Some(true))
    });
    Ok(if is_blocked { "blocked" } else { "not blocked" }.to_owned())
}

async fn block_public_access(target: &Target<'_>) -> Result<(), Error> {
    let block = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .block_public_policy(true)
        .ignore_public_acls(true)
        .restrict_public_buckets(true)
        .build();
    target
        .client
        .put_public_access_block()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .public_access_block_configuration(block)
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Bucket, error))
}

async fn ownership(target: &Target<'_>) -> Result<String, Error> {
    let answer = target
        .client
        .get_bucket_ownership_controls()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .send()
        .await;
    let controls = match answer {
        Ok(answer) => answer.ownership_controls,
        Err(error) if error.code() == Some("OwnershipControlsNotFoundError") => None,
        Err(error) => return Err(fault(Part::Bucket, error)),
    };
    let rule = controls.and_then(|controls| controls.rules.into_iter().next());
    Ok(match rule.map(|rule| rule.object_ownership) {
        Some(ObjectOwnership::BucketOwnerEnforced) => "bucket owner enforced".to_owned(),
        Some(other) => other.to_string(),
        None => "object writer".to_owned(),
    })
}

async fn enforce_ownership(target: &Target<'_>) -> Result<(), Error> {
    let rule = OwnershipControlsRule::builder()
        .object_ownership(ObjectOwnership::BucketOwnerEnforced)
        .build();
    let controls = rule.and_then(|rule| OwnershipControls::builder().rules(rule).build());
    target
        .client
        .put_bucket_ownership_controls()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .ownership_controls(controls.map_err(incomplete)?)
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Bucket, error))
}

/// Whether objects are encrypted by default; with which key is the operator's choice.
async fn encryption(target: &Target<'_>) -> Result<String, Error> {
    let answer = target
        .client
        .get_bucket_encryption()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .send()
        .await;
    match answer {
        Ok(_) => Ok(on_off(true).to_owned()),
        Err(error) if error.code() == Some("ServerSideEncryptionConfigurationNotFoundError") => {
            Ok(on_off(false).to_owned())
        }
        Err(error) => Err(fault(Part::Bucket, error)),
    }
}

async fn switch_encryption_on(target: &Target<'_>) -> Result<(), Error> {
    let default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::Aes256)
        .build();
    let configuration = default.and_then(|default| {
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default)
            .build();
        ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build()
    });
    target
        .client
        .put_bucket_encryption()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .server_side_encryption_configuration(configuration.map_err(incomplete)?)
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Bucket, error))
}

async fn rules(target: &Target<'_>) -> Result<Vec<LifecycleRule>, Error> {
    let answer = target
        .client
        .get_bucket_lifecycle_configuration()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .send()
        .await;
    match answer {
        Ok(answer) => Ok(answer.rules.unwrap_or_default()),
        Err(error) if error.code() == Some("NoSuchLifecycleConfiguration") => Ok(Vec::new()),
        Err(error) => Err(fault(Part::Bucket, error)),
    }
}

async fn lifecycle(target: &Target<'_>) -> Result<String, Error> {
    let days = rules(target)
        .await?
        .into_iter()
        .filter(|rule| rule.status == ExpirationStatus::Enabled)
        .filter_map(|rule| {
            rule.abort_incomplete_multipart_upload?
                .days_after_initiation
        })
        .min();
    Ok(days.map_or_else(|| "kept".to_owned(), removed_after))
}

/// Adds our rule to those that are there.
async fn remove_unfinished(target: &Target<'_>) -> Result<(), Error> {
    let mut rules = rules(target).await?;
    let rule = LifecycleRule::builder()
        .id("agent-mesh-unfinished-uploads")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .abort_incomplete_multipart_upload(
            AbortIncompleteMultipartUpload::builder()
                .days_after_initiation(UNFINISHED_DAYS)
                .build(),
        )
        .build()
        .map_err(incomplete)?;
    rules.retain(|held| held.id != rule.id);
    rules.push(rule);
    let configuration = BucketLifecycleConfiguration::builder()
        .set_rules(Some(rules))
        .build()
        .map_err(incomplete)?;
    target
        .client
        .put_bucket_lifecycle_configuration()
        .bucket(target.name)
        .expected_bucket_owner(target.owner)
        .lifecycle_configuration(configuration)
        .send()
        .await
        .map(drop)
        .map_err(|error| fault(Part::Bucket, error))
}
