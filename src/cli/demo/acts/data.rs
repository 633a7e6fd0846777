//! Values and files, and that what is one tenant's is not another's.

use serde_json::{Value, json};

use super::super::client::Client;
use super::super::narrator::{Narrator, Wrong};
use super::super::people::{ADA, BEN, CLEO, EVE};
use super::super::token::Signer;
use crate::inbound::error::UNAUTHENTICATED;

/// The key under which both tenants keep their plan.
const PLAN: &str = "plan";

/// The file of acme.
const REPORT: &str = "# June\n\nShipped 4711 orders.\n";

/// What acme plans.
fn plan() -> Value {
    json!({"ship": "friday", "owner": "ada"})
}

/// One agent stores a value and another one of its tenant reads it.
pub(super) async fn values(client: &Client, narrator: &mut Narrator<'_>) -> Result<(), Wrong> {
    narrator.act("Values: what one agent notes, another one finds");
    narrator
        .step(
            format!(
                "ada@acme stores {} for her company under the key `{PLAN}`: kv_set",
                plan()
            ),
            async {
                let arguments = json!({"key": PLAN, "value": plan(), "scope": "tenant"});
                let stored = client.call(&ADA, "kv_set", arguments).await?.done()?;
                let (version, until) = (text(&stored, "version")?, text(&stored, "expires_at")?);
                Ok(((), format!("kept as version {version} until {until}")))
            },
        )
        .await?;
    narrator
        .step("ben@acme reads it: kv_get", async {
            let found = get(client, &BEN, PLAN, "tenant").await?;
            same(&found["value"], &plan())
        })
        .await?;
    narrator
        .step(
            "ada@acme keeps a diary for herself (scope user, the default); ben@acme asks for it",
            async {
                let arguments = json!({"key": "diary", "value": "tired"});
                client.call(&ADA, "kv_set", arguments).await?.done()?;
                let found = get(client, &BEN, "diary", "user").await?;
                same(&found, &json!({"key": "diary", "found": false}))
            },
        )
        .await?;
    narrator
        .step(
            "cleo@acme, who may only look, tries to change the plan",
            async {
                let arguments = json!({"key": PLAN, "value": null, "scope": "tenant"});
                let error = client
                    .call(&CLEO, "kv_set", arguments)
                    .await?
                    .failed("PERMISSION_DENIED")?;
                Ok((
                    (),
                    format!("PERMISSION_DENIED: {}", text(&error, "message")?),
                ))
            },
        )
        .await
}

/// Another tenant sees nothing of it, and neither does who has no token or a forged one.
pub(super) async fn tenants(client: &Client, narrator: &mut Narrator<'_>) -> Result<(), Wrong> {
    narrator.act("Two tenants on one server, and nothing in common");
    narrator
        .step(
            format!("eve@globex asks for the same key `{PLAN}`"),
            async {
                let found = get(client, &EVE, PLAN, "tenant").await?;
                same(&found, &json!({"key": PLAN, "found": false}))
            },
        )
        .await?;
    narrator
        .step(
            "eve@globex stores a plan of her own under it; ada@acme reads hers again",
            async {
                let arguments =
                    json!({"key": PLAN, "value": "world domination", "scope": "tenant"});
                client.call(&EVE, "kv_set", arguments).await?.done()?;
                let found = get(client, &ADA, PLAN, "tenant").await?;
                same(&found["value"], &plan())
            },
        )
        .await?;
    let arguments = || json!({"key": PLAN, "scope": "tenant"});
    narrator
        .step("somebody without a token asks for it", async {
            let reply = client.call_with(None, "kv_get", arguments()).await?;
            refused(&reply.fault(UNAUTHENTICATED.0)?)
        })
        .await?;
    narrator
        .step(
            "somebody who says to be ada@acme, in a token signed with another key, asks for it",
            async {
                let forged = client.token_by(&Signer::new()?, &ADA);
                let reply = client
                    .call_with(Some(forged), "kv_get", arguments())
                    .await?;
                refused(&reply.fault(UNAUTHENTICATED.0)?)
            },
        )
        .await
}

/// A file, as a tool's result and as a resource.
pub(super) async fn artifacts(client: &Client, narrator: &mut Narrator<'_>) -> Result<(), Wrong> {
    narrator.act("Artifacts: files, which are MCP resources too");
    let uri = narrator
        .step(
            "ada@acme stores a report: artifacts_put reports/june.md",
            async {
                let arguments = json!({
                    "key": "reports/june.md", "content": REPORT, "content_type": "text/markdown",
                    "scope": "tenant",
                });
                let stored = client
                    .call(&ADA, "artifacts_put", arguments)
                    .await?
                    .done()?;
                let uri = text(&stored, "uri")?.to_owned();
                let answer = format!("{} bytes, to be read at {uri}", stored["size"]);
                Ok((uri, answer))
            },
        )
        .await?;
    narrator
        .step(
            "ben@acme opens that address, as a client does that shows resources: resources/read",
            async {
                let found = client.read(&BEN, &uri).await?.done()?;
                same(&found, &json!(REPORT))
            },
        )
        .await?;
    narrator
        .step("eve@globex opens the very same address", async {
            let message = client.read(&EVE, &uri).await?.fault(RESOURCE_NOT_FOUND)?;
            Ok((
                (),
                format!("{message}: to her it is as if it had never been there"),
            ))
        })
        .await
}

/// The protocol's code for a resource that is not there.
const RESOURCE_NOT_FOUND: i32 = -32002;

async fn get(
    client: &Client,
    who: &super::super::people::Person,
    key: &str,
    scope: &str,
) -> Result<Value, String> {
    client
        .call(who, "kv_get", json!({"key": key, "scope": scope}))
        .await?
        .done()
}

/// What came back, if it is what should have.
fn same(found: &Value, expected: &Value) -> Result<((), String), String> {
    if found == expected {
        Ok(((), found.to_string()))
    } else {
        Err(format!("{expected} was due, and this came: {found}"))
    }
}

fn refused(message: &str) -> Result<((), String), String> {
    Ok(((), format!("refused: {message}")))
}

/// A member that is a text.
pub(super) fn text<'value>(value: &'value Value, name: &str) -> Result<&'value str, String> {
    let found = value[name].as_str();
    found.ok_or_else(|| format!("`{name}` was due, and this came: {value}"))
}
