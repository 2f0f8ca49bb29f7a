#!/usr/bin/env bash
# Tests that check does not blame a server for a lack of resources on this machine, or
# for the first address of a name: no descriptors, no ports, an address that does not
# answer. Creates its own network namespaces. Needs unshare (util-linux), ip (iproute2)
# and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1-}" != in ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	CGO_ENABLED=0 go build -o "$dir/bothends" ./cmd/bothends
	unshare --user --map-root-user --net --mount "$0" in "$dir"
	exit
fi
dir=$2
PATH=$dir:$PATH
failed=0
ip link set lo up
printf '127.0.0.9 box\n127.0.0.1 box localhost\n' >"$dir/hosts"
mount --bind "$dir/hosts" /etc/hosts
bothends server 127.0.0.1:1060 -q --timeout 1s >/dev/null 2>&1 &
server=$!
trap 'kill $server $hole' EXIT
# Its queue is full: a connection to it is not answered.
python3 - >"$dir/full" <<'PYTHON' &
import socket
import time

listener = socket.socket()
listener.bind(("127.0.0.9", 1060))
listener.listen(0)
clients = [socket.socket() for _ in range(3)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(("127.0.0.9", 1060))
print("full", flush=True)
time.sleep(600)
PYTHON
hole=$!
until bothends client 127.0.0.1 -q >/dev/null 2>&1 && [ -s "$dir/full" ]; do sleep 0.05; done

# checks WHAT STATUS TEXT COMMAND... looks for TEXT in what the command prints.
checks() {
	local what=$1 want=$2 text=$3 status=0
	shift 3
	"$@" >"$dir/out" 2>&1 || status=$?
	if [ "$status" != "$want" ] || ! grep -q -- "$text" "$dir/out" || grep -q 'FAIL\|does not survive' "$dir/out"; then
		printf 'FAIL  %s: exit status %s, want %s, and "%s" in:\n' "$what" "$status" "$want" "$text"
		cat "$dir/out"
		failed=1
		return
	fi
	printf 'ok    %s: %s\n' "$what" "$(grep -m 1 -- "$text" "$dir/out")"
}

check=(bothends check 127.0.0.1)
limited() { (ulimit -n "$1" && shift && "$@"); }
few=(limited 60 "${check[@]}" --only whole,many,reset)
checks "enough of all" 0 'survives: 3 cases: 3 passed' "${check[@]}" --only whole,many,reset
checks "no descriptors for many" 1 '^skip  many ' "${few[@]}"
checks "no descriptors for many, the verdict" 1 '1 of 3 cases could not be run, no verdict: 2 passed, 1 skipped' "${few[@]}"
checks "no descriptors for many, the hint" 1 '^hint: raise the limit of open files' "${few[@]}"
checks "no descriptors for one" 3 'connect to .*: too many open files' limited 7 "${check[@]}"
checks "a first address that does not answer" 0 '^127.0.0.1:1060 survives: 2 cases' bothends check box --only whole,many
checks "no address of that family" 3 "resolve box" bothends check box -6
sysctl -qw net.ipv4.ip_local_port_range='50000 50040' net.ipv4.tcp_tw_reuse=0
checks "no ports for connect-close" 1 '^hint: the ports of this machine are used up' "${check[@]}" --only connect-close
checks "no ports for one" 3 '^hint: the ports of this machine are used up' "${check[@]}"
exit $failed
