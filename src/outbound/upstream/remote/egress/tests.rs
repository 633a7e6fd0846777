//! Spellings of addresses, names and what they lead to, and networks that never pass.

use proptest::prelude::*;

use super::*;

/// Names and what they lead to.
struct Names(Vec<(&'static str, &'static str)>);

impl Lookup for Names {
    fn lookup<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.0.iter().filter(|(name, _)| *name == host);
        let found = found.map(|(_, address)| address.parse().unwrap()).collect();
        futures::future::ready(Ok(found)).boxed()
    }
}

fn policy(rules: &[&str], loopback_http: bool) -> EgressPolicy {
    let rules = rules.iter().map(|rule| rule.parse().unwrap());
    EgressPolicy::new(rules.collect(), loopback_http)
}

fn admits(policy: &EgressPolicy, url: &str) -> Result<String, ErrorKind> {
    let kind = match url.starts_with("ws") {
        true => RemoteKind::Websocket,
        false => RemoteKind::Http,
    };
    let admitted = policy.admit(kind, url).map(String::from);
    admitted.map_err(|error| error.kind())
}

async fn leads(gate: &Gate, host: &str) -> Result<Vec<String>, Blocked> {
    let found = gate.addresses(host).await?;
    Ok(found.iter().map(IpAddr::to_string).collect())
}

/// Hosts that are no public address, however they are written.
const NOT_PUBLIC: [&str; 98] = [
    // This machine.
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "0177.0.0.1",
    "0177.1",
    "0x7f.0.0.1",
    "0x7f.1",
    "0x7F000001",
    "0x7f000001.",
    "2130706433",
    "017700000001",
    "00000177.0.0.1",
    "127.0.0.0x1",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "127.0.0.1",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "127.0.0.1。",
    "0",
    "0.0.0.0",
    "0x0",
    "0.0.0.1",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:7f00:1::1]",
    "[2001:0:7f00:1::]",
    "[2001:0:808:808::80ff:fffe]",
    "[2600::5efe:127.0.0.1]",
    "[2600::200:5efe:10.0.0.1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "foo.localhost",
    "ｌｏｃａｌｈｏｓｔ",
    "%6cocalhost",
    // Private and shared networks.
    "10.0.0.1",
    "10.1",
    "012.0.0.1",
    "0xa.0.0.1",
    "167772161",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.1",
    "3232235521",
    "0xc0a80001",
    "100.64.0.1",
    "100.127.255.255",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fec0::1]",
    "[fe80::1]",
    "[febf::1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:c0a8:1]",
    "[64:ff9b::10.0.0.1]",
    "[2002:a00:1::]",
    // Where machines learn what they may do.
    "169.254.169.254",
    "169.254.169.254.",
    "169.254.43518",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "168.63.129.16",
    "[fd00:ec2::254]",
    "[fd00:0ec2:0:0:0:0:0:254]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    // Networks with a purpose of their own.
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "[2001:db8::1]",
    "[ff02::1]",
];

#[test]
fn no_spelling_of_an_address_that_is_not_public_passes() {
    for host in NOT_PUBLIC {
        for policy in [policy(&[], false), policy(&["8.8.8.8", "a.example"], false)] {
            for scheme in ["https", "wss"] {
                let url = format!("{scheme}://{host}:8443/mcp");
                assert_eq!(admits(&policy, &url), Err(ErrorKind::NotSupported), "{url}");
            }
        }
    }
}

#[test]
fn public_addresses_and_names_pass() {
    let policy = policy(&[], false);
    for host in [
        "8.8.8.8",
        "1.1",
        "134744072",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "[2600:1f18::1]",
        "[64:ff9b::808:808]",
        "[::ffff:8.8.8.8]",
        "mcp.example.com",
        "mcp.example.com.",
        "xn--mnchen-3ya.example",
        "münchen.example",
        "localhost.example.com",
    ] {
        admits(&policy, &format!("https://{host}/mcp"))
            .unwrap_or_else(|kind| panic!("{host} {kind:?}"));
    }
}

#[test]
fn a_url_says_nothing_but_where_the_server_is() {
    let policy = policy(&["127.0.0.1"], true);
    for url in [
        "",
        "mcp.example.com",
        "ftp://mcp.example.com",
        "file:///etc/passwd",
        "unix:///run/x",
        "https://",
        "https:///",
        "https://user@mcp.example.com/",
        "https://user:secret@mcp.example.com/",
        "https://:secret@mcp.example.com/",
        "https://mcp.example.com/#",
        "https://mcp.example.com/#x",
        "https://mcp.example.com:0/",
        "https://mcp.example.com:65536/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://1.2.3.4.5/",
        "https://256.0.0.1/",
        "https://127.0.0.0x100/",
        "https://09.0.0.1/",
        "https://a b/",
        "https://[::1/",
        "wss://mcp.example.com/",
    ] {
        let error = policy.admit(RemoteKind::Http, url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{url}");
        assert!(
            !format!("{error:?}{:?}", error.fix_text()).contains("secret"),
            "{url}"
        );
        assert!(error.fix_text().is_some());
    }
    let error = policy
        .admit(RemoteKind::Websocket, "https://mcp.example.com")
        .unwrap_err();
    assert_eq!(error.details()["parameter"], "url");
    let error = policy.admit_token_url("wss://mcp.example.com").unwrap_err();
    assert_eq!(error.details()["parameter"], "credentials.token_url");
    let long = |bytes: usize| format!("https://a.example/{}", "x".repeat(bytes - 18));
    admits(&policy, &long(URL_BYTES_MAX)).unwrap();
    admits(&policy, &long(URL_BYTES_MAX + 1)).unwrap_err();
}

#[test]
fn without_tls_only_this_machine_is_reached_and_only_where_allowed() {
    let (off, on) = (
        policy(&["10.0.0.0/8", "127.0.0.1"], false),
        policy(&["10.0.0.0/8"], true),
    );
    for here in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "127.1",
        "a.localhost",
        "localhost.",
    ] {
        for scheme in ["http", "ws"] {
            let url = format!("{scheme}://{here}:8000/mcp");
            assert_eq!(admits(&off, &url), Err(ErrorKind::NotSupported), "{url}");
            admits(&on, &url).unwrap();
        }
        admits(&on, &format!("https://{here}/")).unwrap();
    }
    for elsewhere in [
        "mcp.example.com",
        "10.0.0.1",
        "8.8.8.8",
        "0.0.0.0",
        "localhost.example.com",
    ] {
        let url = format!("http://{elsewhere}/");
        assert_eq!(admits(&on, &url), Err(ErrorKind::NotSupported), "{url}");
    }
}

#[tokio::test]
async fn a_name_leads_only_to_what_may_be_reached() {
    let names = || {
        Arc::new(Names(vec![
            ("public.example", "8.8.8.8"),
            ("inside.example", "10.0.0.7"),
            ("mixed.example", "169.254.169.254"),
            ("mixed.example", "127.0.0.1"),
            ("mixed.example", "::ffff:10.0.0.7"),
            ("mixed.example", "9.9.9.9"),
            ("loop.example", "127.0.0.1"),
            ("meta.example", "169.254.169.254"),
            ("meta.example", "64:ff9b::a9fe:a9fe"),
            ("localhost", "9.9.9.9"),
        ]))
    };
    let gate = |rules: &[&str], loopback| Gate::new(Arc::new(policy(rules, loopback)), names());
    let closed = gate(&[], false);
    assert_eq!(leads(&closed, "public.example").await.unwrap(), ["8.8.8.8"]);
    assert_eq!(leads(&closed, "mixed.example").await.unwrap(), ["9.9.9.9"]);
    for refused in [
        "inside.example",
        "loop.example",
        "meta.example",
        "localhost",
        "127.0.0.1",
        "[::1]",
    ] {
        let blocked = leads(&closed, refused).await;
        assert!(matches!(blocked, Err(Blocked::Refused)), "{refused}");
    }
    assert!(matches!(
        leads(&closed, "gone.example").await,
        Err(Blocked::Nowhere)
    ));

    // The machine's own name is no matter of a name server, and other names do not become it.
    let local = gate(&[], true);
    assert_eq!(
        leads(&local, "localhost").await.unwrap(),
        ["127.0.0.1", "::1"]
    );
    assert!(matches!(
        leads(&local, "loop.example").await,
        Err(Blocked::Refused)
    ));

    for rules in [["10.0.0.0/8"], ["10.0.0.7"], ["inside.example"]] {
        let listed = gate(&rules, false);
        assert_eq!(
            leads(&listed, "inside.example").await.unwrap(),
            ["10.0.0.7"]
        );
        assert!(matches!(
            leads(&listed, "loop.example").await,
            Err(Blocked::Refused)
        ));
    }

    // Metadata are reached where they are listed one by one, and not among others.
    for rules in [
        ["0.0.0.0/0"],
        ["169.254.0.0/16"],
        ["meta.example"],
        ["::/0"],
    ] {
        let blocked = leads(&gate(&rules, true), "meta.example").await;
        assert!(matches!(blocked, Err(Blocked::Refused)), "{rules:?}");
    }
    let listed = leads(&gate(&["169.254.169.254"], false), "meta.example")
        .await
        .unwrap();
    assert_eq!(listed, ["169.254.169.254", "64:ff9b::a9fe:a9fe"]);
}

#[tokio::test]
async fn a_name_of_many_addresses_is_tried_so_often_and_no_more() {
    let many = |count: usize| Arc::new(Names(vec![("many.example", "8.8.8.8"); count]));
    for (count, tried) in [
        (ADDRESSES_MAX, ADDRESSES_MAX),
        (ADDRESSES_MAX + 1, ADDRESSES_MAX),
    ] {
        let gate = Gate::new(Arc::default(), many(count));
        assert_eq!(leads(&gate, "many.example").await.unwrap().len(), tried);
    }
}

/// What is not public, as networks, beside the tables that are being tested.
fn refused_v4() -> impl Strategy<Value = Ipv4Addr> {
    let of = |base: u32, bits: u32| {
        any::<u32>().prop_map(move |random| {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            Ipv4Addr::from_bits((base & !host) | (random & host))
        })
    };
    prop_oneof![
        of(0x0000_0000, 8),
        of(0x0a00_0000, 8),
        of(0x6440_0000, 10),
        of(0x7f00_0000, 8),
        of(0xa9fe_0000, 16),
        of(0xac10_0000, 12),
        of(0xc0a8_0000, 16),
        of(0xc612_0000, 15),
        of(0xe000_0000, 3),
    ]
}

proptest! {
    #[test]
    fn no_refused_network_passes_whatever_it_is_wrapped_in(inner in refused_v4(), noise in any::<[u16; 8]>()) {
        let [a, b, c, d] = inner.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let wrapped = [
            IpAddr::V4(inner),
            IpAddr::V6(inner.to_ipv6_mapped()),
            IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low)),
            IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)),
            IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 1, noise[0], noise[1], noise[2], high, low)),
            IpAddr::V6(Ipv6Addr::new(0x2002, high, low, noise[0], noise[1], noise[2], noise[3], noise[4])),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0, high, low, noise[0], noise[1], noise[2], noise[3])),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0, 0x808, 0x808, noise[0], noise[1], !high, !low)),
            IpAddr::V6(Ipv6Addr::new(0x2600, noise[0], noise[1], noise[2], 0, 0x5efe, high, low)),
        ];
        let policy = policy(&[], false);
        for address in wrapped {
            prop_assert!(!policy.permits("mcp.example.com", address), "{}", address);
            let url = format!("https://{}/", SocketAddr::new(address, 8443));
            prop_assert_eq!(admits(&policy, &url), Err(ErrorKind::NotSupported));
        }
        let number = format!("https://{}/", inner.to_bits());
        prop_assert_eq!(admits(&policy, &number), Err(ErrorKind::NotSupported));
    }

    #[test]
    fn of_ipv6_only_global_unicast_passes(segments in any::<[u16; 8]>()) {
        let address = Ipv6Addr::from(segments);
        let policy = policy(&[], false);
        if policy.permits("mcp.example.com", IpAddr::V6(address)) {
            let [first, second, ..] = segments;
            prop_assert!((0x2000..0x4000).contains(&first) || (first, second) == (0x64, 0xff9b));
        }
    }

    #[test]
    fn no_host_makes_it_panic(host in "\\PC{0,40}") {
        let _ = admits(&policy(&[], true), &format!("https://{host}/"));
    }
}
