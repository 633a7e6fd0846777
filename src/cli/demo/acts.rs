//! The demonstration, act by act; every step checks what came back.

mod data;
mod record;

use std::collections::BTreeMap;

use serde_json::json;

use super::super::version;
use super::narrator::{Narrator, Wrong};
use super::people::{ADA, CLEO};
use super::server::{Log, Server, ServerSettings};
use super::token::Signer;

/// Plays all of it. Whatever happens, the server is gone afterwards.
pub(super) async fn play(
    settings: &ServerSettings,
    signer: &Signer,
    narrator: &mut Narrator<'_>,
) -> Result<(), Wrong> {
    greet(narrator);
    let log = Log::default();
    let played = play_all(settings, signer, &log, narrator).await;
    let log = log.text();
    if played.is_err() && !log.trim().is_empty() {
        narrator.complain(&format!("\nThe server's log:\n{log}"));
    }
    played
}

async fn play_all(
    settings: &ServerSettings,
    signer: &Signer,
    log: &Log,
    narrator: &mut Narrator<'_>,
) -> Result<(), Wrong> {
    let server = hello(settings, signer, log, narrator).await?;
    data::values(server.client(), narrator).await?;
    data::tenants(server.client(), narrator).await?;
    data::artifacts(server.client(), narrator).await?;
    record::events(server.client(), narrator).await?;
    record::limits(server.client(), narrator).await?;
    let server = crash(server, settings, signer, log, narrator).await?;
    leave(server, narrator).await
}

fn greet(narrator: &mut Narrator<'_>) {
    narrator.say(format!(
        "use_aws_mcp {}: a demonstration\n\n\
         This program starts itself as an MCP server, just as a desktop client would, and talks to it over\n\
         a pipe. Everything is kept in a temporary folder: no AWS account, no network, and nothing is left\n\
         afterwards. The server is the real one, and so is the path of every call.\n\n\
         Two companies, acme and globex, are its tenants. ada and ben work for acme; cleo may only look\n\
         there; eve works for globex. Each request carries a signed token that says whose it is.",
        version::text()
    ));
}

async fn hello(
    settings: &ServerSettings,
    signer: &Signer,
    log: &Log,
    narrator: &mut Narrator<'_>,
) -> Result<Server, Wrong> {
    narrator.act("A server for agents");
    let started = async {
        let server = Server::start(settings, signer, log).await?;
        let info = server.client().server()?;
        let name = info
            .server_info
            .as_ref()
            .ok_or("the server has not said its name")?;
        let offers = [
            ("tools", info.capabilities.tools.is_some()),
            ("resources", info.capabilities.resources.is_some()),
            ("prompts", info.capabilities.prompts.is_some()),
        ];
        if let Some((missing, _)) = offers.iter().find(|(_, is_there)| !is_there) {
            return Err(format!("the server offers no {missing}"));
        }
        let answer = format!(
            "{} {} answers in MCP {}: tools, resources, prompts",
            name.name, name.version, info.protocol_version
        );
        Ok((server, answer))
    };
    let server = narrator
        .step("start the server and shake hands", started)
        .await?;
    let client = server.client();
    narrator
        .step(
            "ask for its tools, as ada, an administrator, and as cleo, who may only look",
            async {
                let (all, some) = (
                    client.tools(&ADA).await?.tools,
                    client.tools(&CLEO).await?.tools,
                );
                let reads = |tool: &rmcp::model::Tool| {
                    let annotations = tool.annotations.as_ref();
                    annotations.is_some_and(|known| known.read_only_hint == Some(true))
                };
                if all.is_empty() || some.len() >= all.len() || !some.iter().all(reads) {
                    return Err(format!(
                        "ada got {} tools and cleo {}",
                        all.len(),
                        some.len()
                    ));
                }
                let names = families(all.iter().map(|tool| tool.name.as_ref()));
                Ok((
                    (),
                    format!(
                        "ada gets {}: {names}\ncleo gets the {} that change nothing",
                        all.len(),
                        some.len()
                    ),
                ))
            },
        )
        .await?;
    Ok(server)
}

/// Names of tools by family, such as `kv_get list, events_query`.
fn families<'names>(names: impl Iterator<Item = &'names str>) -> String {
    let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let (family, rest) = name.split_once('_').unwrap_or((name, ""));
        families.entry(family).or_default().push(rest);
    }
    let told = families
        .iter()
        .map(|(family, rests)| format!("{family}_{{{}}}", rests.join(",")));
    told.collect::<Vec<_>>().join(" ")
}

/// The server is killed and started again on the same folder.
async fn crash(
    server: Server,
    settings: &ServerSettings,
    signer: &Signer,
    log: &Log,
    narrator: &mut Narrator<'_>,
) -> Result<Server, Wrong> {
    narrator.act("A crash: what was answered is kept");
    narrator
        .step(
            "ada@acme stores a value, and the moment she has the answer the server is killed",
            async {
                let arguments = json!({"key": "last-words", "value": "still here"});
                server
                    .client()
                    .call(&ADA, "kv_set", arguments)
                    .await?
                    .done()?;
                let process = server.process_id().ok_or("the server has ended before")?;
                server.kill().await?;
                Ok((
                    (),
                    format!("process {process} is gone, with no time to tidy up"),
                ))
            },
        )
        .await?;
    let server = narrator
        .step(
            "start another server on the same folder; ada@acme reads her value",
            async {
                let server = Server::start(settings, signer, log).await?;
                let reply = server
                    .client()
                    .call(&ADA, "kv_get", json!({"key": "last-words"}))
                    .await?;
                let value = reply.done()?;
                if value["value"] != "still here" {
                    return Err(format!("this came back: {value}"));
                }
                Ok((server, format!("{}", value["value"])))
            },
        )
        .await?;
    record::survived(server.client(), narrator).await?;
    Ok(server)
}

async fn leave(server: Server, narrator: &mut Narrator<'_>) -> Result<(), Wrong> {
    narrator
        .step("the client leaves", async {
            let status = server.leave().await?;
            match status.success() {
                true => Ok((
                    (),
                    "the server has ended by itself, and with it all of the demonstration"
                        .to_owned(),
                )),
                false => Err(format!("the server ended with {status}")),
            }
        })
        .await
}

/// What was shown, and what to do next.
pub(super) fn say_goodbye(narrator: &mut Narrator<'_>) {
    let seconds = narrator.elapsed().as_secs_f64();
    narrator.say(format!(
        "\nAll {} steps came out as they should, in {seconds:.1} s: one server, two tenants that cannot see\n\
         each other, values, files and events, a limit, and a crash without a loss. With AWS behind it, it\n\
         does the same with DynamoDB, S3 and EventBridge.\n\n\
         What to do next\n  \
           use_aws_mcp init claude-desktop   add it to Claude Desktop (or claude-code, cursor, vscode)\n  \
           use_aws_mcp tools list            see what it can do; `tools call` does it from the shell\n  \
           use_aws_mcp doctor                see what is configured, and whether it works\n  \
           use_aws_mcp init aws --dry-run    see what it would create in your AWS account",
        narrator.steps(),
    ));
}

#[cfg(test)]
mod tests {
    use super::families;

    #[test]
    fn tools_are_told_family_by_family() {
        let names = ["kv_get", "events_health_check", "kv_set"];
        assert_eq!(
            families(names.into_iter()),
            "events_{health_check} kv_{get,set}"
        );
    }
}
