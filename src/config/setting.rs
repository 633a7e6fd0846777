//! The table of settings: the name, the meaning and the default of each.

/// What a setting's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A whole number.
    Number,
    /// A number of bytes, which may carry KiB, MiB or GiB.
    Bytes,
    /// `true` or `false`.
    Switch,
    /// Texts separated by commas.
    List,
    /// A file or a folder.
    Path,
}

/// One setting. Its flag and its key in the file follow from its variable's name.
#[derive(Debug)]
pub struct Setting {
    /// The variable in the environment.
    pub variable: &'static str,
    /// A further variable that is read where the first one is unset.
    pub also: Option<&'static str>,
    /// What its value looks like.
    pub kind: Kind,
    /// What it is for, as a sentence without its full stop.
    pub meaning: &'static str,
    /// What holds when it is not set, in words.
    pub default: &'static str,
    /// A value that it may have, for examples.
    pub example: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// What all of our own variables begin with.
pub const PREFIX: &str = "AGENT_MESH_";
/// Variables that steer tests only; they are no settings and no mistakes.
pub(crate) const TEST_PREFIX: &str = "AGENT_MESH_TEST_";

macro_rules! settings {
    ($($name:ident = $variable:literal $(or $also:literal)? $(as $secret:ident)?, $kind:expr, $example:literal, $default:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $name: Setting = Setting {
                variable: $variable,
                also: settings!(@also $($also)?),
                kind: $kind,
                meaning: $meaning,
                default: $default,
                example: $example,
                secret: settings!(@secret $($secret)?),
            };
        )*

        /// Every setting that this version knows, in the order of documents.
        pub static SETTINGS: &[&Setting] = &[$(&$name),*];
    };
    (@secret) => { false };
    (@secret secret) => { true };
    (@also) => { None };
    (@also $also:literal) => { Some($also) };
}

settings! {
    BACKEND = "AGENT_MESH_BACKEND", Kind::Word(&["aws", "embedded"]), "embedded",
        "`aws` if one of the three resources is named, else `embedded`",
        "Where data is kept: in AWS, or in a folder of this machine";
    KV_TABLE = "AGENT_MESH_KV_TABLE", Kind::Text, "agent-mesh-kv", "`agent-mesh-kv`",
        "The DynamoDB table; naming it selects AWS";
    ARTIFACTS_BUCKET = "AGENT_MESH_ARTIFACTS_BUCKET", Kind::Text, "agent-mesh-artifacts", "`agent-mesh-artifacts`",
        "The S3 bucket; naming it selects AWS";
    EVENT_BUS = "AGENT_MESH_EVENT_BUS", Kind::Text, "agent-mesh-events", "`agent-mesh-events`",
        "The EventBridge bus; naming it selects AWS";
    REGION = "AWS_REGION" or "AWS_DEFAULT_REGION", Kind::Text, "us-west-2",
        "the profile's, else `us-west-2`",
        "The AWS region";
    BUCKET_OWNER = "AGENT_MESH_BUCKET_OWNER", Kind::Text, "123456789012",
        "the credentials' own account",
        "The account that must own the bucket, 12 digits";
    DATA_DIR = "AGENT_MESH_DATA_DIR", Kind::Path, "/var/lib/agent-mesh",
        "`agent-mesh` in the user's data folder",
        "The folder of the embedded backend";
    OUTBOX_DIR = "AGENT_MESH_OUTBOX_DIR", Kind::Path, "/var/lib/agent-mesh/outbox",
        "`outbox` in the data folder",
        "The folder that holds events until they are published; name a durable one where the machine's disk is not";
    TENANT_ID = "AGENT_MESH_TENANT_ID", Kind::Text, "acme", "`local`",
        "The tenant that calls under identity `env`";
    USER_ID = "AGENT_MESH_USER_ID", Kind::Text, "ada", "the login name",
        "The user who calls under identity `env`";
    ROLE = "AGENT_MESH_ROLE", Kind::Word(&["viewer", "user", "admin"]), "user",
        "`admin` for tenant `local`, else `user`",
        "The role of that user";
    IDENTITY = "AGENT_MESH_IDENTITY", Kind::Word(&["env", "jwt"]), "env", "`env`",
        "Who calls: the user that these settings name, or whom each request's token names";
    JWKS = "AGENT_MESH_JWKS", Kind::Text, "https://id.example/keys.json", "none",
        "The keys that sign tokens: a JWKS file, or its https URL; needed under identity `jwt`";
    JWT_ISSUER = "AGENT_MESH_JWT_ISSUER", Kind::List, "https://id.example", "none",
        "The issuers whose tokens are taken; needed under identity `jwt`";
    JWT_AUDIENCE = "AGENT_MESH_JWT_AUDIENCE", Kind::List, "agent-mesh", "none",
        "The audiences that a token may be meant for; needed under identity `jwt`";
    JWT_ALGORITHMS = "AGENT_MESH_JWT_ALGORITHMS", Kind::List, "EdDSA,ES256", "`EdDSA,ES256,RS256`",
        "How tokens may be signed";
    JWT_LIFETIME_MAX_S = "AGENT_MESH_JWT_LIFETIME_MAX_S", Kind::Number, "3600", "none",
        "The longest lifetime of a bearer token over HTTP, in seconds; tokens in messages have 300 s";
    JWT_LEEWAY_S = "AGENT_MESH_JWT_LEEWAY_S", Kind::Number, "5", "5",
        "How far the clocks of issuer and server may differ: 0 to 60 s";
    JWT_CLAIM_TENANT = "AGENT_MESH_JWT_CLAIM_TENANT", Kind::Text, "https://example.com/tenant", "`tenant_id`",
        "The claim of the tenant; dots lead into objects, a name with `/` or `:` is taken whole";
    JWT_CLAIM_USER = "AGENT_MESH_JWT_CLAIM_USER", Kind::Text, "preferred_username", "`sub`",
        "The claim of the user";
    JWT_CLAIM_ROLE = "AGENT_MESH_JWT_CLAIM_ROLE", Kind::Text, "realm_access.roles", "`role`",
        "The claim of the role: viewer, user or admin, or a list of which the greatest counts";
    JWT_CLAIM_SCOPE = "AGENT_MESH_JWT_CLAIM_SCOPE", Kind::Text, "scp", "`scope`",
        "The claim of the scopes that narrow the role; `none`: the role alone decides";
    TOKENS_FILE = "AGENT_MESH_TOKENS_FILE", Kind::Path, "/var/lib/agent-mesh/tokens.toml",
        "`tokens.toml` in the data folder",
        "The file of static tokens for HTTP, which `use_aws_mcp tokens` writes; reloaded when it changes";
    ANONYMOUS = "AGENT_MESH_ANONYMOUS", Kind::Switch, "true", "`false`",
        "Whether requests without a token are let in over HTTP, on this machine only";
    ANONYMOUS_TENANT = "AGENT_MESH_ANONYMOUS_TENANT", Kind::Text, "local", "`local`",
        "The tenant of requests without a token";
    ANONYMOUS_ROLE = "AGENT_MESH_ANONYMOUS_ROLE", Kind::Word(&["viewer", "user", "admin"]), "viewer", "`viewer`",
        "The role of requests without a token";
    TENANTS_FILE = "AGENT_MESH_TENANTS_FILE", Kind::Path, "/etc/agent-mesh/tenants.toml",
        "none: only the tenant that the environment names",
        "The file of tenants and limits, reloaded when it changes";
    TOOLSETS = "AGENT_MESH_TOOLSETS", Kind::List, "kv,artifacts,events", "all",
        "The families of tools that are offered: `kv`, `artifacts`, `events`, `workflows`, `integrations`";
    READ_ONLY = "AGENT_MESH_READ_ONLY", Kind::Switch, "true", "`false`",
        "Whether only tools that change nothing are offered";
    EVENT_READS = "AGENT_MESH_EVENT_READS", Kind::Word(&["each", "rollup"]), "each", "`each`",
        "One event for each read, or one for each tenant, tool and 10 s";
    OUTBOX_BYTES_MAX = "AGENT_MESH_OUTBOX_BYTES_MAX", Kind::Bytes, "1GiB", "1 GiB",
        "How much unpublished events may take on the disk: 1 MiB to 1 TiB";
    EVENT_RETENTION_DAYS = "AGENT_MESH_EVENT_RETENTION_DAYS", Kind::Number, "30", "30",
        "How long the history of events is kept: 1 to 3650 days";
    WORKFLOWS = "AGENT_MESH_WORKFLOWS", Kind::List,
        "refund=arn:aws:states:us-west-2:123456789012:stateMachine:refund",
        "none; embedded: the files `workflows/<name>.asl.json` of the data folder",
        "The state machines that every tenant may start, each as `name=ARN`";
    ALERT_DOMAINS = "AGENT_MESH_ALERT_DOMAINS", Kind::List, "example.com", "none",
        "The domains that alerts may be mailed to, without their subdomains";
    ALERT_TOPICS = "AGENT_MESH_ALERT_TOPICS", Kind::List,
        "ops=arn:aws:sns:us-west-2:123456789012:ops", "none",
        "The topics that alerts of every tenant may go to, each as `name=ARN`";
    NATIVE_RULES_MAX = "AGENT_MESH_NATIVE_RULES_MAX", Kind::Number, "10", "0",
        "How many rules of its own on the bus a tenant may have: 0 to 300";
    EVENTS_ROLE_ARN = "AGENT_MESH_EVENTS_ROLE_ARN", Kind::Text,
        "arn:aws:iam::123456789012:role/agent-mesh-events", "none",
        "The role that EventBridge takes to start the workflow of a native rule";
    AUTHORIZER_URL = "AGENT_MESH_AUTHORIZER_URL", Kind::Text, "https://policy.example", "none: only roles decide",
        "The policy service that is asked about each call, at `/verify` below this https URL";
    AUTHORIZER_KEY = "AGENT_MESH_AUTHORIZER_KEY" as secret, Kind::Text, "a-long-secret", "none",
        "The key that the policy service knows this server by; better in a file";
    AUTHORIZER_KEY_FILE = "AGENT_MESH_AUTHORIZER_KEY_FILE", Kind::Path, "/etc/agent-mesh/policy.key", "none",
        "The file of that key; wins over the key itself";
    AUTHORIZER_TIMEOUT_MS = "AGENT_MESH_AUTHORIZER_TIMEOUT_MS", Kind::Number, "500", "500",
        "How long one question may take: 10 to 10000 ms; a call that is not decided by then is refused";
    AUTHORIZER_CACHE_MS = "AGENT_MESH_AUTHORIZER_CACHE_MS", Kind::Number, "5000", "5000",
        "How long an answer is remembered: 0 to 60000 ms, and no longer than the service says";
    AUDIT_LOG = "AGENT_MESH_AUDIT_LOG", Kind::Path, "/var/log/agent-mesh/audit.jsonl", "none",
        "The file of the audit log: a line for each call, each bound to the one before it";
    AUDIT_BYTES_MAX = "AGENT_MESH_AUDIT_BYTES_MAX", Kind::Bytes, "100MiB", "100 MiB",
        "How large a file of the audit log becomes before the next one is begun: 1 MiB to 1 TiB";
    AUDIT_KEY_FILE = "AGENT_MESH_AUDIT_KEY_FILE", Kind::Path, "/etc/agent-mesh/audit.key",
        "none: lines are sealed with a plain hash",
        "The file of the key, of at least 32 bytes, that the lines are sealed with";
    AUDIT_REQUIRED = "AGENT_MESH_AUDIT_REQUIRED", Kind::Switch, "true", "`true`",
        "Whether calls are refused while the audit log cannot be written";
    ALLOWED_COMMANDS = "AGENT_MESH_ALLOWED_COMMANDS", Kind::List, "npx,/usr/local/bin/mcp-server", "none",
        "The programs that an admin under identity `env` may register: absolute paths, or names found in `PATH`";
    TEMPLATES_FILE = "AGENT_MESH_TEMPLATES_FILE", Kind::Path, "/etc/agent-mesh/templates.toml", "none",
        "The file of programs that any tenant may connect to, with slots for what each may set; read at start";
    CHILD_PATHS = "AGENT_MESH_CHILD_PATHS", Kind::List, "/srv/documents,/opt/tools", "none",
        "Further folders that the processes of integrations may read and run programs from";
    EGRESS_ALLOW = "AGENT_MESH_EGRESS_ALLOW", Kind::List, "mcp.corp.example,10.1.0.0/16", "none",
        "Hosts, addresses and networks that integrations may reach besides public ones";
    ALLOW_LOOPBACK_HTTP = "AGENT_MESH_ALLOW_LOOPBACK_HTTP", Kind::Switch, "true", "`false`",
        "Whether integrations may reach this machine over plain http";
    BIND = "AGENT_MESH_BIND", Kind::Text, "0.0.0.0:8080", "`127.0.0.1:8080`",
        "Where `serve` listens: an address of this machine and a port";
    PUBLIC_URL = "AGENT_MESH_PUBLIC_URL", Kind::Text, "https://mesh.example", "the address it listens on",
        "The address by which clients reach `serve`, as they write it";
    ALLOWED_HOSTS = "AGENT_MESH_ALLOWED_HOSTS", Kind::List, "mesh.internal.example", "none",
        "Further names that requests may call `serve` by in their `Host`";
    CORS_ORIGINS = "AGENT_MESH_CORS_ORIGINS", Kind::List, "https://app.example", "none",
        "The origins whose web pages may ask `serve`";
    CORS_HEADERS = "AGENT_MESH_CORS_HEADERS", Kind::List, "x-request-id", "none",
        "Further headers that those pages may send";
    CORS_CREDENTIALS = "AGENT_MESH_CORS_CREDENTIALS", Kind::Switch, "true", "`false`",
        "Whether browsers send cookies and certificates along for those pages";
    CORS_MAX_AGE_S = "AGENT_MESH_CORS_MAX_AGE_S", Kind::Number, "600", "600",
        "For how many seconds a browser need not ask again: 0 to 86400";
    TLS_CERT = "AGENT_MESH_TLS_CERT", Kind::Path, "/etc/agent-mesh/tls.crt", "none: plain HTTP",
        "The certificate of `serve` and those that signed it, as PEM; read anew when it changes";
    TLS_KEY = "AGENT_MESH_TLS_KEY", Kind::Path, "/etc/agent-mesh/tls.key", "none: plain HTTP",
        "The private key of that certificate, as PEM";
    STATE_KEYS = "AGENT_MESH_STATE_KEYS" as secret, Kind::List,
        "8B8TzTrlZ6SSjMXgqvlvWCsyaZoVcWgSRHdNqGYTqIk=", "one for each process, forgotten with it",
        "The keys that seal what clients carry, base64 of 32 bytes each; the first one seals, the others still open";
    CONNECTIONS_MAX = "AGENT_MESH_CONNECTIONS_MAX", Kind::Number, "16384", "16384",
        "The most connections that `serve` holds: 16 to 1000000, and three quarters of the files that it may open";
    STREAMS_MAX = "AGENT_MESH_STREAMS_MAX", Kind::Number, "4096", "4096",
        "The most sessions with an open stream, of which a tenant has a quarter at most: 4 to 1000000";
    DRAIN_DELAY_MS = "AGENT_MESH_DRAIN_DELAY_MS", Kind::Number, "5000", "0",
        "How long `serve` goes on with new requests once it is told to end, so that a load balancer can notice: 0 to 300000";
    DRAIN_TIME_MS = "AGENT_MESH_DRAIN_TIME_MS", Kind::Number, "30000", "10000",
        "How long requests may take to end after that: 0 to 300000";
    LOG_LEVEL = "LOG_LEVEL", Kind::Word(&["error", "warn", "info", "debug", "trace"]), "info", "`info`",
        "How much is logged";
    RUST_LOG = "RUST_LOG", Kind::Text, "info,agent_mesh=debug", "none",
        "How much is logged, module by module; wins over `LOG_LEVEL`";
    LOG_FORMAT = "LOG_FORMAT", Kind::Word(&["text", "json"]), "text", "`text`",
        "How log lines are written";
    LOG_DIR = "AGENT_MESH_LOG_DIR", Kind::Path, "/var/log/agent-mesh", "none: stderr only",
        "A folder that the log is written to as well, a file a day, 14 of them kept";
    METRICS_BIND = "AGENT_MESH_METRICS_BIND", Kind::Text, "127.0.0.1:9090", "none",
        "The address at which `serve` shows operators `/metrics` and `/health` of the whole process, without a sign-in";
    METRICS_TENANTS = "AGENT_MESH_METRICS_TENANTS", Kind::Number, "20", "0",
        "How many of the busiest tenants the metrics name: 0 to 100; all others are one, `(other)`";
    OTEL_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", Kind::Text, "http://127.0.0.1:4318", "none",
        "The OpenTelemetry collector that takes traces, OTLP over HTTP, at `/v1/traces` below this URL";
    OTEL_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Kind::Text, "http://127.0.0.1:4318/v1/traces",
        "`/v1/traces` of `OTEL_EXPORTER_OTLP_ENDPOINT`",
        "The URL itself that takes traces";
    OTEL_TRACES_SAMPLER = "OTEL_TRACES_SAMPLER",
        Kind::Word(&["always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"]),
        "parentbased_traceidratio", "`parentbased_always_on`",
        "Which traces are recorded";
    OTEL_TRACES_SAMPLER_ARG = "OTEL_TRACES_SAMPLER_ARG", Kind::Text, "0.1", "1",
        "The share of traces that a sampler by ratio records: 0 to 1";
    OTEL_SERVICE_NAME = "OTEL_SERVICE_NAME", Kind::Text, "agent-mesh", "`agent-mesh`",
        "What this process is called in traces";
}

impl Setting {
    /// Its name in a file: the variable's without its prefix, in lower case.
    pub fn key(&self) -> String {
        key_of(self.variable)
    }

    /// Its flag without the two dashes.
    pub fn flag(&self) -> String {
        self.key().replace('_', "-")
    }
}

/// The name in a file of the setting whose variable is `variable`.
pub(crate) fn key_of(variable: &str) -> String {
    variable
        .strip_prefix(PREFIX)
        .or_else(|| variable.strip_prefix("AWS_"))
        .unwrap_or(variable)
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_flag_and_a_key_follow_from_the_variable() {
        assert_eq!(KV_TABLE.flag(), "kv-table");
        assert_eq!(KV_TABLE.key(), "kv_table");
        assert_eq!(REGION.flag(), "region");
        assert_eq!(LOG_LEVEL.key(), "log_level");
    }

    #[test]
    fn no_two_settings_share_a_name() {
        let keys: BTreeSet<String> = SETTINGS.iter().map(|setting| setting.key()).collect();
        assert_eq!(keys.len(), SETTINGS.len());
    }
}
