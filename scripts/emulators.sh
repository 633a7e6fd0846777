#!/usr/bin/env bash
# Starts and stops the AWS emulators that the tests use, on this machine's loopback address only.
#
#   scripts/emulators.sh start|stop|status
#
# ministack listens on 127.0.0.1:4566 (MINISTACK_PORT), moto on 127.0.0.1:5000 (MOTO_PORT). `start`
# returns when both answer, or fails and says why; run again, it leaves alone what is running. Process
# ids and logs lie in target/test-tools/run. scripts/test-tools.sh installs the emulators.
set -euo pipefail

ministack_port=${MINISTACK_PORT:-4566}
moto_port=${MOTO_PORT:-5000}
ready_within=30 # seconds
end_within=5    # seconds, then it is killed

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=$root/target/test-tools/emulators/bin
run=$root/target/test-tools/run

say() { printf 'emulators: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

address() {
    case $1 in
    ministack) echo "http://127.0.0.1:$ministack_port" ;;
    moto) echo "http://127.0.0.1:$moto_port" ;;
    esac
}

program() {
    case $1 in
    ministack) echo ministack ;;
    moto) echo moto_server ;;
    esac
}

# answers <name>: whether it is this emulator that answers at its address.
answers() {
    local page=_ministack/health
    [[ $1 == ministack ]] || page=moto-api/config
    "$bin/python" - "$(address "$1")/$page" <<'PYTHON' 2>/dev/null
import json, sys, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with direct.open(sys.argv[1], timeout=2) as answer:
    json.load(answer)
PYTHON
}

# lives <name>: whether the process that we started is there; another one may have got its number.
lives() {
    [[ -f $run/$1.pid ]] && ps -p "$(<"$run/$1.pid")" -o args= 2>/dev/null | grep -q "$(program "$1")"
}

launch() {
    cd "$run"
    case $1 in
    ministack)
        BIND_HOST=127.0.0.1 GATEWAY_PORT=$ministack_port AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test \
            exec "$bin/ministack"
        ;;
    moto) exec "$bin/moto_server" -H 127.0.0.1 -p "$moto_port" ;;
    esac
}

start() {
    local name=$1 began=$SECONDS
    if lives "$name"; then
        answers "$name" || fail "$name is there and does not answer; see $run/$name.log, or stop it"
        say "$name: running already at $(address "$name")"
        return
    fi
    ! answers "$name" || fail "another $name answers at $(address "$name"), not started from here"
    # A process group of its own, so that it outlives this script and `stop` ends its children too.
    set -m
    launch "$name" </dev/null >"$run/$name.log" 2>&1 &
    set +m
    local pid=$!
    echo "$pid" >"$run/$name.pid"
    until answers "$name"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            tail -n 20 "$run/$name.log" >&2
            rm -f "$run/$name.pid"
            fail "$name ended instead of starting; its last words stand above"
        fi
        ((SECONDS - began < ready_within)) || fail "$name does not answer within $ready_within s; see $run/$name.log"
        sleep 0.2
    done
    say "$name: ready at $(address "$name") after $((SECONDS - began)) s"
}

stop() {
    local name=$1 pid began=$SECONDS
    if ! lives "$name"; then
        rm -f "$run/$name.pid"
        say "$name: not running"
        return
    fi
    pid=$(<"$run/$name.pid")
    kill -TERM -- "-$pid"
    while lives "$name"; do
        if ((SECONDS - began >= end_within)); then
            kill -KILL -- "-$pid" 2>/dev/null || true
        fi
        sleep 0.1
    done
    rm -f "$run/$name.pid"
    say "$name: stopped"
}

status() {
    if lives "$1" && answers "$1"; then
        say "$1: running at $(address "$1")"
    else
        say "$1: not running"
        return 1
    fi
}

case ${1:-} in
start)
    [[ -x $bin/ministack ]] || fail "the emulators are not installed; run scripts/test-tools.sh emulators"
    mkdir -p "$run"
    for name in ministack moto; do start "$name"; done
    ;;
stop) for name in ministack moto; do stop "$name"; done ;;
status)
    all=0
    for name in ministack moto; do status "$name" || all=1; done
    exit "$all"
    ;;
*)
    say "usage: scripts/emulators.sh start|stop|status"
    exit 2
    ;;
esac
