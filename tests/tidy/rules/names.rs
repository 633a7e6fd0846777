//! Rules for names: which file may name what.

use super::{Finding, Rule};
use crate::lexer::Word;
use crate::source::{Source, Tree};

/// Who may name whom.
pub(crate) const LAYERS: Rule = Rule {
    name: "inbound → mesh ← outbound; only app, cli and main know all three.",
    why: "The rules in mesh can then be read and tested without a protocol and without AWS.",
    remedy: "Name a trait of mesh instead, and join the two in src/app.rs.",
    check: |tree| {
        segments(tree, &["inbound", "outbound"], |path, name| {
            match layer(path) {
                Layer::Joins => true,
                Layer::Inbound => name == "inbound",
                Layer::Outbound => name == "outbound",
                Layer::Below => false,
            }
        })
    },
};

/// Who reads the environment.
pub(crate) const ENVIRONMENT: Rule = Rule {
    name: "Only src/config/ reads the environment.",
    why: "Every setting then has one name, one default and one check, and all mistakes are told at once.",
    remedy: "Add the setting to its file in src/config/ and pass the value on.",
    check: |tree| {
        each_word(tree, |source, word| {
            const READERS: [&str; 6] =
                ["var", "var_os", "vars", "vars_os", "set_var", "remove_var"];
            let names_it = READERS.contains(&word.text)
                && (source.follows(word, "env::") || imports_from(source, word, "env"));
            (names_it && !within(&source.path, "src/config"))
                .then(|| format!("it names `env::{}`", word.text))
        })
    },
};

/// Who names the protocol's library.
pub(crate) const RMCP: Rule = Rule {
    name: "Only inbound/ names rmcp on the server side, only outbound/upstream/ and cli/demo on the client side.",
    why: "Its types change with the protocol; what faces a client or an upstream is where that ends.",
    remedy: "Take what is needed as a type of mesh, and convert at the edge.",
    check: |tree| {
        each_word(tree, |source, word| {
            let (inbound, client) = (
                within(&source.path, "src/inbound"),
                rmcp_client(&source.path),
            );
            let what = match word.text {
                "rmcp" if source.is_segment(word) => !inbound && !client,
                "RoleServer" | "ServerHandler" | "serve_server" => !inbound,
                "RoleClient" | "ClientHandler" | "serve_client" => !client,
                _ => false,
            };
            what.then(|| format!("it names `{}`", word.text))
        })
    },
};

/// Who names AWS's libraries.
pub(crate) const AWS_SDK: Rule = Rule {
    name: "Only outbound/aws/ names an `aws_sdk_*` crate.",
    why: "Timeouts, retries, the expected owner and the mapping of errors stand there, once.",
    remedy: "Reach the service through a seam in src/mesh/store/, or add an operation to outbound/aws/.",
    check: |tree| {
        each_word(tree, |source, word| {
            let names_it = word.text.starts_with("aws_sdk_") && source.is_segment(word);
            (names_it && !within(&source.path, "src/outbound/aws"))
                .then(|| format!("it names `{}`", word.text))
        })
    },
};

/// Who forms the keys under which tenants' data lies.
pub(crate) const PHYSICAL_KEYS: Rule = Rule {
    name: "Only src/mesh/store/key.rs spells a physical key (`T#...`, `t/...`).",
    why: "A key formed elsewhere can name another tenant's data.",
    remedy: "Take the key from a handle, or add a form of key to src/mesh/store/key.rs.",
    check: |tree| {
        let mut findings = Vec::new();
        for source in tree.product() {
            if source.path == "src/mesh/store/key.rs" {
                continue;
            }
            for (line, literal) in &source.literals {
                if literal.starts_with("T#") || literal.starts_with("t/") {
                    let what = format!("it spells `{literal}`");
                    findings.push(Finding::new(&source.path, *line, what));
                }
            }
        }
        findings
    },
};

/// Who writes to stdout.
pub(crate) const STDOUT: Rule = Rule {
    name: "Only inbound/transport/ and cli/output.rs write to stdout.",
    why: "stdout carries JSON-RPC and nothing else: one stray line breaks a client's session.",
    remedy: "Log with `tracing`, or print a command's result through src/cli/output.rs.",
    check: |tree| {
        each_word(tree, |source, word| {
            let writes = match word.text {
                "println" | "print" => source.precedes(word, "!"),
                // `command.stdout(...)` sets a child's.
                "stdout" => source.is_segment(word),
                "Stdout" | "StdoutLock" => true,
                _ => false,
            };
            let allowed =
                source.path == "src/cli/output.rs" || within(&source.path, "src/inbound/transport");
            (writes && !allowed).then(|| format!("it names `{}`", word.text))
        })
    },
};

/// Where time comes from.
pub(crate) const TIME: Rule = Rule {
    name: "Time comes from a `Clock`; few files ask the machine.",
    why: "What depends on time can then be tested without waiting, and with a clock that jumps.",
    remedy: "Take `Arc<dyn Clock>`, or `now` as an argument. Where a thread really waits for another \
             process, add the file to ASK_THE_MACHINE in tests/tidy/rules/names.rs.",
    check: |tree| {
        each_word(tree, |source, word| {
            let asks = word.text == "now"
                && ["Instant::", "SystemTime::", "Zoned::", "jiff::Timestamp::"]
                    .iter()
                    .any(|of| source.follows(word, of))
                && !is_of_the_runtime(source);
            (asks && !ASK_THE_MACHINE.contains(&source.path.as_str()))
                .then(|| "it asks the machine for the time".to_owned())
        })
    },
};

/// Whether the file's `Instant` is that of the runtime's timers, which a test can stop and move: what waits
/// by such a timer reckons with it too.
fn is_of_the_runtime(source: &Source) -> bool {
    source.text.contains("use tokio::time::Instant;")
}

/// The clock itself, and where a thread is blocked until another process lets go of the embedded cloud: no
/// clock of ours moves while it sleeps.
const ASK_THE_MACHINE: [&str; 3] = [
    "src/mesh/clock.rs",
    "src/outbound/embedded/lane.rs",
    "src/outbound/embedded/lock.rs",
];

enum Layer {
    Inbound,
    Outbound,
    /// `app`, `cli` and `main`, which join the others.
    Joins,
    /// What lies below both: mesh, configuration, telemetry, platform. `lib.rs` declares all and names none.
    Below,
}

fn layer(path: &str) -> Layer {
    let module = path.trim_start_matches("src/").split(['/', '.']).next();
    match module {
        Some("inbound") => Layer::Inbound,
        Some("outbound") => Layer::Outbound,
        Some("app" | "cli" | "main") => Layer::Joins,
        _ => Layer::Below,
    }
}

/// Whether `path` is `module` itself, a file `module.rs`, or lies below it.
fn within(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn rmcp_client(path: &str) -> bool {
    within(path, "src/outbound/upstream") || within(path, "src/cli/demo")
}

/// Whether `word` is imported from a module called `module`.
fn imports_from(source: &Source, word: Word<'_>, module: &str) -> bool {
    source.import_before(word).is_some_and(|import| {
        crate::lexer::words(import)
            .iter()
            .any(|word| word.text == module)
    })
}

/// Where the product names one of `names` as a module that its file may not name.
fn segments(tree: &Tree, names: &[&str], may: fn(&str, &str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.product() {
        for word in source.words() {
            let names_it = names.contains(&word.text) && source.is_segment(word);
            if names_it && !may(&source.path, word.text) {
                let what = format!("it names `{}`", word.text);
                findings.push(Finding::new(&source.path, word.line, what));
            }
        }
    }
    findings
}

/// What `check` has against the words of the product.
fn each_word(tree: &Tree, check: impl Fn(&Source, Word<'_>) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.product() {
        for word in source.words() {
            if let Some(what) = check(source, word) {
                findings.push(Finding::new(&source.path, word.line, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::found;

    /// `text` breaks `rule` at its first line in each of `bad` and in none of `good`.
    fn splits(rule: &Rule, text: &str, bad: &[&str], good: &[&str]) {
        for path in bad {
            let found = found(rule, &[(path, text)]);
            assert_eq!(found, [format!("{path}:1")], "{text} in {path}");
        }
        for path in good {
            let found = found(rule, &[(path, text)]);
            assert!(found.is_empty(), "{text} in {path}: {found:?}");
        }
    }

    #[test]
    fn a_layer_that_names_one_it_may_not_is_found() {
        let inbound = ["src/inbound.rs", "src/inbound/tool/kv.rs"];
        let outbound = ["src/outbound.rs", "src/outbound/aws/table.rs"];
        let below = [
            "src/mesh.rs",
            "src/mesh/call.rs",
            "src/config/log.rs",
            "src/telemetry.rs",
        ];
        let joins = ["src/app.rs", "src/cli.rs", "src/cli/demo.rs", "src/main.rs"];
        for text in [
            "use crate::outbound::aws;\n",
            "use crate::{mesh, outbound};\n",
            "fn f() { super::outbound::f() }\n",
            "fn f(x: &outbound::X) {}\n",
        ] {
            splits(&LAYERS, text, &inbound, &outbound);
            splits(&LAYERS, text, &below, &joins);
        }
        splits(&LAYERS, "use crate::inbound::tool;\n", &outbound, &inbound);
        splits(&LAYERS, "use crate::inbound::tool;\n", &below, &joins);
        for harmless in [
            "pub mod outbound;\n",
            "fn f(outbound: u8) { g(outbound) }\n",
            "//! outbound::aws.\n",
            "#[cfg(test)]\nmod tests {\n    use crate::outbound::aws;\n}\n",
        ] {
            splits(&LAYERS, harmless, &[], &["src/mesh/call.rs", "src/lib.rs"]);
        }
    }

    #[test]
    fn a_file_that_reads_the_environment_is_found() {
        for text in [
            "fn f() { std::env::var(\"A\"); }\n",
            "fn f() { env::vars_os(); }\n",
            "use std::env::{self, var_os};\n",
            "use std::env::var;\n",
        ] {
            let good = ["src/config.rs", "src/config/log.rs", "src/config/tests.rs"];
            splits(
                &ENVIRONMENT,
                text,
                &["src/app.rs", "src/configuration.rs"],
                &good,
            );
        }
        for harmless in [
            "fn f() { env!(\"CARGO_PKG_VERSION\"); }\n",
            "fn f() { let var = 1; var::x(var) }\n",
            "fn f() { std::env::temp_dir(); }\n",
        ] {
            splits(&ENVIRONMENT, harmless, &[], &["src/app.rs"]);
        }
    }

    #[test]
    fn a_file_that_names_rmcp_where_it_may_not_is_found() {
        let client = [
            "src/outbound/upstream/pool.rs",
            "src/cli/demo.rs",
            "src/cli/demo/client.rs",
        ];
        let inbound = ["src/inbound/server.rs"];
        let others = [
            "src/mesh/call.rs",
            "src/app.rs",
            "src/cli/doctor.rs",
            "src/outbound/aws.rs",
        ];
        for text in [
            "use rmcp::model::Tool;\n",
            "fn f(x: rmcp::Error) {}\n",
            "use {rmcp};\n",
        ] {
            splits(&RMCP, text, &others, &inbound);
            splits(&RMCP, text, &[], &client);
        }
        splits(&RMCP, "impl ServerHandler for X {}\n", &client, &inbound);
        splits(
            &RMCP,
            "type X = RunningService<RoleClient, ()>;\n",
            &inbound,
            &client,
        );
        splits(
            &RMCP,
            "fn f() { g(\"rmcp=warn\"); let rmcp = 1; }\n",
            &[],
            &others,
        );
    }

    #[test]
    fn a_file_that_names_an_sdk_is_found() {
        for text in [
            "use aws_sdk_s3::Client;\n",
            "fn f(client: &aws_sdk_dynamodb::Client) {}\n",
            "use {aws_sdk_sts as sts};\n",
        ] {
            let bad = [
                "src/outbound/embedded.rs",
                "src/outbound.rs",
                "src/cli/init.rs",
            ];
            let good = [
                "src/outbound/aws.rs",
                "src/outbound/aws/bus.rs",
                "src/app/tests.rs",
            ];
            splits(&AWS_SDK, text, &bad, &good);
        }
        let harmless = "fn f() { g(\"aws_sdk_s3=warn\"); } // aws_sdk_s3::Client\n";
        splits(&AWS_SDK, harmless, &[], &["src/telemetry.rs"]);
    }

    #[test]
    fn a_physical_key_that_is_spelt_elsewhere_is_found() {
        for text in [
            "fn f() { format!(\"T#{tenant}#KV\"); }\n",
            "const X: &str = \"t/acme/u\";\n",
            "const X: &str = r#\"T#acme\"#;\n",
            "const X: &[u8] = b\"t/\";\n",
        ] {
            let bad = ["src/mesh/service/kv.rs", "src/mesh/store/table.rs"];
            let good = ["src/mesh/store/key.rs", "src/mesh/store/key/tests.rs"];
            splits(&PHYSICAL_KEYS, text, &bad, &good);
        }
        let harmless = "//! \"T#\" is a key.\nconst X: &str = \"text/plain AT#\";\n";
        splits(&PHYSICAL_KEYS, harmless, &[], &["src/app.rs"]);
    }

    #[test]
    fn a_file_that_writes_to_stdout_is_found() {
        for text in [
            "fn f() { println!(\"x\"); }\n",
            "fn f() { anstream::print!(\"x\"); }\n",
            "fn f() { std::io::stdout(); }\n",
            "use tokio::io::{AsyncWrite, stdout};\n",
            "struct X(Stdout);\n",
        ] {
            let bad = [
                "src/mesh/call.rs",
                "src/inbound/server.rs",
                "src/cli/doctor.rs",
            ];
            let good = [
                "src/inbound/transport.rs",
                "src/inbound/transport/stdio.rs",
                "src/cli/output.rs",
                "src/mesh/call/tests.rs",
            ];
            splits(&STDOUT, text, &bad, &good);
        }
        let harmless =
            "fn f(child: X) { child.stdout(Stdio::piped()); eprintln!(\"x\"); let print = 1; }\n";
        splits(&STDOUT, harmless, &[], &["src/cli/demo.rs"]);
    }

    #[test]
    fn a_file_that_asks_the_machine_for_the_time_is_found() {
        for text in [
            "fn f() { std::time::Instant::now(); }\n",
            "fn f() { tokio::time::Instant::now(); }\n",
            "fn f() { let x = SystemTime::now; }\n",
        ] {
            let good = ["src/mesh/clock.rs", "src/app/tests.rs"];
            let bad = ["src/app.rs", "src/outbound/embedded/dynamodb.rs"];
            splits(&TIME, text, &bad, &good);
        }
        splits(
            &TIME,
            "fn f(now: T) { clock.now(); }\n",
            &[],
            &["src/app.rs"],
        );
    }
}
