// Uses an MCP server by address as an application does that is built on the TypeScript SDK: over the event streams
// of the first revision, and over WebSocket.
//
//   node sockets_client.mjs SDK_FOLDER http://HOST:PORT TOKEN
//
// The SDK's WebSocket sends no token, so that there the server's anonymous caller answers. It prints one line of
// JSON: what each transport did.

import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, base, token] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(resolve(folder), "dist/esm", path)).href);
const { Client } = await load("client/index.js");
const { SSEClientTransport } = await load("client/sse.js");
const { WebSocketClientTransport } = await load("client/websocket.js");

async function round(transport) {
  const client = new Client({ name: "sockets", version: "1" });
  const faults = [];
  client.onerror = (error) => faults.push(String(error));
  await client.connect(transport);
  const { tools } = await client.listTools();
  const key = `sockets/${Date.now().toString(16)}`;
  const value = { text: "Grüße, 世界 ☃", line: "a\nb", large: "x".repeat(100_000) };
  await client.callTool({ name: "kv_set", arguments: { key, value } });
  const got = await client.callTool({ name: "kv_get", arguments: { key } });
  const many = await Promise.all(
    Array.from({ length: 50 }, () => client.callTool({ name: "kv_list", arguments: { prefix: key } })),
  );
  await client.ping();
  const server = client.getServerVersion();
  await client.close();
  return {
    server: server.name,
    tools: tools.length,
    same: got.structuredContent.truncated === true || JSON.stringify(got.structuredContent.value) === JSON.stringify(value),
    many: many.filter((result) => result.structuredContent.items.length === 1).length,
    faults: faults.filter((fault) => !fault.includes("terminated") && !fault.includes("AbortError")),
  };
}

const headers = { Authorization: `Bearer ${token}` };
const sse = await round(new SSEClientTransport(new URL("/sse", base), { requestInit: { headers } }));
const websocket = await round(new WebSocketClientTransport(new URL("/ws", base.replace("http", "ws"))));
console.log(JSON.stringify({ sse, websocket }));
process.exit(0);
