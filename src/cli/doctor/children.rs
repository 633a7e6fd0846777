//! The processes of integrations: which may run, and what the system holds them to.

use super::report::Check;
use crate::config::setting::{ALLOWED_COMMANDS, TEMPLATES_FILE};
use crate::config::{Config, Identity};
use crate::outbound::upstream::child::{children_folder, folder, sandbox_support};

/// What may run, what holds it, and what does.
pub(super) fn look(config: &Config) -> Vec<Check> {
    let mut checks = vec![programs(config), sandbox(config)];
    let running = folder::list(&children_folder(&config.data_dir)).len();
    if running > 0 {
        let message = format!("{running} run; `use_aws_mcp integrations ps` lists them");
        checks.push(Check::ok("processes", message));
    }
    checks
}

/// The programs that the operator allows.
fn programs(config: &Config) -> Check {
    let integrations = &config.integrations;
    let templates: Vec<&str> = integrations.templates.keys().map(String::as_str).collect();
    let mut parts = Vec::new();
    if !templates.is_empty() {
        parts.push(format!("templates {}", templates.join(", ")));
    }
    let commands: Vec<&str> = integrations
        .allowed_commands
        .keys()
        .map(String::as_str)
        .collect();
    let by_token = matches!(config.identity, Identity::Jwt(_));
    if !commands.is_empty() && !by_token {
        parts.push(format!("commands {}", commands.join(", ")));
    }
    if !commands.is_empty() && by_token {
        return Check::warning(
            "programs",
            format!(
                "{} does nothing where callers are known by their tokens: they may have templates alone",
                ALLOWED_COMMANDS.variable
            ),
            format!(
                "write templates into the file that {} names",
                TEMPLATES_FILE.variable
            ),
        );
    }
    match parts.as_slice() {
        [] => Check::ok(
            "programs",
            "none may run: only remote servers can be integrated",
        ),
        parts => Check::ok("programs", parts.join("; ")),
    }
}

/// What the system holds a process to.
fn sandbox(config: &Config) -> Check {
    let support = sandbox_support();
    let kernel = match support.landlock_abi {
        0 => "no Landlock".to_owned(),
        abi => format!("Landlock {abi}"),
    };
    let Some(gaps) = support.gaps() else {
        return Check::ok(
            "sandbox",
            format!(
                "{kernel} and seccomp: processes are held to their files, TCP ports, signals and sockets, \
                 and end with the server; UDP is open to them"
            ),
        );
    };
    let message = format!("{kernel}: nothing holds processes to {gaps}");
    let fix = "run it on Linux 6.12 or later, with landlock among the kernel's security modules (lsm=) \
               and in containers a seccomp profile that allows landlock_* and seccomp";
    let templates = !config.integrations.templates.is_empty();
    match config.identity {
        Identity::Jwt(_) if templates => Check::fault(
            "sandbox",
            format!("{message}, so no template is started"),
            fix,
        ),
        Identity::Jwt(_) | Identity::Env => Check::warning("sandbox", message, fix),
    }
}
