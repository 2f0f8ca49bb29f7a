#!/usr/bin/env bash
# Tests server and client in cases that need a network namespace, an ordinary user or a
# limit: the second address of a name, zones, --source and --pcap without the privilege, a
# server without descriptors. Takes about 8 s; needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1-}" != inside ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	chmod 755 "$dir"
	go build -o "$dir/bothends" ./cmd/bothends
	unshare --net --mount "$0" inside "$dir"
	exit
fi

dir=$2
bothends=$dir/bothends
pids=()
trap '[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true' EXIT

# says TEXT CODE COMMAND...: the command ends with that status, and prints TEXT.
says() {
	local want=$1 code=$2 got=0 out
	shift 2
	out=$("$@" 2>&1) || got=$?
	if [ "$got" != "$code" ] || [[ $out != *"$want"* ]]; then
		printf '%s: exit status %s, want %s, and %q in:\n%s\n' "$*" "$got" "$code" "$want" "$out" >&2
		exit 1
	fi
	echo "ok: ${*/#$dir\//}"
}

# server NAME ARG... starts a server, and waits until it listens.
server() {
	local name=$1
	shift
	"$bothends" server "$@" >"$dir/$name.out" 2>"$dir/$name.err" &
	pids+=($!)
	for ((i = 0; i < 500; i++)); do
		! grep -sq 'istening' "$dir/$name.out" || return 0
		sleep 0.01
	done
	cat "$dir/$name.err" >&2
	exit 1
}

user() { setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all "$@"; }

ip link set lo up
ip link add d0 type veth peer name d1
ip link set d1 up
ip link set d0 arp off up
ip addr add 198.51.100.2/24 dev d0
ip addr add fe80::5/64 dev d0 nodad

# A name whose first address drops everything: the other end of d0 has no address.
printf '127.0.0.1 localhost\n198.51.100.1 two.example\n198.51.100.2 two.example\n' >"$dir/hosts"
printf 'hosts: files\n' >"$dir/nsswitch"
mount --bind "$dir/hosts" /etc/hosts
mount --bind "$dir/nsswitch" /etc/nsswitch.conf
server two 198.51.100.2
says "The server said 'Farewell, client'" 0 "$bothends" client two.example --timeout 500ms
says "The server said 'Farewell, client'" 0 "$bothends" client two.example -4 --timeout 500ms --source :4321
says "connect to 198.51.100.1:1060: timed out" 4 "$bothends" client 198.51.100.1 --timeout 200ms

# A zone is preserved at both ends, in text and in JSON.
server zone fe80::5%d0 -o json
says "('fe80::5%d0'" 0 "$bothends" client fe80::5%d0
says '"peer":"[fe80::5%d0]:1060"' 0 "$bothends" client '[fe80::5%d0]:1060' -o json
grep -q '"schema":"bothends.listening/v1".*"local":"\[fe80::5%d0\]:1060","port":1060' "$dir/zone.out"
says '[fe80::5%d0]:1060' 0 "$bothends" client fe80::5%d0 -q --trace --pcap "$dir/zone.pcapng"
says "a link-local address needs the name of an interface, as in fe80::5%eth0" 3 "$bothends" client fe80::5
says "if 1060 is the port, use [fe80::5%d0]:1060" 3 "$bothends" client fe80::5%d0:1060
says "if 1060 is the port, use [::1]:1060" 3 "$bothends" client ::1:1060

# Without a privilege.
server plain 127.0.0.1
says "bind to 127.0.0.1:80: permission denied" 3 user "$bothends" client 127.0.0.1 --source 127.0.0.1:80
says "use a port above 1023 for --source" 3 user "$bothends" client 127.0.0.1 --source :80
says "capturing packets needs CAP_NET_RAW" 1 user "$bothends" client 127.0.0.1 --pcap "$dir/none.pcapng"
says "bind to 127.0.0.1:1060: address already in use" 3 "$bothends" client 198.51.100.2 --source 127.0.0.1:1060 --pcap "$dir/none.pcapng"

# Requested output that cannot be printed.
says "no space left on device" 1 sh -c 'exec "$1" client 127.0.0.1 >/dev/full' - "$bothends"
says "The server said" 1 sh -c 'exec "$1" client 127.0.0.1 --trace 2>/dev/full' - "$bothends"

# A server without descriptors reports this in one line with a number, and continues.
(
	ulimit -n 20
	exec "$bothends" server 127.0.0.1:1070 --timeout 500ms >"$dir/few.out" 2>"$dir/few.err"
) &
pids+=($!)
few=$!
for ((i = 0; i < 500; i++)); do
	! grep -sq istening "$dir/few.out" || break
	sleep 0.01
done
for ((i = 0; i < 40; i++)); do
	exec {fd}<>/dev/tcp/127.0.0.1/1070
done
says "The server said 'Farewell, client'" 0 "$bothends" client 127.0.0.1:1070 --timeout 20s
kill "$few"
wait "$few" || true
lines=$(grep -c '^bothends: accept failed: too many open files (failures [0-9]*)$' "$dir/few.err")
if [ "$lines" -lt 1 ] || [ "$lines" -gt 3 ] || grep -q 'level=' "$dir/few.err"; then
	echo "$lines lines about accept:" >&2
	cat "$dir/few.err" >&2
	exit 1
fi
echo "ok: a server without descriptors, $lines lines"
