#!/usr/bin/env bash
# Tests which outcome the client reports through a proxy that sends one octet per
# millisecond both ways: of the exchange, and of ten octets of the reply followed by RST,
# by FIN and by silence, RUNS times each. Fails if an outcome is wrong. About 60 s.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-1000}
dir=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$dir"' EXIT
go build -o "$dir/bothends" ./cmd/bothends

# start NAME ARG... runs bothends in the background, and prints where it listens.
start() {
	local name=$1
	shift
	"$dir/bothends" "$@" >"$dir/$name.out" 2>"$dir/$name.err" &
	pids+=($!)
	for ((i = 0; i < 500; i++)); do
		at=$(sed -n "s/.*istening at \(('127.0.0.1', \|127.0.0.1:\)\([0-9]*\).*/127.0.0.1:\2/p" "$dir/$name.out" "$dir/$name.err" | head -1)
		[ -z "$at" ] || return 0
		sleep 0.01
	done
	cat "$dir/$name.err" >&2
	return 1
}

start server server 127.0.0.1:0
server=$at
drip=drip:1/1ms
failed=0
while read -r what want timeout replies; do
	start "$what" proxy "$server" --listen 127.0.0.1:0 --fault-requests $drip --fault-replies "$drip$replies"
	seq "$runs" | xargs -P 60 -I{} "$dir/bothends" client "$at" -o json --timeout "$timeout" 2>/dev/null |
		sed 's/.*"outcome":"\([a-z]*\)".*"reply":{[^}]*"octets":\([0-9]*\).*/\1 after \2 octets/' |
		sort | uniq -c >"$dir/counts" || true
	echo "$what: $(sed 's/^ *//' "$dir/counts" | paste -sd, | sed 's/,/, /g')"
	[ "$(sed 's/^ *//' "$dir/counts")" = "$runs ${want//_/ }" ] || failed=1
done <<-'LIST'
	whole ok_after_16_octets 10s
	rst reset_after_10_octets 10s +reset:10
	fin short_after_10_octets 10s +close:10
	silence timeout_after_10_octets 1s +stall:10
LIST
exit $failed
