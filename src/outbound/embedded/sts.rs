//! Who the caller is: always the account that owns the embedded cloud.

use super::ACCOUNT;
use super::faults::Service;
use super::wire::{Answer, XML, request_id};

/// Answers a request in STS's query form.
pub(super) fn answer(body: &[u8]) -> Answer {
    let asked = std::str::from_utf8(body)
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair == "Action=GetCallerIdentity");
    if !asked {
        return Answer::xml_error(
            Service::Sts,
            400,
            "InvalidAction",
            "The embedded cloud has only GetCallerIdentity.",
        );
    }
    let id = request_id();
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:root</Arn><UserId>{ACCOUNT}</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
    Answer::ok(XML, body.into_bytes())
}
