//! What a client's file says of the servers that it starts and reaches.

use std::collections::BTreeMap;
use std::path::Path;

use jsonc_parser::parse_to_serde_value;
use serde_json::{Map, Value};

use crate::cli::init::client::Client;
use crate::cli::init::file::read_text;
use crate::cli::init::merge::options;
use crate::config::{Environment, SERVER_NAME};

/// The most servers of one client that are looked at.
pub(super) const SERVERS_MAX: usize = 200;

/// How this program is called where it is a client's server.
const OUR_PROGRAM: &str = "use_aws_mcp";

/// A server as a client has configured it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The client.
    pub(super) client: Client,
    /// What the client calls it.
    pub(super) name: String,
    /// Its members.
    pub(super) members: Map<String, Value>,
}

/// Every server in the file at `path` but this one; those of a project only where we are in it.
///
/// # Errors
/// The file cannot be read or is no JSON; the message names it and shows none of it.
pub(super) fn read(
    client: Client,
    path: &Path,
    environment: &Environment,
) -> Result<Vec<Found>, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = read_text(path).map_err(|error| told(&error))?;
    let text = text.trim_start_matches('\u{feff}');
    let parsed: Option<Value> = parse_to_serde_value(text, &options()).map_err(|error| {
        told(&format_args!(
            "line {}: this is no valid JSON",
            error.line_display()
        ))
    })?;
    let root = parsed.unwrap_or_default();
    let key = client.servers_key();
    let folder = environment.working_dir.to_string_lossy();
    let of_project = &root["projects"][&*folder][key];
    // What stands nearer goes before what stands for everyone.
    let mut servers = BTreeMap::new();
    for object in [&root[key], of_project]
        .into_iter()
        .filter_map(Value::as_object)
    {
        for (name, server) in object {
            if let Value::Object(members) = server {
                servers.insert(name.clone(), members.clone());
            }
        }
    }
    if servers.len() > SERVERS_MAX {
        return Err(told(&format_args!(
            "there are more than {SERVERS_MAX} servers"
        )));
    }
    let others = servers
        .into_iter()
        .filter(|(name, members)| name != SERVER_NAME && !is_ours(members));
    let found = others.map(|(name, members)| Found {
        client,
        name,
        members,
    });
    Ok(found.collect())
}

/// Whether a server is this program, under whatever name.
fn is_ours(members: &Map<String, Value>) -> bool {
    let command = members
        .get("command")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let program = command.rsplit(['/', '\\']).next().unwrap_or_default();
    program.trim_end_matches(".exe") == OUR_PROGRAM
}
