//! `integration_register`: what a client sees of it, and its arguments, by type of server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::argument::Arguments;
use super::super::description::{
    Description, one_of, optional, required, result, text, texts_by_name,
};
use super::{members, service, unshown};
use crate::mesh::Error;
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::direct::PATTERNS_MAX;
use crate::mesh::integration::unseen::Unseen;
use crate::mesh::integration::{
    AuthMethod, Definition, Endpoint, Program, RemoteAddress, RemoteKind, ToolPattern,
};
use crate::mesh::service::integrations::IntegrationRegister;

/// The longest name of an integration, description, category and capability: characters.
const NAME_CHARS_MAX: usize = 100;
const DESCRIPTION_CHARS_MAX: usize = 1000;
const WORD_CHARS_MAX: usize = 64;

/// The most capabilities and arguments.
const CAPABILITIES_MAX: usize = 32;
const ARGUMENTS_MAX: usize = 64;

/// The longest text of an argument, a variable, a header or a URL: bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// `integration_register`.
pub fn describe() -> Description {
    Description {
        tool: Tool::IntegrationRegister,
        title: "Register an integration",
        text: "Register another MCP server for the tenant; users connect with integration_connect. The \
               same again changes nothing, or `direct_tools` alone; all else under the same id is a conflict. \
               stdio: `template`, or `command` with `args` and `env` if the operator allows it. http, sse, \
               websocket: `url`, `headers`. No secrets: write `${secret:NAME}` (`use_aws_mcp secrets set NAME`) \
               or `${credential:FIELD}` of each connection.",
        arguments: vec![
            required("service_id", text(), "1 to 32 of a-z, 0-9 and -."),
            required("name", text(), "A name for people."),
            required(
                "server_type",
                json!({"type": "string", "enum": ["stdio", "http", "sse", "websocket"]}),
                "How it is reached.",
            ),
            optional("template", text(), "stdio: the operator's template."),
            optional("command", text(), "stdio: a program."),
            optional("args", texts(), "stdio: its arguments."),
            optional("env", texts_by_name(), "stdio: variables."),
            optional("url", text(), "Remote: https, or wss."),
            optional("headers", texts_by_name(), "Remote: of every request."),
            optional(
                "auth_method",
                one_of(&AuthMethod::ALL.map(AuthMethod::name)),
                "How one signs in.",
            ),
            optional("description", text(), "What it is good for."),
            optional("category", text(), "To group it by."),
            optional("capabilities", texts(), "Words to find it by."),
            optional(
                "direct_tools",
                texts(),
                "Listed as `<service_id>__<tool>`; `begin*` is many. Left out: as before.",
            ),
        ],
        one_of: Vec::new(),
        results: vec![
            result("service_id", text()),
            result("state", json!({"type": "string", "enum": ["registered"]})),
            result(
                "change",
                json!({"type": "string", "enum": ["created", "updated", "unchanged"]}),
            ),
        ],
        destructive: false,
        idempotent: true,
    }
}

fn texts() -> serde_json::Value {
    json!({"type": "array", "items": {"type": "string"}})
}

/// The arguments of `integration_register`.
pub fn parse(text: Option<&str>) -> Result<IntegrationRegister, Error> {
    let mut arguments = Arguments::of(text)?;
    let service = service(&mut arguments)?;
    let name: String = arguments.required("name")?;
    check_text(&arguments, "name", &name, NAME_CHARS_MAX)?;
    let given = Given::take(&mut arguments)?;
    let auth = auth_method(&mut arguments)?;
    let endpoint = given.endpoint(&mut arguments)?;
    let description = sentence(&mut arguments, "description", DESCRIPTION_CHARS_MAX)?;
    let category = sentence(&mut arguments, "category", WORD_CHARS_MAX)?;
    let capabilities: Vec<String> = arguments.or("capabilities", Vec::new())?;
    if capabilities.len() > CAPABILITIES_MAX {
        let what = format!("has {}; it may have {CAPABILITIES_MAX}", capabilities.len());
        return Err(arguments.wrong("capabilities", what));
    }
    for word in &capabilities {
        check_text(&arguments, "capabilities", word, WORD_CHARS_MAX)?;
    }
    let direct_tools = direct_tools(&mut arguments)?;
    let keeps_direct_tools = direct_tools.is_none();
    arguments.finish()?;
    Ok(IntegrationRegister {
        definition: Definition {
            service,
            name,
            endpoint,
            auth,
            description,
            category,
            capabilities,
            direct_tools: direct_tools.unwrap_or_default(),
        },
        keeps_direct_tools,
    })
}

/// What says how a server is reached, whichever of it belongs to its type.
struct Given {
    template: Option<String>,
    command: Option<String>,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
}

impl Given {
    fn take(arguments: &mut Arguments<'_>) -> Result<Self, Error> {
        let given = Self {
            template: unshown(arguments, "template")?,
            command: unshown(arguments, "command")?,
            args: unshown(arguments, "args")?,
            env: members(arguments, "env", TEXT_BYTES_MAX)?,
            url: unshown(arguments, "url")?,
            headers: members(arguments, "headers", TEXT_BYTES_MAX)?,
        };
        let texts = [
            ("template", &given.template),
            ("command", &given.command),
            ("url", &given.url),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                check_part(arguments, name, text)?;
            }
        }
        let args = given.args.as_deref().unwrap_or_default();
        if args.len() > ARGUMENTS_MAX {
            let what = format!("has {}; it may have {ARGUMENTS_MAX}", args.len());
            return Err(arguments.wrong("args", what));
        }
        for text in args {
            if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
                let what = format!("may have {TEXT_BYTES_MAX} bytes in each, and no NUL");
                return Err(arguments.wrong("args", what));
            }
        }
        Ok(given)
    }

    fn endpoint(self, arguments: &mut Arguments<'_>) -> Result<Endpoint, Error> {
        let server_type: String = arguments.required("server_type")?;
        let remote = |kind| Some(kind);
        let kind = match server_type.as_str() {
            "stdio" => None,
            "http" => remote(RemoteKind::Http),
            "sse" => remote(RemoteKind::Sse),
            "websocket" => remote(RemoteKind::Websocket),
            _ => {
                let what = "must be `stdio`, `http`, `sse` or `websocket`".to_owned();
                return Err(arguments.wrong("server_type", what));
            }
        };
        let foreign = match kind {
            None => vec![
                ("url", self.url.is_some()),
                ("headers", self.headers.is_some()),
            ],
            Some(_) => vec![
                ("template", self.template.is_some()),
                ("command", self.command.is_some()),
                ("args", self.args.is_some()),
                ("env", self.env.is_some()),
            ],
        };
        if let Some((name, _)) = foreign.into_iter().find(|(_, is_given)| *is_given) {
            let what = format!("is not for servers of type `{server_type}`");
            return Err(arguments.wrong(name, what).fix("Leave it out."));
        }
        match kind {
            None => self.program(arguments).map(Endpoint::Stdio),
            Some(kind) => self.address(arguments, kind).map(Endpoint::Remote),
        }
    }

    fn program(self, arguments: &Arguments<'_>) -> Result<Program, Error> {
        match (self.template, self.command) {
            (Some(_), Some(_)) => Err(arguments
                .wrong("command", "cannot be given beside `template`".to_owned())
                .fix("Give one of the two.")),
            (Some(template), None) => match self.args {
                Some(_) => Err(arguments
                    .wrong("args", "are the template's own".to_owned())
                    .fix("Leave them out; a connection's `settings` fill the template's slots.")),
                None => Ok(Program::Template {
                    template,
                    env: self.env.unwrap_or_default(),
                }),
            },
            (None, Some(command)) => Ok(Program::Command {
                command,
                args: self.args.unwrap_or_default(),
                env: self.env.unwrap_or_default(),
            }),
            (None, None) => {
                Err(arguments
                    .missing_json("template", "the name of one of the operator's templates"))
            }
        }
    }

    fn address(self, arguments: &Arguments<'_>, kind: RemoteKind) -> Result<RemoteAddress, Error> {
        let Some(url) = self.url else {
            return Err(arguments.missing_json("url", "where the server is"));
        };
        Ok(RemoteAddress {
            kind,
            url,
            headers: self.headers.unwrap_or_default(),
        })
    }
}

fn auth_method(arguments: &mut Arguments<'_>) -> Result<AuthMethod, Error> {
    let Some(word) = arguments.optional::<String>("auth_method")? else {
        return Ok(AuthMethod::None);
    };
    let known = AuthMethod::ALL
        .into_iter()
        .find(|method| method.name() == word);
    known.ok_or_else(|| {
        let words = AuthMethod::ALL.map(AuthMethod::name).join("`, `");
        arguments.wrong("auth_method", format!("must be one of `{words}`"))
    })
}

/// The tools that are listed directly, each once, in order, so that the same ones are the same list.
fn direct_tools(arguments: &mut Arguments<'_>) -> Result<Option<Vec<ToolPattern>>, Error> {
    let Some(given) = arguments.optional::<Vec<String>>("direct_tools")? else {
        return Ok(None);
    };
    if given.len() > PATTERNS_MAX {
        let what = format!("has {}; it may have {PATTERNS_MAX}", given.len());
        return Err(arguments.wrong("direct_tools", what));
    }
    let patterns: Result<BTreeSet<ToolPattern>, _> =
        given.iter().map(|text| text.parse()).collect();
    match patterns {
        Ok(patterns) => Ok(Some(patterns.into_iter().collect())),
        Err(what) => Err(arguments.wrong("direct_tools", format!("each {what}"))),
    }
}

/// A program, a template or a URL: something, on one line.
fn check_part(arguments: &Arguments<'_>, name: &str, text: &str) -> Result<(), Error> {
    let fits = (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    match fits {
        true => Ok(()),
        false => {
            let what = format!("must have 1 to {TEXT_BYTES_MAX} bytes and no control characters");
            Err(arguments.wrong(name, what))
        }
    }
}

fn sentence(
    arguments: &mut Arguments<'_>,
    name: &'static str,
    chars_max: usize,
) -> Result<Option<String>, Error> {
    let text: Option<String> = arguments.optional(name)?;
    if let Some(text) = &text {
        check_text(arguments, name, text, chars_max)?;
    }
    Ok(text)
}

/// A text that other users of the tenant will read: nothing in it may be unseen.
fn check_text(
    arguments: &Arguments<'_>,
    name: &str,
    text: &str,
    chars_max: usize,
) -> Result<(), Error> {
    let length = text.chars().count();
    let fits = (1..=chars_max).contains(&length) && !text.chars().any(char::is_control);
    if !fits {
        let what = format!("must have 1 to {chars_max} characters and no control characters");
        return Err(arguments.wrong(name, what));
    }
    match Unseen::of(text).is_none() {
        true => Ok(()),
        false => {
            let what = "must hold no invisible or direction-changing characters".to_owned();
            Err(arguments.wrong(name, what))
        }
    }
}
