"""Uses an MCP server by address over the event streams of the first revision, with the package `mcp`.

    python sse_client.py http://HOST:PORT TOKEN

It prints one line of JSON with what it saw.
"""

import asyncio
import json
import sys
import time

from mcp import ClientSession
from mcp.client.sse import sse_client


def wire(answer):
    return json.loads(answer.model_dump_json(by_alias=True, exclude_none=True))


async def main(base, token):
    headers = {"Authorization": f"Bearer {token}"}
    async with sse_client(base + "/sse", headers=headers) as (reader, writer), ClientSession(reader, writer) as session:
        opened = wire(await session.initialize())
        tools = wire(await session.list_tools())["tools"]
        key = f"sse/{time.time_ns():x}"
        value = {"text": "Grüße, 世界 ☃", "numbers": [0, -1, 2.5]}
        await session.call_tool("kv_set", {"key": key, "value": value})
        answers = await asyncio.gather(*(session.call_tool("kv_get", {"key": key}) for _ in range(32)))
        same = sum(wire(answer)["structuredContent"]["value"] == value for answer in answers)
    print(json.dumps({"version": opened["protocolVersion"], "tools": len(tools), "same": same}))


asyncio.run(main(*sys.argv[1:]))
