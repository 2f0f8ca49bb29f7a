#!/usr/bin/env bash
# Tests the messages of load: when nothing listens, when it is stopped, when the
# server stalls, when its output is not read, when this machine has no ports or descriptors
# left, when the server is slow, and to an address with a zone. Needs python3, and unshare
# and ip for the namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
pids=()
trap 'for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; rm -rf "$dir"' EXIT
CGO_ENABLED=0 go build -o "$dir/bothends" ./cmd/bothends
export PATH=$dir:$PATH

failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }

# listen ARGS...: a server on a free port, which is then in $port.
listen() {
	rm -f "$dir/listening"
	bothends server "$@" >"$dir/listening" 2>/dev/null &
	pids+=($!)
	port=
	until port=$(sed -n "s/^Listening at .*, \([0-9]*\)[^0-9]*$/\1/p;q" "$dir/listening" 2>/dev/null) && [ -n "$port" ]; do sleep 0.02; done
}

# of FILE EXPRESSION: whether a Python expression is true of the summary, r, in the last
# line of a JSON output.
of() {
	python3 -c '
import json, sys
r = json.loads(open(sys.argv[1]).read().splitlines()[-1])
sys.exit(0 if eval(sys.argv[2]) else "%s: %s" % (sys.argv[2], {k: r[k] for k in ("exchanges", "outcomes", "rate", "throughput", "back_offs", "unsent")}))
' "$1" "$2"
}

echo "nothing listens: it backs off, and none of it is rate"
listen 127.0.0.1:0
kill "${pids[-1]}"
wait "${pids[-1]}" || true
code=0
bothends load "127.0.0.1:$port" -c 10 -d 1s -o json >"$dir/out" 2>"$dir/err" || code=$?
[ $code = 1 ] || fail "exit $code"
of "$dir/out" 'r["exchanges"] <= 200 and r["throughput"] == 0 and r["outcomes"] == {"refused": r["exchanges"]} and r["back_offs"] == r["exchanges"] and r["generator"]["cores"] < 0.5' || fail "refused"

echo "stopped in the warm-up: one line, and nothing on standard output"
listen 127.0.0.1:0
bothends load "127.0.0.1:$port" -d 1m --warmup 50s -r 10 --save "$dir/run.json" >"$dir/out" 2>"$dir/err" &
load=$!
until [ "$(wc -l <"$dir/listening")" -gt 3 ] || ! kill -0 $load; do sleep 0.02; done
kill -INT $load
code=0
wait $load || code=$?
[ $code = 130 ] && [ ! -s "$dir/out" ] && [ ! -s "$dir/run.json" ] && [ "$(cat "$dir/err")" = "bothends: stopped before anything was measured" ] ||
	fail "exit $code: $(cat "$dir/out" "$dir/err")"

echo "the server stalls: it says what it waits for"
listen 127.0.0.1:0 --fault stall:4
code=0
bothends load "127.0.0.1:$port" -c 3 -d 1s --timeout 2s >"$dir/out" 2>"$dir/err" || code=$?
[ $code = 1 ] && grep -q '^bothends: waiting for 3 exchanges, at most 2s$' "$dir/err" || fail "exit $code: $(cat "$dir/err")"

echo "the output is not read for three seconds: the intervals are as long as ever"
python3 - <<'PYTHON' || fail "a reader that pauses"
import fcntl, json, os, subprocess, time
r, w = os.pipe()
fcntl.fcntl(w, 1031, 4096)  # F_SETPIPE_SZ
os.write(w, b"x" * 4000 + b"\n")  # the first line blocks
load = subprocess.Popen(["bothends", "load", "-r", "200", "-d", "4s", "-o", "json"], stdout=w)
os.close(w)
time.sleep(3.3)
lines = [json.loads(line) for line in os.fdopen(r).read().splitlines()[1:]]
intervals, run = lines[:-1], lines[-1]
assert load.wait() == 0 and run["exchanges"] == 800, run["exchanges"]
whole = [i for i in intervals if i["seconds"] > 0.1]
assert len(whole) == 4 and all(0.8 < i["seconds"] < 1.2 for i in whole), [i["seconds"] for i in intervals]
assert run["seconds"] < 4.3, run["seconds"]
PYTHON

echo "a server that is too slow: that is none of the generator's lag"
listen 127.0.0.1:0 --fault delay:10ms
bothends load "127.0.0.1:$port" -c 2 -r 1000 -d 2s -o json >"$dir/out" 2>"$dir/err" || true
of "$dir/out" 'r["generator"]["start_delay"]["p99"] > 1 and r["generator"]["scheduling_lag"]["p99"] < 0.05 * r["generator"]["start_delay"]["p99"] and r["exchanges"] + r["unsent"] == 2000' || fail "lag"

echo "this machine has no descriptors left: that is not the server's"
listen 127.0.0.1:0 --persistent
code=0
(ulimit -n 20 && bothends load "127.0.0.1:$port" -c 50 --persistent -d 1s -o json --fail-if 'errors>0' >"$dir/out" 2>"$dir/err") || code=$?
[ $code = 1 ] && grep -q ' exchanges failed on this machine; the first: ' "$dir/err" && grep -q '"hint":"[^"]*ulimit' "$dir/err" || fail "exit $code: $(cat "$dir/err")"
of "$dir/out" 'set(r["outcomes"]) == {"ok", "local"} and r["generator"]["limits"]' || fail "descriptors"

# What follows is in namespaces of its own.
cat >"$dir/inside" <<'INSIDE'
set -euo pipefail
ip link set lo up
ip -6 addr add fe80::1060/64 dev lo nodad
echo 'fe80::1060%lo linked' >"$DIR/hosts"
mount --bind "$DIR/hosts" /etc/hosts
server=
trap 'kill $server' EXIT
rm -f "$DIR/listening"
bothends server '[::]:1060' --persistent >"$DIR/listening" 2>/dev/null &
server=$!
until grep -qs Listening "$DIR/listening"; do sleep 0.02; done

echo "an address with a zone, and a name with one"
for host in fe80::1060%lo '[fe80::1060%lo]:1060' linked linked:1060; do
	bothends load "$host" -n 10 -q --persistent || { echo "FAILED: $host" >&2; exit 1; }
done

echo "this machine has no ports left: that is not the server's"
sysctl -q -w net.ipv4.ip_local_port_range="20000 20001"
code=0
bothends load '[::1]:1060' -c 10 --persistent -d 1s -o json --fail-if 'errors>0' >"$DIR/out" 2>"$DIR/err" || code=$?
[ $code = 1 ] && grep -q ' exchanges failed on this machine; the first: ' "$DIR/err" && grep -q '"hint":"[^"]*--source' "$DIR/err" ||
	{ echo "FAILED: exit $code: $(cat "$DIR/err")" >&2; exit 1; }
INSIDE
DIR=$dir unshare --user --map-root-user --net --mount bash "$dir/inside" || fail "in the namespaces"
of "$dir/out" 'set(r["outcomes"]) == {"ok", "local"}' || fail "ports"

exit $failed
