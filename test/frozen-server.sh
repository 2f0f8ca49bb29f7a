#!/usr/bin/env bash
# A server stops for 2 of 8 seconds, at 100 exchanges per second: 200 of 800 are due in
# this time. Measured from the due time, p90 and p99 must be those that arithmetic gives,
# within 5 %. The service time does not show most of the delay. Needs python3 to read
# JSON.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
server=
trap 'kill -CONT $server 2>/dev/null || true; kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
CGO_ENABLED=0 go build -o "$dir/bothends" ./cmd/bothends
"$dir/bothends" server 127.0.0.1:0 >"$dir/listening" 2>/dev/null &
server=$!
until port=$(sed -n "s/Listening at ('127.0.0.1', \([0-9]*\))/\1/p;q" "$dir/listening") && [ -n "$port" ]; do sleep 0.05; done

"$dir/bothends" load "127.0.0.1:$port" -r 100 -d 8s -c 10 -o json >"$dir/out" &
load=$!
sleep 3
kill -STOP $server
began=$(date +%s%N)
sleep 2
kill -CONT $server
ended=$(date +%s%N)
wait $load
tail -1 "$dir/out" | python3 -c '
import json, sys
run, frozen = json.load(sys.stdin), (int(sys.argv[2]) - int(sys.argv[1])) / 1e9
due = frozen * 100
latency, service = run["latency"], run["service"]
print("%d exchanges, frozen for %.3f s" % (run["exchanges"], frozen))
failed = run["exchanges"] != 800 or run["outcomes"] != {"ok": 800}
for name, share in ("p90", 0.1), ("p99", 0.01):
    want = frozen * (1 - 800 * share / due)  # that share of all waited longer
    off = latency[name] / want - 1
    print("%s from the due time %.3f s, by arithmetic %.3f s (%+.1f %%); service time %.3f s" % (name, latency[name], want, 100 * off, service[name]))
    failed |= abs(off) > 0.05
failed |= service["p90"] > 0.1
sys.exit("not what arithmetic gives" if failed else 0)
' "$began" "$ended"
