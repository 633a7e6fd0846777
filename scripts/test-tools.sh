#!/usr/bin/env bash
# Installs what the tests use besides Rust: AWS emulators, and MCP clients that other people wrote.
#
#   scripts/test-tools.sh [emulators] [python] [node] [servers] [conformance] [promtool] [schemathesis]
#       (without arguments: all of them)
#
# Everything lies under target/test-tools and goes away with it. What is there already in the right
# version is left alone, so a second run takes a moment. It needs python3 with venv, and npm for `node`,
# `servers` and `conformance`.
set -euo pipefail

# The versions are exact, so that a test that fails today failed yesterday too.
MINISTACK=1.5.33
MOTO=5.2.5
MCP_PYTHON=2.3.0          # the newest
MCP_PYTHON_1=1.30.0       # the newest that clients of the 1.x line have
NODE=22.23.3              # the Inspector needs 22
MCP_TYPESCRIPT_OLD=1.17.3 # refuses protocol versions after 2025-06-18
MCP_TYPESCRIPT_NEW=1.32.2
MCP_INSPECTOR=2.12.0

# The protocol's own suite, which judges servers over HTTP. The first that knows revision 2026-07-28 and tasks are alphas.
MCP_CONFORMANCE=0.2.0-alpha.12

# What asks the REST façade everything that its description allows, and more.
SCHEMATHESIS=4.32.5

# Servers that tests register as integrations.
MCP_SERVER=2026.8.31

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/test-tools
mkdir -p "$tools"

say() { printf 'test-tools: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

need() { command -v "$1" >/dev/null || fail "$1 is not installed; $2"; }

# done_before <folder> <text>: whether the folder was finished with exactly that text.
done_before() { [[ -f $1/.installed && $(<"$1/.installed") == "$2" ]]; }

# python_packages <folder> <package==version>...: a virtual environment with those packages.
python_packages() {
    local folder=$tools/$1 wanted="${*:2}" start=$SECONDS
    if done_before "$folder" "$wanted"; then
        say "$1: there already ($wanted)"
        return
    fi
    need python3 "install Python 3.10 or newer"
    rm -rf "$folder"
    python3 -m venv "$folder" || fail "python3 cannot make a virtual environment (on Debian: apt install python3-venv)"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
    printf '%s' "$wanted" >"$folder/.installed"
    say "$1: $wanted, $((SECONDS - start)) s, $(size "$folder")"
}

size() { du -sh "$1" | cut -f1; }

emulators() { python_packages emulators "ministack==$MINISTACK" "moto[server]==$MOTO"; }

python() {
    python_packages python "mcp==$MCP_PYTHON"
    python_packages python-1 "mcp==$MCP_PYTHON_1"
}

schemathesis() { python_packages schemathesis "schemathesis==$SCHEMATHESIS"; }

node() {
    local folder=$tools/node start=$SECONDS
    local wanted="node $NODE, sdk $MCP_TYPESCRIPT_OLD and $MCP_TYPESCRIPT_NEW, inspector $MCP_INSPECTOR"
    if done_before "$folder" "$wanted"; then
        say "node: there already ($wanted)"
        return
    fi
    need npm "install Node.js with npm (any version that is maintained)"
    rm -rf "$folder"
    mkdir -p "$folder"
    cat >"$folder/package.json" <<JSON
{
  "name": "test-tools",
  "private": true,
  "dependencies": {
    "node": "$NODE",
    "@modelcontextprotocol/sdk": "$MCP_TYPESCRIPT_OLD",
    "sdk-new": "npm:@modelcontextprotocol/sdk@$MCP_TYPESCRIPT_NEW",
    "@modelcontextprotocol/inspector": "$MCP_INSPECTOR"
  }
}
JSON
    (cd "$folder" && npm install --no-audit --no-fund --loglevel=error >&2)
    [[ $("$folder/node_modules/.bin/node" --version) == "v$NODE" ]] || fail "node $NODE does not run"
    printf '%s' "$wanted" >"$folder/.installed"
    say "node: $wanted, $((SECONDS - start)) s, $(size "$folder")"
}

servers() {
    local folder=$tools/servers start=$SECONDS name
    local wanted="filesystem, memory, everything and sequential-thinking $MCP_SERVER"
    if done_before "$folder" "$wanted"; then
        say "servers: there already ($wanted)"
        return
    fi
    need npm "install Node.js with npm (any version that is maintained)"
    rm -rf "$folder"
    mkdir -p "$folder"
    cat >"$folder/package.json" <<JSON
{
  "name": "test-servers",
  "private": true,
  "dependencies": {
    "@modelcontextprotocol/server-everything": "$MCP_SERVER",
    "@modelcontextprotocol/server-filesystem": "$MCP_SERVER",
    "@modelcontextprotocol/server-memory": "$MCP_SERVER",
    "@modelcontextprotocol/server-sequential-thinking": "$MCP_SERVER"
  }
}
JSON
    (cd "$folder" && npm install --no-audit --no-fund --loglevel=error >&2)
    for name in everything filesystem memory sequential-thinking; do
        [[ -f $folder/node_modules/@modelcontextprotocol/server-$name/dist/index.js ]] ||
            fail "the server $name has no dist/index.js"
    done
    printf '%s' "$wanted" >"$folder/.installed"
    say "servers: $wanted, $((SECONDS - start)) s, $(size "$folder")"
}

conformance() {
    local folder=$tools/conformance start=$SECONDS
    local wanted="conformance $MCP_CONFORMANCE"
    node # whose Node it runs on
    if done_before "$folder" "$wanted"; then
        say "conformance: there already ($wanted)"
        return
    fi
    rm -rf "$folder"
    mkdir -p "$folder"
    cat >"$folder/package.json" <<JSON
{
  "name": "test-conformance",
  "private": true,
  "dependencies": { "@modelcontextprotocol/conformance": "$MCP_CONFORMANCE" }
}
JSON
    (cd "$folder" && npm install --no-audit --no-fund --loglevel=error >&2)
    [[ -f $folder/node_modules/@modelcontextprotocol/conformance/dist/index.js ]] ||
        fail "the conformance suite has no dist/index.js"
    printf '%s' "$wanted" >"$folder/.installed"
    say "conformance: $wanted, $((SECONDS - start)) s, $(size "$folder")"
}

# Prometheus's own check of its rules: the one of this machine, else Debian's, unpacked and not installed.
promtool() {
    local folder=$tools/promtool start=$SECONDS
    if [[ -x $folder/promtool ]]; then
        say "promtool: there already ($("$folder/promtool" --version | head -1))"
        return
    fi
    mkdir -p "$folder"
    if type -P promtool >/dev/null; then
        ln -sf "$(type -P promtool)" "$folder/promtool"
    else
        # It comes with the system's packages, which a machine may have no way to: then it is named as left out.
        if ! (cd "$folder" && apt-get download --quiet prometheus >&2 && dpkg -x prometheus_*.deb unpacked); then
            rm -rf "$folder"
            say "promtool: not there; install Prometheus, whose promtool is then found in PATH"
            return
        fi
        mv "$folder/unpacked/usr/bin/promtool" "$folder/promtool"
        rm -rf "$folder"/unpacked "$folder"/prometheus_*.deb
    fi
    "$folder/promtool" --version >/dev/null || fail "promtool does not run"
    say "promtool: $("$folder/promtool" --version | head -1), $((SECONDS - start)) s, $(size "$folder")"
}

[[ $# -gt 0 ]] || set -- emulators python node servers conformance promtool schemathesis
for part in "$@"; do
    case $part in
    emulators | python | node | servers | conformance | promtool | schemathesis) ;;
    *) fail "unknown part '$part'; the parts are emulators, python, node, servers, conformance, promtool and schemathesis" ;;
    esac
done
for part in "$@"; do "$part"; done
say "all in $tools ($(size "$tools"))"
