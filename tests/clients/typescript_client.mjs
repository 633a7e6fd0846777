// Uses an MCP server as an application does that is built on the TypeScript SDK: over stdio, or by URL.
//
//   node typescript_client.mjs SDK_FOLDER [--timeout SECONDS] [--corpus FILE] -- COMMAND [ARGUMENT...]
//   node typescript_client.mjs SDK_FOLDER [--timeout SECONDS] [--corpus FILE] --url URL
//
// By URL it signs in with the token in MESH_TOKEN. With a corpus, which is a list of {"method", "params"}, it makes
// those requests in place of the round below, and the report has what came, as "answers".
//
// SDK_FOLDER is an installed @modelcontextprotocol/sdk of any 1.x version. It does the same round as
// python_client.py and prints the same one line of JSON:
//
//   {"client": ..., "protocol_version": ..., "server": ..., "tools": [...], "steps": [...], "failures": [...]}
//
// Exit status: 0 when nothing failed, 1 when something did, 2 for wrong usage. The server gets the whole
// environment of this program, and what it says on stderr passes through.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";

const TOOLS = [
  "artifacts_delete", "artifacts_get", "artifacts_list", "artifacts_put",
  "events_analytics", "events_create_alert", "events_create_rule", "events_delete_alert",
  "events_delete_rule", "events_health_check", "events_list_rules", "events_query", "events_send",
  "integration_approve", "integration_connect", "integration_disconnect", "integration_list",
  "integration_register", "integration_test", "integration_unregister",
  "kv_delete", "kv_get", "kv_list", "kv_set", "mcp_list_tools", "mcp_proxy",
  "workflow_list", "workflow_start", "workflow_status", "workflow_stop",
];
const TEMPLATE = "mesh://artifacts/{scope}/{+key}";
const VALUE = { text: "Grüße, 世界 ☃", numbers: [0, -1, 2.5], nothing: null, nested: { yes: true } };
const NOTE = "# A note\n\nWith ümlauts, 世界, \u{1f980} and a tab\tinside.\n";
const PARALLEL_CALLS = 32;
// Names of its own for each run, so that what an earlier one left behind does not matter.
const PREFIX = `clients/typescript/${Date.now().toString(16)}/`;

/** The server did something else than it should. */
class Failure extends Error {
  name = "Failure";
}

function check(condition, message) {
  if (!condition) throw new Failure(message);
}

function same(found, wanted, what) {
  check(
    isDeepStrictEqual(found, wanted),
    `${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(found)}`,
  );
}

/** The object that a tool answers with, which must be the same as structure and as text. */
function answerOf(result) {
  const structured = result.structuredContent;
  check(structured && typeof structured === "object", `no structuredContent in ${JSON.stringify(result)}`);
  const text = result.content.find((part) => part.type === "text");
  check(text, "no text content");
  same(JSON.parse(text.text), structured, "the text content");
  return structured;
}

function errorOf(result) {
  check(result.isError === true, `no error in ${JSON.stringify(result)}`);
  return answerOf(result).error;
}

const call = (client, name, args = {}) => client.callTool({ name, arguments: args });

/** A call that must work: the object that the tool answered with. */
async function ask(client, name, args = {}) {
  const result = await call(client, name, args);
  const answer = answerOf(result);
  check(!result.isError, `${name} answered with an error: ${JSON.stringify(answer)}`);
  return answer;
}

async function tools(client) {
  const listed = (await client.listTools()).tools;
  const names = listed.map((tool) => tool.name);
  same(names, [...names].sort(), "the order of the tools");
  same(TOOLS.filter((name) => !names.includes(name)), [], "the tools that are missing");
  for (const tool of listed) {
    same(tool.inputSchema.type, "object", `the type of the input of ${tool.name}`);
    check(tool.description, `${tool.name} has no description`);
  }
  same((await client.listTools()).tools.map((tool) => tool.name), names, "the tools, listed again");
  return { tools: names };
}

async function keyValues(client) {
  const key = `${PREFIX}greeting`;
  const stored = await ask(client, "kv_set", { key, value: VALUE, ttl_hours: 1 });
  same(stored.key, key, "the key");
  const read = await ask(client, "kv_get", { key });
  same([read.found, read.value], [true, VALUE], "the value");
  same(read.version, stored.version, "the version");
  const listed = await ask(client, "kv_list", { prefix: PREFIX });
  same(listed.items.map((item) => item.key), [key], "the keys");
  const conflict = errorOf(await call(client, "kv_set", { key, value: 1, if_absent: true }));
  same(conflict.code, "CONFLICT", "the code");
  await ask(client, "kv_delete", { key });
  same((await ask(client, "kv_get", { key })).found, false, "found, after it was deleted");
}

async function otherNames(client) {
  const key = `${PREFIX}names`;
  await ask(client, "mcp__agent-mesh__kv_set", { key, value: "x" });
  same((await ask(client, "kv.get", { key })).value, "x", "the value");
  await ask(client, "mcp__aws__kv_delete", { key });
}

async function parallelCalls(client) {
  const keys = Array.from({ length: PARALLEL_CALLS }, (_, number) => `${PREFIX}parallel/${number}`);
  await Promise.all(keys.map((key) => ask(client, "kv_set", { key, value: key })));
  const answers = await Promise.all(keys.map((key) => ask(client, "kv_get", { key })));
  same(answers.map((answer) => answer.value), keys, "the values");
  await Promise.all(keys.map((key) => ask(client, "kv_delete", { key })));
}

async function artifacts(client) {
  const key = `${PREFIX}notes/a note, 世界.md`;
  const stored = await ask(client, "artifacts_put", { key, content: NOTE, content_type: "text/markdown" });
  same([stored.key, stored.size], [key, Buffer.byteLength(NOTE)], "key and size");
  const read = await ask(client, "artifacts_get", { key });
  same([read.found, read.content, read.content_type], [true, NOTE, "text/markdown"], "the artifact");
  const listed = await ask(client, "artifacts_list", { prefix: PREFIX });
  same(listed.items.map((item) => item.key), [key], "the keys");

  const templates = (await client.listResourceTemplates()).resourceTemplates;
  check(templates.some((template) => template.uriTemplate === TEMPLATE), `no template ${TEMPLATE}`);
  const resources = (await client.listResources()).resources;
  check(resources.some((resource) => resource.uri === stored.uri), `${stored.uri} is not listed`);
  const contents = (await client.readResource({ uri: stored.uri })).contents;
  same(contents.map((part) => part.text), [NOTE], "the resource");

  const found = await client.complete({
    ref: { type: "ref/resource", uri: TEMPLATE },
    argument: { name: "key", value: `${PREFIX}n` },
    context: { arguments: { scope: "user" } },
  });
  check(found.completion.values.includes(key), `${key} is not completed: ${JSON.stringify(found)}`);

  await ask(client, "artifacts_delete", { key });
  same((await ask(client, "artifacts_get", { key })).found, false, "found, after it was deleted");
}

async function events(client) {
  const detail = { run: process.hrtime.bigint().toString(), text: "Grüße" };
  const sent = await ask(client, "events_send", { detail_type: "Clients.Checked", detail, priority: "high" });
  const deadline = Date.now() + 10_000;
  let found;
  do {
    const page = await ask(client, "events_query", { detail_type: "Clients.Checked", limit: 50 });
    found = page.events.find((event) => event.event_id === sent.event_id);
    if (!found) await new Promise((wake) => setTimeout(wake, 200));
  } while (!found && Date.now() < deadline);
  check(found, "the event is not found within 10 s");
  same([found.detail, found.priority], [detail, "high"], "the event");
  const operations = await ask(client, "events_query", { tool: "kv_set", limit: 1 });
  same(operations.events.map((event) => event.tool), ["kv_set"], "an event of an earlier call");
  await ask(client, "events_analytics", { time_range: "1h" });
  const health = await ask(client, "events_health_check");
  check(["healthy", "degraded"].includes(health.status), `health is ${JSON.stringify(health)}`);
  return { health: health.status };
}

async function prompts(client) {
  const listed = (await client.listPrompts()).prompts;
  check(listed.length > 0, "there are no prompts");
  for (const { name, arguments: known = [] } of listed) {
    const needed = known.filter((argument) => argument.required).map((argument) => [argument.name, "kv_set"]);
    const got = await client.getPrompt({ name, arguments: Object.fromEntries(needed) });
    check(got.messages.length > 0, `${name} has no messages`);
  }
  return { prompts: listed.map((prompt) => prompt.name) };
}

async function mistakes(client) {
  const missing = errorOf(await call(client, "kv_get"));
  same([missing.code, missing.details.parameter], ["INVALID_PARAMETER", "key"], "a missing key");
  check(missing.message && missing.request_id, "the error has no message or no request_id");
  const unknown = errorOf(await call(client, "kv_get", { key: "a", nonsense: 1 }));
  same([unknown.code, unknown.details.parameter], ["INVALID_PARAMETER", "nonsense"], "an unknown one");
  const refused = await call(client, "no_such_tool").then(
    () => undefined,
    (error) => error,
  );
  check(refused, "an unknown tool was answered");
  same(refused.code, -32602, "the code for an unknown tool");
  const absent = await ask(client, "kv_get", { key: `${PREFIX}absent` });
  same(absent.found, false, "found");
}

const ping = async (client) => void (await client.ping());

const STEPS = [tools, keyValues, otherNames, parallelCalls, artifacts, events, prompts, mistakes, ping];

/** Runs one step and writes down how long it took and what went wrong. */
async function timed(step, client, report) {
  const start = performance.now();
  try {
    Object.assign(report, await step(client));
  } catch (error) {
    if (!(error instanceof Failure)) console.error(error);
    report.failures.push(`${step.name}: ${error.name}: ${error.message}`);
  }
  report.steps.push({ name: step.name, ms: Math.round((performance.now() - start) * 10) / 10 });
}

/** What comes of each request of a corpus, as it came. */
async function answers(sdk, client, corpus) {
  const { ResultSchema } = await import(pathToFileURL(resolve(sdk, "dist/esm/types.js")).href);
  const found = [];
  for (const { method, params } of corpus) {
    const result = client.request({ method, params }, ResultSchema);
    found.push(await result.then((result) => ({ result }), (error) => ({ error: `${error.code}: ${error.message}` })));
  }
  return found;
}

/** The way to the server that `command` starts, or that is at `url`. */
async function way(part, { command, url }) {
  if (url) {
    const { StreamableHTTPClientTransport } = await part("streamableHttp.js");
    const headers = { Authorization: `Bearer ${process.env.MESH_TOKEN}` };
    return new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  }
  const { StdioClientTransport } = await part("stdio.js");
  const [program, ...args] = command;
  return new StdioClientTransport({ command: program, args, env: { ...process.env }, stderr: "inherit" });
}

async function connect(sdk, options, report) {
  const part = (name) => import(pathToFileURL(resolve(sdk, "dist/esm/client", name)).href);
  const { Client } = await part("index.js");
  const client = new Client({ name: "typescript_client", version: "1.0.0" });
  // A line that is no message of the protocol is reported here, and by nothing else.
  client.onerror = (error) => report.failures.push(`the stream: ${error.message}`);
  const transport = await way(part, options);
  const said = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (version) => {
    report.protocol_version = version;
    said?.(version);
  };
  await client.connect(transport);
  report.server = client.getServerVersion();
  return client;
}

function usage() {
  console.error("usage: typescript_client.mjs SDK_FOLDER [--timeout SECONDS] [--corpus FILE] (--url URL | -- COMMAND...)");
  process.exit(2);
}

const [sdk, ...given] = process.argv.slice(2);
const options = { timeout: "60" };
while (given.length > 0) {
  const name = given.shift();
  if (name === "--") options.command = given.splice(0);
  else if (["--timeout", "--corpus", "--url"].includes(name) && given.length > 0) options[name.slice(2)] = given.shift();
  else usage();
}
const timeout = Number(options.timeout);
if (!sdk || !(timeout > 0) || !options.url === !options.command?.length) usage();

const { version } = JSON.parse(readFileSync(resolve(sdk, "package.json"), "utf8"));
const report = { client: `typescript sdk ${version}`, steps: [], failures: [] };
let alarm;
const expired = new Promise((_, reject) => {
  alarm = setTimeout(() => reject(new Failure(`not done within ${timeout} s`)), timeout * 1000);
});
let client;
try {
  client = await Promise.race([connect(sdk, options, report), expired]);
  const corpus = options.corpus && JSON.parse(readFileSync(options.corpus, "utf8"));
  if (corpus) report.answers = await Promise.race([answers(sdk, client, corpus), expired]);
  for (const step of corpus ? [] : STEPS) await Promise.race([timed(step, client, report), expired]);
} catch (error) {
  console.error(error);
  report.failures.push(`the session: ${error.name}: ${error.message}`);
}
clearTimeout(alarm);
// An answer that is still on its way is no longer of interest, but the server must not be left behind.
const failures = [...report.failures];
await client?.close();
process.stdout.write(`${JSON.stringify({ ...report, failures })}\n`, () => process.exit(failures.length > 0 ? 1 : 0));
