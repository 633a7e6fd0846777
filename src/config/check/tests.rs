//! Each check at its edges.

use super::*;

#[test]
fn a_table_name_is_checked_at_its_edges() {
    for good in ["abc", "agent-mesh-kv", "A.b_c", &"a".repeat(255)] {
        assert!(table_name(good).is_ok(), "{good}");
    }
    for bad in ["ab", "a b c", "a/b/c", "arn:aws:x", "äöü", &"a".repeat(256)] {
        assert!(table_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_bucket_name_is_checked_at_its_edges() {
    for good in ["abc", "a.b.c", "a-b", "1.2.3", &"a".repeat(63)] {
        assert!(bucket_name(good).is_ok(), "{good}");
    }
    for bad in [
        "ab",
        "Abc",
        "-ab",
        "ab-",
        ".ab",
        "a..b",
        "a_b",
        "192.168.5.4",
        "xn--abc",
        "sthree-abc",
        "abc-s3alias",
        "abc--x-s3",
        "s3://abc",
        &"a".repeat(64),
    ] {
        assert!(bucket_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_bus_name_a_region_and_an_account_are_checked() {
    assert!(bus_name("agent-mesh-events").is_ok());
    assert!(bus_name(&"a".repeat(256)).is_ok());
    assert!(bus_name(&"a".repeat(257)).is_err());
    assert!(bus_name("arn:aws:events:x").is_err());
    assert!(region("us-gov-west-1").is_ok());
    assert!(region("us-west-2.evil.example").is_err());
    assert!(region("us-west-2/").is_err());
    assert!(account("000000000000").is_ok());
    assert!(account("00000000000").is_err());
    assert!(account("00000000000a").is_err());
}

#[test]
fn bytes_are_read_plain_and_with_a_unit_and_written_back() {
    let all = 0..=u64::MAX;
    assert_eq!(bytes("0", all.clone()), Ok(0));
    assert_eq!(bytes("1073741824", all.clone()), Ok(GIB));
    assert_eq!(bytes("1GiB", all.clone()), Ok(GIB));
    assert_eq!(bytes("3 mib", all.clone()), Ok(3 * MIB));
    assert_eq!(bytes("16KiB", all.clone()), Ok(16 * KIB));
    for bad in ["", "GiB", "1GB", "-1", "1.5GiB", "99999999999GiB"] {
        assert!(bytes(bad, all.clone()).is_err(), "{bad}");
    }
    assert!(bytes("1MiB", MIB..=GIB).is_ok());
    assert!(bytes("1048575", MIB..=GIB).is_err());
    assert!(bytes("1073741825", MIB..=GIB).is_err());
    assert_eq!(bytes_text(GIB), "1 GiB");
    assert_eq!(bytes_text(1536 * KIB), "1536 KiB");
    assert_eq!(bytes_text(7), "7");
    assert_eq!(bytes_text(0), "0");
}

#[test]
fn numbers_switches_words_and_lists_are_read() {
    assert_eq!(number("30", 1..=3650), Ok(30));
    assert!(number("0", 1..=3650).is_err());
    assert!(number("3651", 1..=3650).is_err());
    assert_eq!(switch("On"), Ok(true));
    assert_eq!(switch("0"), Ok(false));
    assert!(switch("maybe").is_err());
    assert_eq!(word("AWS", &[("aws", 1), ("embedded", 2)]), Ok(1));
    assert_eq!(
        word("embeded", &[("aws", 1), ("embedded", 2)]),
        Err("it is one of aws, embedded; did you mean `embedded`?".to_owned())
    );
    assert_eq!(list("a, b"), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert!(list("a,,b").is_err());
    assert!(list("a,").is_err());
}
