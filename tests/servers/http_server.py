"""A server over streamable HTTP, made with the Python package as its users make one. It prints its address."""

import asyncio
import socket

import uvicorn

try:
    from mcp.server.fastmcp import FastMCP as Server
except ImportError:
    from mcp.server.mcpserver import MCPServer as Server

server = Server("numbers")


@server.tool()
def add(a: int, b: int) -> int:
    """Tells the sum of two numbers."""
    return a + b


def main():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print("http://127.0.0.1:%d/mcp" % listener.getsockname()[1], flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="error")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
