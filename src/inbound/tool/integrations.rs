//! The tools that manage integrations: what a client sees of them, and their arguments.

pub mod register;
pub mod tools;

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::json;

use super::argument::{Argument, Arguments};
use super::description::{
    Description, Property, count, cursor, optional, required, result, text, texts_by_name,
};
use super::{CallFault, opened};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::{ConnectionId, Credentials, ServiceId};
use crate::mesh::service::integrations::{
    IntegrationApprove, IntegrationConnect, IntegrationDisconnect, IntegrationList,
    IntegrationTest, IntegrationUnregister,
};

/// The most members of `credentials` and of `settings`.
pub const MEMBERS_MAX: usize = 32;

/// The longest name of a member, and the longest text in `settings`: bytes.
const NAME_BYTES_MAX: usize = 128;
const SETTING_BYTES_MAX: usize = 4096;

/// `integration_connect`.
pub fn describe_connect() -> Description {
    Description {
        tool: Tool::IntegrationConnect,
        title: "Connect to an integration",
        text: "Connect yourself to a registered integration: a real handshake and its list of tools, in time \
               or not at all; where it fails nothing is kept. The connection is yours alone, and is opened \
               again by itself whenever it is used. Connect again to change what it was given. Then find \
               tools with mcp_list_tools. Credentials go into the secret store and come out nowhere; to keep \
               them out of the conversation use `use_aws_mcp secrets set` and `${secret:NAME}`.",
        arguments: vec![
            service_id(),
            connection(),
            optional(
                "credentials",
                texts_by_name(),
                "By its auth_method: api_key | token | username, password | client_id, client_secret, \
                 token_url, scope; and what `${credential:...}` names. Left out: those given before.",
            ),
            optional(
                "settings",
                texts_by_name(),
                "What fills the slots of a template. Left out: those given before.",
            ),
        ],
        one_of: Vec::new(),
        results: vec![
            result("service_id", text()),
            result("connection_id", text()),
            result("state", text()),
            result("server", json!({"type": "object"})),
            result("protocol_version", text()),
            result("tool_count", count()),
            result("held_back", json!({"type": "array"})),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// `integration_disconnect`.
pub fn describe_disconnect() -> Description {
    Description {
        tool: Tool::IntegrationDisconnect,
        title: "Disconnect from an integration",
        text: "End your connection to an integration, with its process and its credentials. The integration \
               stays registered, and others stay connected. Returns whether there was such a connection.",
        arguments: vec![service_id(), connection()],
        one_of: Vec::new(),
        results: vec![
            result("service_id", text()),
            result("connection_id", text()),
            result("existed", json!({"type": "boolean"})),
        ],
        destructive: true,
        idempotent: true,
    }
}

/// `integration_unregister`.
pub fn describe_unregister() -> Description {
    Description {
        tool: Tool::IntegrationUnregister,
        title: "Remove an integration",
        text: "Remove an integration from the tenant: the connections of all its users end, with their \
               credentials, and what was approved of its tools is forgotten. To end only your own connection \
               use integration_disconnect. Returns whether it was there.",
        arguments: vec![service_id()],
        one_of: Vec::new(),
        results: vec![
            result("service_id", text()),
            result("existed", json!({"type": "boolean"})),
            result("connections_ended", count()),
        ],
        destructive: true,
        idempotent: true,
    }
}

/// `integration_list`.
pub fn describe_list() -> Description {
    Description {
        tool: Tool::IntegrationList,
        title: "List integrations",
        text: "List the integrations of the tenant, your connections to each, how they are, and the tools that \
               are held back because they changed; administrators see the difference. Use mcp_list_tools to \
               find tools. Other users' connections are not shown.",
        arguments: vec![
            optional("service_id", text(), "Only this integration."),
            cursor(),
        ],
        one_of: Vec::new(),
        results: vec![
            result(
                "integrations",
                json!({"type": "array", "items": {"type": "object"}}),
            ),
            result("next_cursor", text()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// `integration_test`.
pub fn describe_test() -> Description {
    Description {
        tool: Tool::IntegrationTest,
        title: "Test a connection",
        text: "Ask an integration for a sign of life over your connection, which is opened if it is not open. \
               Returns how long that took. It calls none of its tools. Use it where calls fail, to see \
               whether the server or the tool is at fault.",
        arguments: vec![service_id(), connection()],
        one_of: Vec::new(),
        results: vec![
            result("service_id", text()),
            result("connection_id", text()),
            result("state", text()),
            result("latency_ms", json!({"type": "number"})),
            result("server", json!({"type": "object"})),
            result("protocol_version", text()),
            result("tool_count", count()),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// `integration_approve`.
pub fn describe_approve() -> Description {
    Description {
        tool: Tool::IntegrationApprove,
        title: "Approve a changed tool",
        text: "Approve what a tool of an integration says now. What tools say is pinned when they are first \
               seen; one that changes is held back alone until this. Look at the difference first: \
               integration_list shows it, with the `hash` to give here, so that nothing else is approved than \
               what was looked at.",
        arguments: vec![
            service_id(),
            required("tool", text(), "The tool, by the server's own name."),
            optional("hash", text(), "Approve only this definition."),
        ],
        one_of: Vec::new(),
        results: vec![
            result("service_id", text()),
            result("tool", text()),
            result("hash", text()),
            result(
                "change",
                json!({"type": "string", "enum": ["approved", "unchanged"]}),
            ),
            result("difference", json!({"type": "object"})),
        ],
        destructive: false,
        idempotent: true,
    }
}

/// The arguments of `integration_connect`.
pub fn connect(text: Option<&str>) -> Result<IntegrationConnect, Error> {
    let mut arguments = Arguments::of(text)?;
    let service = service(&mut arguments)?;
    let connection = connection_id(&mut arguments)?;
    let credentials: Option<BTreeMap<String, String>> = unshown(&mut arguments, "credentials")?;
    let credentials = credentials.map(|given| {
        let fields = given.into_iter();
        Credentials::of(fields.map(|(name, text)| (name, SecretString::from(text))))
    });
    let call = IntegrationConnect {
        service,
        connection,
        credentials: credentials.transpose()?,
        settings: members(&mut arguments, "settings", SETTING_BYTES_MAX)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `integration_disconnect`.
pub fn disconnect(text: Option<&str>) -> Result<IntegrationDisconnect, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = IntegrationDisconnect {
        service: service(&mut arguments)?,
        connection: connection_id(&mut arguments)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `integration_unregister`.
pub fn unregister(text: Option<&str>) -> Result<IntegrationUnregister, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = IntegrationUnregister {
        service: service(&mut arguments)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `integration_list`.
pub fn list(text: Option<&str>) -> Result<Result<IntegrationList, Error>, CallFault> {
    let parse = || {
        let mut arguments = Arguments::of(text)?;
        let call = IntegrationList {
            service: optional_service(&mut arguments)?,
            position: arguments.optional("cursor")?,
        };
        arguments.finish()?;
        Ok(call)
    };
    opened(parse(), |call| {
        let filters = call.filters();
        (&mut call.position, filters)
    })
}

/// The arguments of `integration_test`.
pub fn test(text: Option<&str>) -> Result<IntegrationTest, Error> {
    let mut arguments = Arguments::of(text)?;
    let call = IntegrationTest {
        service: service(&mut arguments)?,
        connection: connection_id(&mut arguments)?,
    };
    arguments.finish()?;
    Ok(call)
}

/// The arguments of `integration_approve`.
pub fn approve(text: Option<&str>) -> Result<IntegrationApprove, Error> {
    let mut arguments = Arguments::of(text)?;
    let service = service(&mut arguments)?;
    let tool = tool_name(&mut arguments)?;
    let hash: Option<String> = arguments.optional("hash")?;
    let hash = hash.map(|hash| {
        hash.parse().map_err(|_| {
            arguments
                .wrong("hash", "is no hash of a definition".to_owned())
                .fix("Take it from integration_list, or leave it out.")
        })
    });
    let call = IntegrationApprove {
        service,
        tool,
        hash: hash.transpose()?,
    };
    arguments.finish()?;
    Ok(call)
}

fn service_id() -> Property {
    required("service_id", text(), "The integration.")
}

fn connection() -> Property {
    optional(
        "connection_id",
        text(),
        "Which of your connections to it; `default` if left out.",
    )
}

/// The argument `service_id`.
pub(super) fn service(arguments: &mut Arguments<'_>) -> Result<ServiceId, Error> {
    let text: String = arguments.required("service_id")?;
    read_service(arguments, &text)
}

pub(super) fn optional_service(arguments: &mut Arguments<'_>) -> Result<Option<ServiceId>, Error> {
    let text: Option<String> = arguments.optional("service_id")?;
    text.map(|text| read_service(arguments, &text)).transpose()
}

fn read_service(arguments: &Arguments<'_>, text: &str) -> Result<ServiceId, Error> {
    text.parse().map_err(|error| {
        arguments
            .wrong("service_id", format!("{error}"))
            .fix("Use an id such as `github`.")
    })
}

/// The argument `connection_id`.
pub(super) fn connection_id(arguments: &mut Arguments<'_>) -> Result<ConnectionId, Error> {
    let text: Option<String> = arguments.optional("connection_id")?;
    let Some(text) = text else {
        return Ok(ConnectionId::default());
    };
    text.parse()
        .map_err(|error| arguments.wrong("connection_id", format!("{error}")))
}

/// The argument `tool`: the name of an upstream's tool.
fn tool_name(arguments: &mut Arguments<'_>) -> Result<String, Error> {
    let name: String = arguments.required("tool")?;
    match crate::mesh::integration::tools::is_tool_name(&name) {
        true => Ok(name),
        false => Err(arguments
            .wrong(
                "tool",
                "must be 1 to 128 of A-Z, a-z, 0-9 and _ . -".to_owned(),
            )
            .fix("Give the server's own name of the tool, without the integration's.")),
    }
}

/// The argument `name`, whose value is never shown again, not even where it is wrong.
pub(super) fn unshown<T: Argument>(
    arguments: &mut Arguments<'_>,
    name: &'static str,
) -> Result<Option<T>, Error> {
    match arguments.optional_json(name)? {
        None => Ok(None),
        Some(text) => match T::read(text) {
            Some(value) => Ok(Some(value)),
            None => Err(arguments.wrong(name, format!("must be {}", T::EXPECTED))),
        },
    }
}

/// The argument `name`: texts by name, of so many bytes at most, which are never shown again.
pub(super) fn members(
    arguments: &mut Arguments<'_>,
    name: &'static str,
    bytes_max: usize,
) -> Result<Option<BTreeMap<String, String>>, Error> {
    let Some(given) = unshown::<BTreeMap<String, String>>(arguments, name)? else {
        return Ok(None);
    };
    if given.len() > MEMBERS_MAX {
        let what = format!("has {} members; it may have {MEMBERS_MAX}", given.len());
        return Err(arguments.wrong(name, what));
    }
    for (position, (member, text)) in given.iter().enumerate() {
        let is_name = (1..=NAME_BYTES_MAX).contains(&member.len())
            && member
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !is_name {
            let what = format!(
                "has a member (number {}) whose name is not 1 to {NAME_BYTES_MAX} of A-Z, a-z, 0-9 and _ - .",
                position + 1
            );
            return Err(arguments.wrong(name, what));
        }
        if text.len() > bytes_max || text.contains('\0') {
            let what = format!("may have at most {bytes_max} bytes in `{member}`, and no NUL");
            return Err(arguments.wrong(name, what));
        }
    }
    Ok(Some(given))
}
