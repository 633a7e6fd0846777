#!/usr/bin/env python3
"""Uses an MCP server as an application does that is built on the Python package `mcp`: over stdio, or by URL.

    python_client.py [--mode auto|legacy|2026-07-28] [--timeout SECONDS] [--corpus FILE] -- COMMAND [ARGUMENT...]
    python_client.py [--mode ...] [--timeout SECONDS] [--corpus FILE] --url URL

By URL it signs in with the token in MESH_TOKEN. With a corpus, which is a list of {"method", "params"}, it makes those
requests in place of the round below, and the report has what came, as "answers".

It runs with both lines of the package: 1.x, which opens with `initialize`, and 2.x, which tries the
stateless protocol first (`--mode auto`, its default) unless told otherwise. It does a newcomer's round
through key-values, artifacts, resources, events, prompts and errors, and prints one line of JSON:

    {"client": ..., "protocol_version": ..., "server": ..., "tools": [...], "steps": [...], "failures": [...]}

Exit status: 0 when nothing failed, 1 when something did, 2 for wrong usage. The server gets the whole
environment of this program, and what it says on stderr passes through.
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import sys
import time
import traceback

from mcp import ClientSession, StdioServerParameters, stdio_client, types

TOOLS = [
    "artifacts_delete", "artifacts_get", "artifacts_list", "artifacts_put",
    "events_analytics", "events_create_alert", "events_create_rule", "events_delete_alert",
    "events_delete_rule", "events_health_check", "events_list_rules", "events_query", "events_send",
    "integration_approve", "integration_connect", "integration_disconnect", "integration_list",
    "integration_register", "integration_test", "integration_unregister",
    "kv_delete", "kv_get", "kv_list", "kv_set", "mcp_list_tools", "mcp_proxy",
    "workflow_list", "workflow_start", "workflow_status", "workflow_stop",
]  # fmt: skip
TEMPLATE = "mesh://artifacts/{scope}/{+key}"
VALUE = {"text": "Grüße, 世界 ☃", "numbers": [0, -1, 2.5], "nothing": None, "nested": {"yes": True}}
NOTE = "# A note\n\nWith ümlauts, 世界, \U0001f980 and a tab\tinside.\n"
PARALLEL_CALLS = 32
# Names of its own for each run, so that what an earlier one left behind does not matter.
PREFIX = f"clients/python/{time.time_ns():x}/"


class RequestError(Exception):
    """A JSON-RPC error, whichever line of the package raised it."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


def wire(result):
    """A result as it came over the wire."""
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


class Session:
    """What both lines of the package can do, with results as on the wire."""

    def __init__(self, inner, protocol_version, server, capabilities):
        self.inner = inner
        self.protocol_version = protocol_version
        self.server = server
        self.capabilities = capabilities

    async def request(self, method, *arguments, **named):
        try:
            return wire(await getattr(self.inner, method)(*arguments, **named))
        except Exception as error:
            code = getattr(error, "code", None) or getattr(getattr(error, "error", None), "code", None)
            if isinstance(code, int):
                raise RequestError(code, str(error)) from error
            raise

    async def call(self, tool, /, **arguments):
        return await self.request("call_tool", tool, arguments)

    async def ask(self, tool, /, **arguments):
        """A call that must work: the object that the tool answered with."""
        result = await self.call(tool, **arguments)
        answer = answer_of(result)
        check(not result.get("isError"), f"{tool} answered with an error: {json.dumps(answer)}")
        return answer


@contextlib.asynccontextmanager
async def connected(command, url, mode, failures):
    """A session with a server that is started for it, or that is at `url`."""

    async def handle(message):
        # A line that is no message of the protocol is reported here, and by nothing else.
        if isinstance(message, Exception):
            failures.append(f"the stream: {message}")

    server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ)) if command else None
    try:
        from mcp import Client
    except ImportError:
        check(mode in ("auto", "legacy"), "this version of the package knows `initialize` only")
        opened = streamable(url) if url else stdio_client(server)
        async with opened as (reader, writer, *_), ClientSession(reader, writer, message_handler=handle) as session:
            answer = wire(await session.initialize())
            yield Session(session, answer["protocolVersion"], answer["serverInfo"], answer["capabilities"])
    else:
        async with Client(streamable(url) if url else server, mode=mode, message_handler=handle) as client:
            yield Session(
                client,
                client.protocol_version,
                wire(client.server_info) if client.server_info else None,
                wire(client.server_capabilities),
            )


def streamable(url):
    """A way to the server at `url`, with the token of the environment."""
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    headers = {"Authorization": f"Bearer {os.environ['MESH_TOKEN']}"}
    return streamable_http_client(url, http_client=create_mcp_http_client(headers=headers))


class Failure(Exception):
    """The server did something else than it should."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def same(found, wanted, what):
    check(found == wanted, f"{what}: expected {json.dumps(wanted)}, got {json.dumps(found)}")


def answer_of(result):
    """The object that a tool answers with, which must be the same as structure and as text."""
    structured = result.get("structuredContent")
    check(isinstance(structured, dict), f"no structuredContent in {json.dumps(result)}")
    texts = [part["text"] for part in result["content"] if part["type"] == "text"]
    check(texts, "no text content")
    same(json.loads(texts[0]), structured, "the text content")
    return structured


def error_of(result):
    check(result.get("isError") is True, f"no error in {json.dumps(result)}")
    return answer_of(result)["error"]


async def tools(session):
    listed = (await session.request("list_tools"))["tools"]
    names = [tool["name"] for tool in listed]
    same(names, sorted(names), "the order of the tools")
    same([name for name in TOOLS if name not in names], [], "the tools that are missing")
    for tool in listed:
        same(tool["inputSchema"]["type"], "object", f"the type of the input of {tool['name']}")
        check(tool.get("description"), f"{tool['name']} has no description")
    again = [tool["name"] for tool in (await session.request("list_tools"))["tools"]]
    same(again, names, "the tools, listed again")
    return {"tools": names}


async def key_values(session):
    key = PREFIX + "greeting"
    stored = await session.ask("kv_set", key=key, value=VALUE, ttl_hours=1)
    same(stored["key"], key, "the key")
    read = await session.ask("kv_get", key=key)
    same((read["found"], read["value"]), (True, VALUE), "the value")
    same(read["version"], stored["version"], "the version")
    listed = await session.ask("kv_list", prefix=PREFIX)
    same([item["key"] for item in listed["items"]], [key], "the keys")
    conflict = error_of(await session.call("kv_set", key=key, value=1, if_absent=True))
    same(conflict["code"], "CONFLICT", "the code")
    await session.ask("kv_delete", key=key)
    same((await session.ask("kv_get", key=key))["found"], False, "found, after it was deleted")


async def other_names(session):
    key = PREFIX + "names"
    await session.ask("mcp__agent-mesh__kv_set", key=key, value="x")
    same((await session.ask("kv.get", key=key))["value"], "x", "the value")
    await session.ask("mcp__aws__kv_delete", key=key)


async def parallel_calls(session):
    keys = [f"{PREFIX}parallel/{number}" for number in range(PARALLEL_CALLS)]
    await asyncio.gather(*(session.ask("kv_set", key=key, value=key) for key in keys))
    answers = await asyncio.gather(*(session.ask("kv_get", key=key) for key in keys))
    same([answer["value"] for answer in answers], keys, "the values")
    await asyncio.gather(*(session.ask("kv_delete", key=key) for key in keys))


async def artifacts(session):
    key = PREFIX + "notes/a note, 世界.md"
    stored = await session.ask("artifacts_put", key=key, content=NOTE, content_type="text/markdown")
    same((stored["key"], stored["size"]), (key, len(NOTE.encode())), "key and size")
    read = await session.ask("artifacts_get", key=key)
    same((read["found"], read["content"], read["content_type"]), (True, NOTE, "text/markdown"), "the artifact")
    listed = await session.ask("artifacts_list", prefix=PREFIX)
    same([item["key"] for item in listed["items"]], [key], "the keys")

    templates = (await session.request("list_resource_templates"))["resourceTemplates"]
    check(TEMPLATE in [template["uriTemplate"] for template in templates], f"no template {TEMPLATE}")
    resources = (await session.request("list_resources"))["resources"]
    check(stored["uri"] in [resource["uri"] for resource in resources], f"{stored['uri']} is not listed")
    uri = resource_uri(session, stored["uri"])
    contents = (await session.request("read_resource", uri))["contents"]
    same([part.get("text") for part in contents], [NOTE], "the resource")

    reference = types.ResourceTemplateReference(type="ref/resource", uri=TEMPLATE)
    argument = {"name": "key", "value": PREFIX + "n"}
    found = await session.request("complete", reference, argument, {"scope": "user"})
    check(key in found["completion"]["values"], f"{key} is not completed: {json.dumps(found)}")

    await session.ask("artifacts_delete", key=key)
    same((await session.ask("artifacts_get", key=key))["found"], False, "found, after it was deleted")


def resource_uri(session, uri):
    """The 1.x line wants an URI of a type of its own."""
    if isinstance(session.inner, ClientSession):
        from pydantic import AnyUrl

        return AnyUrl(uri)
    return uri


async def events(session):
    detail = {"run": time.time_ns(), "text": "Grüße"}
    sent = await session.ask("events_send", detail_type="Clients.Checked", detail=detail, priority="high")
    deadline = time.monotonic() + 10
    while True:
        page = await session.ask("events_query", detail_type="Clients.Checked", limit=50)
        found = [event for event in page["events"] if event["event_id"] == sent["event_id"]]
        if found or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    check(found, "the event is not found within 10 s")
    same((found[0]["detail"], found[0]["priority"]), (detail, "high"), "the event")
    operations = await session.ask("events_query", tool="kv_set", limit=1)
    same([event["tool"] for event in operations["events"]], ["kv_set"], "an event of an earlier call")
    await session.ask("events_analytics", time_range="1h")
    health = await session.ask("events_health_check")
    check(health["status"] in ("healthy", "degraded"), f"health is {json.dumps(health)}")
    return {"health": health["status"]}


async def prompts(session):
    listed = (await session.request("list_prompts"))["prompts"]
    check(listed, "there are no prompts")
    for prompt in listed:
        needed = [argument["name"] for argument in prompt.get("arguments", []) if argument.get("required")]
        got = await session.request("get_prompt", prompt["name"], {name: "kv_set" for name in needed})
        check(got["messages"], f"{prompt['name']} has no messages")
    return {"prompts": [prompt["name"] for prompt in listed]}


async def mistakes(session):
    missing = error_of(await session.call("kv_get"))
    same((missing["code"], missing["details"]["parameter"]), ("INVALID_PARAMETER", "key"), "a missing key")
    check(missing["message"] and missing["request_id"], "the error has no message or no request_id")
    unknown = error_of(await session.call("kv_get", key="a", nonsense=1))
    same((unknown["code"], unknown["details"]["parameter"]), ("INVALID_PARAMETER", "nonsense"), "an unknown one")
    try:
        await session.call("no_such_tool")
    except RequestError as error:
        same(error.code, -32602, "the code for an unknown tool")
    else:
        raise Failure("an unknown tool was answered")
    same((await session.ask("kv_get", key=PREFIX + "absent"))["found"], False, "found")


async def ping(session):
    # The stateless protocol has none.
    if session.protocol_version < "2026":
        await session.request("send_ping")


async def answers(session, corpus):
    """What comes of each request of a corpus, as it came."""
    found = []
    for entry in corpus:
        method, params = entry["method"], entry.get("params", {})
        try:
            found.append({"result": await perform(session, method, params)})
        except RequestError as error:
            found.append({"error": str(error)})
    return found


async def perform(session, method, params):
    if method == "resources/read":
        return await session.request("read_resource", resource_uri(session, params["uri"]))
    if method == "completion/complete":
        reference = types.ResourceTemplateReference(**params["ref"])
        return await session.request("complete", reference, params["argument"], params["context"]["arguments"])
    called = {
        "tools/list": "list_tools",
        "tools/call": "call_tool",
        "resources/list": "list_resources",
        "resources/templates/list": "list_resource_templates",
        "prompts/list": "list_prompts",
        "prompts/get": "get_prompt",
    }[method]
    return await session.request(called, *params.values())


STEPS = [tools, key_values, other_names, parallel_calls, artifacts, events, prompts, mistakes, ping]


async def run(command, url, mode, corpus, report):
    async with connected(command, url, mode, report["failures"]) as session:
        report["protocol_version"] = session.protocol_version
        report["server"] = session.server
        if corpus is not None:
            report["answers"] = await answers(session, corpus)
            return
        for step in STEPS:
            await timed(step, session, report)


async def timed(step, session, report):
    start, entry = time.monotonic(), {"name": step.__name__}
    report["steps"].append(entry)
    try:
        report.update(await step(session) or {})
    except Exception as error:
        if not isinstance(error, Failure):
            traceback.print_exc()
        report["failures"].append(f"{step.__name__}: {type(error).__name__}: {error}")
    entry["ms"] = round((time.monotonic() - start) * 1000, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", default="auto", help="auto, legacy, or a version of the stateless protocol")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for everything together")
    parser.add_argument("--corpus", type=argparse.FileType(encoding="utf-8"), help="requests to make, as JSON")
    parser.add_argument("--url", help="where the server is, in place of a command")
    parser.add_argument("command", nargs="*", help="the server and its arguments, after --")
    arguments = parser.parse_args()
    if bool(arguments.url) == bool(arguments.command):
        parser.error("name a command after --, or a URL")
    corpus = json.load(arguments.corpus) if arguments.corpus else None
    version = importlib.metadata.version("mcp")
    report = {"client": f"python mcp {version}", "mode": arguments.mode, "steps": [], "failures": []}
    try:
        work = run(arguments.command, arguments.url, arguments.mode, corpus, report)
        asyncio.run(asyncio.wait_for(work, arguments.timeout))
    except (Exception, asyncio.CancelledError) as error:
        traceback.print_exc()
        report["failures"].append(f"the session: {type(error).__name__}: {error}")
    print(json.dumps(report, ensure_ascii=False))
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
