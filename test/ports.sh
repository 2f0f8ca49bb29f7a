#!/usr/bin/env bash
# One exchange per connection at full speed over loopback, for a minute (SECONDS_EACH):
# ports do not run out, and no exchange fails.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
CGO_ENABLED=0 go build -o "$dir/bothends" ./cmd/bothends
"$dir/bothends" server 127.0.0.1:0 -q >/dev/null 2>&1 &
server=$!
port=
for ((i = 0; i < 200; i++)); do
	port=$(ss -Hltnp 2>/dev/null | sed -n "s/.*127.0.0.1:\([0-9]*\) .*pid=$server,.*/\1/p")
	[ -z "$port" ] || break
	sleep 0.05
done
[ -n "$port" ] || { echo "the server does not listen" >&2; exit 1; }
"$dir/bothends" load "127.0.0.1:$port" -c 16 -d "${SECONDS_EACH:-60}s" --fail-if 'errors>0' >"$dir/out"
sed -n '/^rate  /p; /^outcomes/p' "$dir/out"
