//! The file of tenants: its example, its limits, and every mistake with its line.

use super::*;

fn parse_text(text: &str) -> Result<Parsed, ConfigErrors> {
    parse(Path::new("tenants.toml"), text, &SharedNames::default())
}

fn mistakes_of(text: &str) -> Vec<String> {
    let errors = parse_text(text).unwrap_err();
    errors.mistakes().iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_holds_every_limit_at_its_default() {
    let parsed = parse_text(EXAMPLE).unwrap();
    assert_eq!(*parsed.default_limits, Limits::default());
    for limit in LIMITS {
        assert!(
            EXAMPLE.contains(&format!("\n{} = ", limit.name)),
            "{}",
            limit.name
        );
    }
    let acme = &parsed.records[&"acme".parse().unwrap()];
    assert_eq!(acme.issuers, ["https://id.acme.example"]);
    let own = Limits {
        requests_per_minute: 6000,
        ..Limits::default()
    };
    assert_eq!(*acme.limits, own);
    let names = |names: &BTreeMap<String, String>| names.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&acme.workflows), ["refund"]);
    assert_eq!(names(&acme.alert_topics), ["ops"]);
}

#[test]
fn a_tenant_without_limits_shares_the_defaults() {
    let parsed = parse_text("[tenants.a]\n[tenants.b]\n").unwrap();
    let limits = |id: &str| &parsed.records[&id.parse().unwrap()].limits;
    assert!(Arc::ptr_eq(limits("a"), limits("b")));
}

#[test]
fn every_limit_reaches_its_own_field() {
    for (index, limit) in LIMITS.iter().enumerate() {
        let value = 7 + index;
        let text = format!("[defaults.limits]\n{} = {value}\n", limit.name);
        let parsed = parse_text(&text).unwrap();
        let shown = format!("{:?}", parsed.default_limits);
        assert!(
            shown.contains(&format!("{}: {value}", limit.name)),
            "{shown}"
        );
    }
    let fields = format!("{:?}", Limits::default()).matches(": ").count();
    assert_eq!(fields, LIMITS.len());
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let text = "\
[default.limits]
rules = 1
[defaults.limits]
requests_per_minut = 1
calls_in_flight = 0
s3_get = \"many\"
[tenants.Acme]
[tenants.good]
status = \"suspendet\"
issuers = [\"\", 5]
event_shards = 65
colour = \"red\"
[tenants.good.workflows]
refund = 1
Refund = 'arn:aws:states:us-west-2:123456789012:stateMachine:refund'
[tenants.good.alert_topics]
ops = 'arn'
[tenants]
flat = 1
";
    assert_eq!(
        mistakes_of(text),
        [
            "tenants.toml:1: default: there is no such setting; did you mean `defaults`?",
            "tenants.toml:4: defaults.limits.requests_per_minut: there is no such setting; did you mean `requests_per_minute`?",
            "tenants.toml:5: defaults.limits.calls_in_flight: 0 is not within 1 and 4294967295",
            "tenants.toml:6: defaults.limits.s3_get: it must be a whole number, not a text",
            "tenants.toml:7: tenants.Acme: a tenant id is 1 to 32 of a-z, 0-9 and -, begins with a letter or digit and does not end in -",
            "tenants.toml:9: tenants.good.status: it is one of active, suspended; did you mean `suspended`?",
            "tenants.toml:10: tenants.good.issuers: an issuer is empty",
            "tenants.toml:10: tenants.good.issuers: an issuer must be a text, not a whole number",
            "tenants.toml:11: tenants.good.event_shards: 65 is not within 1 and 64",
            "tenants.toml:12: tenants.good.colour: there is no such setting",
            "tenants.toml:14: tenants.good.workflows.refund: it must be a text, not a whole number",
            "tenants.toml:15: tenants.good.workflows.Refund: a name is 1 to 64 of a-z, 0-9 and . _ -, and begins with a letter or digit",
            "tenants.toml:17: tenants.good.alert_topics.ops: it must be a topic's ARN, like arn:aws:sns:us-west-2:123456789012:ops",
            "tenants.toml:19: tenants.flat: it must be a table, not a whole number",
        ]
    );
}

#[test]
fn numbers_hold_at_their_edges() {
    for good in [
        "event_shards = 64",
        "limits = {requests_per_minute = 1_000_000_000, rules = 0, artifact_bytes = 9223372036854775807}",
    ] {
        assert!(
            parse_text(&format!("[tenants.a]\n{good}")).is_ok(),
            "{good}"
        );
    }
    for bad in [
        "event_shards = 0",
        "limits = {requests_per_minute = 1_000_000_001}",
        "limits = {rules = -1}",
        "limits = {rules = 4294967296}",
        "limits = {artifact_bytes = 9223372036854775808}",
    ] {
        assert_eq!(
            mistakes_of(&format!("[tenants.a]\n{bad}")).len(),
            1,
            "{bad}"
        );
    }
}

#[test]
fn a_tenants_own_names_win_over_those_that_every_tenant_has() {
    let machine = |name: &str| format!("arn:aws:states:us-west-2:123456789012:stateMachine:{name}");
    let shared = SharedNames {
        workflows: Arc::new(
            [("refund", "all"), ("report", "all")]
                .map(|(name, of)| (name.to_owned(), machine(of)))
                .into(),
        ),
        alert_topics: Arc::default(),
    };
    let text = format!(
        "[tenants.a]\n[tenants.b.workflows]\nrefund = \"{}\"\nship = \"{}\"\n",
        machine("own"),
        machine("own"),
    );
    let parsed = parse(Path::new("tenants.toml"), &text, &shared).unwrap();
    let of = |tenant: &str| Arc::clone(&parsed.records[&tenant.parse().unwrap()].workflows);
    assert!(Arc::ptr_eq(&of("a"), &shared.workflows));
    let named: Vec<(String, String)> = of("b").as_ref().clone().into_iter().collect();
    assert_eq!(
        named,
        [("refund", "own"), ("report", "all"), ("ship", "own")]
            .map(|(name, of)| (name.to_owned(), machine(of)))
    );
    assert!(
        parsed.records[&"b".parse().unwrap()]
            .alert_topics
            .is_empty()
    );
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line() {
    let mistakes = mistakes_of("[tenants.a]\nstatus = \n");
    assert!(mistakes[0].starts_with("tenants.toml:2: "), "{mistakes:?}");
}
