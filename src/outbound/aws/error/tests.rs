//! Every answer of AWS, and what becomes of it.

use super::*;

/// Every code that AWS may answer with, and what becomes of it.
const CODES: [(&str, u16, ErrorKind); 24] = [
    ("ThrottlingException", 400, ErrorKind::AwsThrottled),
    (
        "ProvisionedThroughputExceededException",
        400,
        ErrorKind::AwsThrottled,
    ),
    ("RequestLimitExceeded", 400, ErrorKind::AwsThrottled),
    ("SlowDown", 503, ErrorKind::AwsThrottled),
    ("whatever", 429, ErrorKind::AwsThrottled),
    ("InternalServerError", 500, ErrorKind::AwsUnavailable),
    ("ServiceUnavailable", 503, ErrorKind::AwsUnavailable),
    ("RequestTimeout", 400, ErrorKind::AwsUnavailable),
    ("ConditionalRequestConflict", 409, ErrorKind::AwsUnavailable),
    ("ResourceNotFoundException", 400, ErrorKind::AwsUnavailable),
    ("NoSuchBucket", 404, ErrorKind::AwsUnavailable),
    ("PermanentRedirect", 301, ErrorKind::AwsUnavailable),
    (
        "AuthorizationHeaderMalformed",
        400,
        ErrorKind::AwsUnavailable,
    ),
    ("ExpiredToken", 400, ErrorKind::AwsCredentials),
    (
        "UnrecognizedClientException",
        400,
        ErrorKind::AwsCredentials,
    ),
    ("SignatureDoesNotMatch", 403, ErrorKind::AwsCredentials),
    ("RequestTimeTooSkewed", 403, ErrorKind::AwsCredentials),
    ("AccessDenied", 403, ErrorKind::AwsCredentials),
    ("AccessDeniedException", 400, ErrorKind::AwsCredentials),
    ("", 403, ErrorKind::AwsCredentials),
    ("EntityTooLarge", 400, ErrorKind::TooLarge),
    ("MetadataTooLarge", 400, ErrorKind::TooLarge),
    ("ValidationException", 400, ErrorKind::Internal),
    ("", 404, ErrorKind::Internal),
];

#[test]
fn every_code_has_its_kind_and_tells_callers_what_to_do() {
    for (code, status, kind) in CODES {
        let error = of_code(Part::Table, code, "arn:aws:x:123456789012", status, None);
        assert_eq!(error.kind(), kind, "{code} {status}");
        assert!(!error.message().contains("arn:"), "{error}");
        if kind != ErrorKind::Internal {
            assert!(error.fix_text().is_some(), "{error}");
        }
    }
}

#[test]
fn what_is_too_large_is_told_from_other_mistakes() {
    let message = "Item size has exceeded the maximum allowed size";
    let error = of_code(Part::Table, "ValidationException", message, 400, None);
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn a_throttle_says_when_to_come_back() {
    let error = of_code(Part::Bus, "ThrottlingException", "", 400, None);
    assert_eq!(error.wait(), Some(THROTTLE_WAIT));
    let wait = Duration::from_millis(300);
    let error = of_code(Part::Bus, "ThrottlingException", "", 400, Some(wait));
    assert_eq!(error.wait(), Some(wait));
}

#[test]
fn the_remedy_names_the_command_and_the_profile() {
    let mut fault = CredentialsFault::refused("ExpiredToken");
    assert!(
        credentials(&fault)
            .fix_text()
            .unwrap()
            .contains("`aws sso login`")
    );
    fault.profile = Some("work".to_owned());
    fault.reason = Reason::SsoExpired;
    let error = credentials(&fault);
    assert!(
        error
            .fix_text()
            .unwrap()
            .contains("`aws sso login --profile work`")
    );
    assert_eq!(error.details()["reason"], "expired");
    fault.reason = Reason::Missing;
    assert!(
        credentials(&fault)
            .fix_text()
            .unwrap()
            .contains("AWS_ACCESS_KEY_ID")
    );
}
