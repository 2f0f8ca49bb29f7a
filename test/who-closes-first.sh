#!/bin/sh
# Counts which end keeps TIME_WAIT after 1,000 exchanges between two processes, in
# a new network namespace. The end that closed first keeps it. About 5 s.
# Needs Go, unshare (util-linux) and ip (iproute2).
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/bothends" ./cmd/bothends
unshare -rn sh -euc '
	ip link set lo up
	mkfifo "$0/out"
	"$0/bothends" server 127.0.0.1 >"$0/out" 2>/dev/null &
	server=$!
	exec 3<"$0/out"
	read -r listening <&3
	cat <&3 >/dev/null &
	for i in $(seq 1000); do "$0/bothends" client 127.0.0.1 -q; done
	# proc(5): state 06 is TIME_WAIT, port 0424 is 1060.
	awk '\''$4 == "06" { split($2, at, ":"); if (at[2] == "0424") server++; else client++ }
		END { printf "TIME_WAIT at the server: %d, at the client: %d\n", server, client }'\'' /proc/net/tcp
	kill -TERM $server
	wait
' "$dir"
