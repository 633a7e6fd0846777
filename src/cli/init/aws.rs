//! `init aws`: shows what is there and what is missing on AWS, and creates the table, the bucket and the bus.

use std::io::{self, BufRead, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use super::super::output::Paint;
use super::super::{ExitStatus, Output, runtime, tell};
use crate::app;
use crate::config::Config;
use crate::config::setting::{ARTIFACTS_BUCKET, EVENT_BUS, KV_TABLE, REGION, Setting};
use crate::mesh::{Clock, Error, SystemClock};
use crate::outbound::aws::Connection;
use crate::outbound::aws::provision::{self, Differences, Plan, PlannedResource, Property};

/// How long work that does not heed its cancellation may hold up the end of the command.
const STRAGGLERS_TIME_MAX: Duration = Duration::from_millis(100);

/// What may be done.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The names are those of AGENT_MESH_KV_TABLE, AGENT_MESH_ARTIFACTS_BUCKET and \
                        AGENT_MESH_EVENT_BUS, or of the flags --kv-table, --artifacts-bucket and --event-bus. \
                        What is there is left as it is, and running it again finishes what was interrupted \
                        with --repair."
)]
pub(super) struct Aws {
    /// Show what would be created, and create nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Also change what is there and differs, as far as it can be changed in place
    #[arg(long)]
    repair: bool,
}

/// How it ended short of an error.
enum End {
    Done,
    /// Nothing was to be done, or nothing was to be done yet.
    Shown,
    /// The person said no, or could not be asked.
    Refused,
}

/// Shows the plan, asks, and carries it out.
pub(super) fn run(arguments: &Aws, config: &Config, output: &mut Output) -> ExitStatus {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&format!("the runtime could not be started: {error}"));
            return ExitStatus::Failure;
        }
    };
    let ended = runtime.block_on(set_up(arguments, config, output));
    runtime.shutdown_timeout(STRAGGLERS_TIME_MAX);
    match ended {
        Ok(End::Done) => {
            show_settings(config, output);
            ExitStatus::Success
        }
        Ok(End::Shown) => ExitStatus::Success,
        Ok(End::Refused) => ExitStatus::Failure,
        Err(error) => {
            tell(&error, output);
            ExitStatus::Failure
        }
    }
}

async fn set_up(arguments: &Aws, config: &Config, output: &mut Output) -> Result<End, Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let connection = Connection::new(app::aws_settings(config), clock);
    let plan = provision::plan(&connection).await?;
    show_plan(&plan, arguments.repair, output);
    let differences = if arguments.repair {
        Differences::Repair
    } else {
        Differences::Leave
    };
    let missing = plan
        .resources
        .iter()
        .filter(|resource| !resource.exists)
        .count();
    let repairs = plan
        .resources
        .iter()
        .filter(|resource| resource.exists)
        .flat_map(repairable);
    let repairs = if arguments.repair { repairs.count() } else { 0 };
    if missing + repairs == 0 {
        output.line("\nThere is nothing to do.");
        return Ok(End::Done);
    }
    if arguments.dry_run {
        output.line("\nThis was a dry run: nothing was created or changed.");
        return Ok(End::Shown);
    }
    if !arguments.yes && !confirmed(missing, repairs, output) {
        return Ok(End::Refused);
    }
    output.line("");
    provision::apply(&connection, &plan, differences, |step| {
        output.line(format!(
            "  {} {}: {}",
            Paint::Good.on("done"),
            step.resource,
            step.message
        ));
    })
    .await?;
    Ok(End::Done)
}

/// What differs and can be changed in place.
fn repairable(resource: &PlannedResource) -> impl Iterator<Item = &Property> {
    resource
        .differences()
        .filter(|property| property.can_change)
}

/// Whether the person in front of the terminal agrees; without one nobody can.
fn confirmed(missing: usize, repairs: usize, output: &mut Output) -> bool {
    if !io::stdin().is_terminal() {
        output.error("Nothing was created: there is nobody to ask; say --yes to go on without.");
        return false;
    }
    let changes = match repairs {
        0 => String::new(),
        repairs => format!(" and change {repairs} properties"),
    };
    output.text(&format!(
        "\nCreate {missing} resources{changes} in this account? [y/N] "
    ));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer).is_ok();
    let agreed = read && matches!(answer.trim(), "y" | "Y" | "yes");
    if !agreed {
        output.line("Nothing was created.");
    }
    agreed
}

fn show_plan(plan: &Plan, repair: bool, output: &mut Output) {
    let account = Paint::Strong.on(&plan.account);
    let region = Paint::Strong.on(&plan.region);
    output.line(format!("Account {account}, region {region}\n"));
    for resource in &plan.resources {
        let name = Paint::Strong.on(&resource.name);
        let differences = resource.differences().count();
        let verdict = match (resource.exists, differences) {
            (false, _) => Paint::Warning.on("will be created"),
            (true, 0) => Paint::Good.on("is there"),
            (true, 1) => Paint::Warning.on("is there, with 1 difference"),
            (true, count) => Paint::Warning.on(format!("is there, with {count} differences")),
        };
        output.line(format!("{} {name} {verdict}", resource.resource));
        for property in &resource.properties {
            output.line(line(property, resource.exists, repair));
        }
    }
}

/// One property: as it will be, as it is, or how it differs and what becomes of that.
fn line(property: &Property, exists: bool, repair: bool) -> String {
    let name = format!("{}:", property.name);
    if !exists {
        return format!("  + {name:24} {}", property.wanted);
    }
    if !property.differs() {
        return format!("    {name:24} {}", property.wanted);
    }
    let found = property.found.as_deref().unwrap_or("unknown");
    let what = match (property.can_change, repair) {
        (true, true) => "will be changed",
        (true, false) => "--repair changes it",
        (false, _) => "cannot be changed in place",
    };
    let text = format!(
        "  ! {name:24} {found}, expected {} ({what})",
        property.wanted
    );
    Paint::Warning.on(text)
}

/// The variables that make the server use what is there now.
fn show_settings(config: &Config, output: &mut Output) {
    output.line("\nTo use it, set these variables where the server runs:\n");
    let names = &config.resources;
    let resources: [(&Setting, &str); 3] = [
        (&KV_TABLE, &names.kv_table),
        (&ARTIFACTS_BUCKET, &names.artifacts_bucket),
        (&EVENT_BUS, &names.event_bus),
    ];
    for (setting, name) in resources {
        output.line(format!("  export {}={name}", setting.variable));
    }
    if let Some(region) = &config.region {
        output.line(format!("  export {}={region}", REGION.variable));
    }
    if let Some(profile) = &config.aws.profile {
        output.line(format!("  export AWS_PROFILE={profile}"));
    }
    output.line(
        "\nThen `use_aws_mcp doctor` checks it, and `use_aws_mcp init claude-desktop` (or claude-code,\n\
         cursor, vscode) hands these settings to a client.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(found: Option<&str>, can_change: bool) -> Property {
        Property {
            name: "encryption",
            wanted: "on".to_owned(),
            found: found.map(str::to_owned),
            can_change,
        }
    }

    #[test]
    fn a_property_tells_what_it_will_be_and_what_becomes_of_a_difference() {
        let text = |property: &Property, exists, repair| {
            let line = line(property, exists, repair);
            let line = anstream::adapter::strip_str(&line).to_string();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            text(&property(None, true), false, false),
            "+ encryption: on"
        );
        assert_eq!(
            text(&property(Some("on"), true), true, false),
            "encryption: on"
        );
        for (can_change, repair, expected) in [
            (
                true,
                false,
                "! encryption: off, expected on (--repair changes it)",
            ),
            (
                true,
                true,
                "! encryption: off, expected on (will be changed)",
            ),
            (
                false,
                true,
                "! encryption: off, expected on (cannot be changed in place)",
            ),
        ] {
            assert_eq!(
                text(&property(Some("off"), can_change), true, repair),
                expected
            );
        }
    }

    #[test]
    fn the_settings_to_set_are_the_three_names_and_a_region_that_was_named() {
        let flags = [
            (KV_TABLE.variable, "mine".to_owned()),
            (REGION.variable, "eu-west-1".to_owned()),
        ];
        let environment = crate::config::Environment {
            data_home: Some("/data".into()),
            ..Default::default()
        };
        let config = Config::from_sources(&flags.into(), &environment, None).unwrap();
        let (mut output, captured) = Output::captured();
        show_settings(&config, &mut output);
        for line in [
            "  export AGENT_MESH_KV_TABLE=mine\n",
            "  export AGENT_MESH_ARTIFACTS_BUCKET=agent-mesh-artifacts\n",
            "  export AGENT_MESH_EVENT_BUS=agent-mesh-events\n",
            "  export AWS_REGION=eu-west-1\n",
        ] {
            assert!(captured.stdout().contains(line), "{line}");
        }
    }
}
