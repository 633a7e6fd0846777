"""A server of the Model Context Protocol for tests, which does just what a call asks it to.

It speaks over its pipes, in one line a message, either of two eras: `--era sessions` (the handshake
`initialize`) or `--era stateless` (2026-07-28). `--silent` makes one of sessions ignore what it does not
know, as old servers do, instead of refusing it. Nothing but the standard library is needed.
"""

import argparse
import json
import os
import sys
import threading
import time

SESSION_VERSION = "2025-06-18"
STATELESS_VERSION = "2026-07-28"
READS = {"readOnlyHint": True}


def schema(**properties):
    return {"type": "object", "properties": properties}


TOOLS = [
    {"name": "echo", "description": "Says what it is told.", "inputSchema": schema(text={"type": "string"}),
     "annotations": READS},
    {"name": "raw", "description": "Answers with exactly the result it is given.",
     "inputSchema": schema(result={"type": "string"}), "annotations": READS},
    {"name": "append", "description": "Adds a line to the file.", "inputSchema": schema(line={"type": "string"})},
    {"name": "append_and_die", "description": "Adds a line to the file and ends before it answers.",
     "inputSchema": schema(line={"type": "string"})},
    {"name": "lines", "description": "The lines of the file.", "inputSchema": schema(), "annotations": READS},
    {"name": "die_once", "description": "Ends before it answers, the first time.", "inputSchema": schema(),
     "annotations": READS},
    {"name": "slow", "description": "Takes its time.", "inputSchema": schema(ms={"type": "integer"})},
    {"name": "count", "description": "Reports its progress.", "inputSchema": schema(to={"type": "integer"})},
    {"name": "large", "description": "Answers with so many bytes.", "inputSchema": schema(bytes={"type": "integer"})},
    {"name": "ask", "description": "Asks the client for a name.", "inputSchema": schema()},
    {"name": "environment", "description": "The names of its variables.", "inputSchema": schema(),
     "annotations": READS},
    {"name": "variable", "description": "A variable.", "inputSchema": schema(name={"type": "string"}),
     "annotations": READS},
    {"name": "process", "description": "Its process id.", "inputSchema": schema(), "annotations": READS},
    {"name": "refuse", "description": "Refuses the call.", "inputSchema": schema()},
    {"name": "garbage", "description": "Answers with what is no message.", "inputSchema": schema()},
    {"name": "fail", "description": "Fails.", "inputSchema": schema()},
    {"name": "grow", "description": "Has one tool more from then on, and says so.", "inputSchema": schema()},
]
QUESTION = {"message": "What is your name?",
            "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}

out_lock = threading.Lock()
answers = {}
answered = threading.Condition()
cancelled = set()


def write(text):
    with out_lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def send(message):
    write(json.dumps(dict(jsonrpc="2.0", **message)))


def text(said, **more):
    return {"content": [{"type": "text", "text": said}], **more}


class Server:
    def __init__(self, options):
        self.options = options
        self.file = options.file
        self.next_id = 1
        self.grown = 0

    def tools(self):
        tools = [dict(tool) for tool in TOOLS]
        # What a definition says may be changed from outside, while it runs and between two lives.
        if self.options.described and os.path.exists(self.options.described):
            with open(self.options.described, encoding="utf-8") as described:
                tools[0]["description"] = described.read()
        for number in range(self.grown):
            tools.append({"name": "grown_%d" % number, "description": "Grew.", "inputSchema": schema()})
        return tools

    def answer(self, request):
        method, params = request["method"], request.get("params") or {}
        stateless = self.options.era == "stateless"
        if method == "initialize" and not stateless:
            return {"protocolVersion": SESSION_VERSION, "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "scripted", "version": "1"}}
        if method == "server/discover" and stateless:
            return self.stateless({"supportedVersions": [STATELESS_VERSION], "capabilities": {"tools": {}},
                                   "_meta": {"io.modelcontextprotocol/serverInfo":
                                             {"name": "scripted", "version": "1"}},
                                   "ttlMs": 1000, "cacheScope": "private"})
        if method == "ping":
            return {}
        if method == "tools/list":
            return self.stateless({"tools": self.tools(), "ttlMs": 1000, "cacheScope": "private"})
        if method == "tools/call":
            return self.call(request["id"], params)
        return None

    def stateless(self, result):
        if self.options.era != "stateless":
            for name in ("ttlMs", "cacheScope"):
                result.pop(name, None)
            return result
        return {"resultType": "complete", **result}

    def call(self, request_id, params):
        name, given = params["name"], params.get("arguments") or {}
        if name == "raw":
            write('{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(request_id), given["result"]))
            return None
        if name == "ask":
            return self.ask(params)
        if name == "garbage":
            write("this is no message")
            write('{"jsonrpc":"2.0","id":%s,"result":7}' % json.dumps(request_id))
            return None
        if name == "refuse":
            send({"id": request_id, "error": {"code": -32050, "message": "not today", "data": {"why": "rain"}}})
            return None
        return self.stateless(self.work(request_id, params, name, given))

    def work(self, request_id, params, name, given):
        if name == "echo":
            return text(given.get("text", ""))
        if name in ("append", "append_and_die"):
            self.add(given["line"])
            if name == "append_and_die":
                os._exit(3)
            return text("added")
        if name == "lines":
            return text(open(self.file, encoding="utf-8").read() if os.path.exists(self.file) else "")
        if name == "die_once":
            mark = self.file + ".died"
            if not os.path.exists(mark):
                open(mark, "w", encoding="utf-8").close()
                os._exit(3)
            return text("still here")
        if name == "slow":
            if given.get("tell"):
                self.add("begun")
            until = time.monotonic() + given.get("ms", 0) / 1000
            while time.monotonic() < until and request_id not in cancelled:
                time.sleep(0.01)
            if request_id in cancelled:
                self.add("cancelled")
            return text("done")
        if name == "count":
            token = (params.get("_meta") or {}).get("progressToken")
            for number in range(1, given["to"] + 1):
                if token is not None:
                    send({"method": "notifications/progress",
                          "params": {"progressToken": token, "progress": number, "total": given["to"],
                                     "message": "at %d" % number}})
            return text("counted")
        if name == "large":
            return text("x" * given["bytes"])
        if name == "environment":
            return text(json.dumps(sorted(os.environ)))
        if name == "variable":
            return text(os.environ.get(given["name"], ""))
        if name == "process":
            return text(str(os.getpid()))
        if name == "fail":
            return text("it did not work", isError=True)
        if name == "grow":
            self.grown += 1
            send({"method": "notifications/tools/list_changed"})
            return text("grown")
        if name.startswith("grown_"):
            return text(name)
        return text("there is no tool " + name, isError=True)

    def add(self, line):
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def ask(self, params):
        if self.options.era == "stateless":
            responses = params.get("inputResponses") or {}
            if "who" not in responses:
                return {"resultType": "input_required", "requestState": "asked",
                        "inputRequests": {"who": {"method": "elicitation/create", "params": QUESTION}}}
            assert params.get("requestState") == "asked", params
            return self.stateless(text("hello " + responses["who"]["content"]["name"]))
        with answered:
            question = "q%d" % self.next_id
            self.next_id += 1
        send({"id": question, "method": "elicitation/create", "params": QUESTION})
        with answered:
            answered.wait_for(lambda: question in answers, timeout=30)
            answer = answers.pop(question, {})
        result = answer.get("result") or {}
        if result.get("action") != "accept":
            return text("nobody answered", isError=True)
        return text("hello " + result["content"]["name"])

    def serve(self, request):
        result = self.answer(request)
        if result is not None:
            send({"id": request["id"], "result": result})
        elif request["method"] not in ("tools/call",) and not self.options.silent:
            send({"id": request["id"], "error": {"code": -32601, "message": "unknown method"}})

    def run(self):
        for line in sys.stdin:
            message = json.loads(line)
            if "method" not in message:
                with answered:
                    answers[message["id"]] = message
                    answered.notify_all()
            elif message["method"] == "notifications/cancelled":
                cancelled.add(message["params"]["requestId"])
            elif "id" in message:
                threading.Thread(target=self.serve, args=(message,), daemon=True).start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--era", choices=("sessions", "stateless"), default="sessions")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--file", default="lines.txt")
    parser.add_argument("--described")
    Server(parser.parse_args()).run()


if __name__ == "__main__":
    main()
