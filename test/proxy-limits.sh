#!/usr/bin/env bash
# Mistakes and limits of bothends proxy that need namespaces, signals or a small
# ulimit: a name that is not answered, a target that is the proxy itself, too large
# files of rules, clients that have left, and too few descriptors. About 15 s.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${IN_NAMESPACE-}" ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	go build -o "$dir/bothends" ./cmd/bothends
	IN_NAMESPACE=1 DIR=$dir unshare --user --map-root-user --mount --net --pid --fork --mount-proc "$0"
	exit
fi
dir=$DIR
bothends=$dir/bothends
ip link set lo up
echo nameserver 127.0.0.1 >"$dir/resolv.conf"
mount --bind "$dir/resolv.conf" /etc/resolv.conf
failed=0
check() { # NAME WANT GOT
	if [ "$2" = "$3" ]; then echo "ok    $1"; else echo "FAIL  $1: $3, want $2"; failed=1; fi
}
below() { # NAME MOST GOT
	if [ "$3" -le "$2" ]; then echo "ok    $1: $3"; else echo "FAIL  $1: $3, at most $2"; failed=1; fi
}
now() { echo $(($(date +%s%N) / 1000000)); }
await() { # FILE PATTERN
	for ((i = 0; i < 500; i++)); do
		! grep -qs "$2" "$1" || return 0
		sleep 0.01
	done
	echo "no $2 in:" >&2
	cat "$1" >&2
	return 1
}
descriptors() { ls "/proc/$1/fd" | wc -l; }

# A name server that does not answer.
python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
time.sleep(600)' &
for ((i = 0; i < 500; i++)); do
	! grep -q ':0035 ' /proc/net/udp || break
	sleep 0.01
done

echo "== a name that is not answered"
for signal in TERM:143 INT:130; do
	want=${signal#*:} signal=${signal%:*}
	"$bothends" proxy 127.0.0.1:1 --listen unanswered.example:7000 2>/dev/null &
	pid=$!
	sleep 0.5
	start=$(now)
	kill -$signal $pid
	wait $pid && code=0 || code=$?
	check "SIG$signal while it looks up --listen: exit status" "$want" $code
	below "SIG$signal while it looks up --listen: ms" 1000 $(($(now) - start))
done
echo 'proxies: [{name: a, listen: 127.0.0.1:7000, target: 127.0.0.1:1}]' >"$dir/rules.yaml"
"$bothends" proxy --rules "$dir/rules.yaml" --admin 127.0.0.1:8474 2>"$dir/err" &
pid=$!
await "$dir/err" 'API answers'
echo 'proxies: [{name: b, listen: unanswered.example:7001, target: 127.0.0.1:1}]' >"$dir/rules.yaml"
kill -HUP $pid
sleep 0.5
start=$(now)
check "the API while SIGHUP's rules are looked up" a \
	"$(curl -s 127.0.0.1:8474/v1/proxies | sed 's/.*"name":"\([^"]*\)".*/\1/')"
below "the API: ms" 1000 $(($(now) - start))
echo 'proxies: [{name: c, listen: 127.0.0.1:7002, target: 127.0.0.1:1}]' >"$dir/rules.yaml"
kill -HUP $pid
await "$dir/err" 'was read again'
below "another SIGHUP ends the look-up: ms" 1500 $(($(now) - start))
kill $pid
wait $pid || true

echo "== a target that is the proxy itself"
while read -r target listen; do
	"$bothends" proxy "$target" --listen "$listen" 2>"$dir/err" && code=0 || code=$?
	check "$listen to $target" "2 bothends: TARGET: it is the address of this proxy itself" "$code $(head -1 "$dir/err")"
done <<-'LIST'
	127.0.0.1:7000 127.0.0.1:7000
	127.0.0.1:7000 :7000
	[::1]:7000 :7000
	localhost:7000 127.0.0.1:7000
LIST

echo "== files of rules"
start=$(now)
"$bothends" proxy --rules /dev/zero 2>"$dir/err" && code=0 || code=$?
check "/dev/zero" "2 bothends: /dev/zero:1: the file is larger than 1048576 octets (1 MiB)" "$code $(head -1 "$dir/err")"
below "/dev/zero: ms" 2000 $(($(now) - start))
python3 - "$bothends" "$dir/large.yaml" <<-'SCRIPT' >"$dir/large"
	import resource, subprocess, sys
	with open(sys.argv[2], "w") as f:
	    f.write("proxies:\n" + "".join(f"  - {{name: p{i}, listen: ':{i}', target: 'a:1'}}\n" for i in range(300000)))
	code = subprocess.run([sys.argv[1], "proxy", "--rules", sys.argv[2]], stderr=subprocess.DEVNULL).returncode
	print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
SCRIPT
read -r code mib <"$dir/large"
check "a file of 14 MB: exit status" 2 "$code"
below "a file of 14 MB: MiB of memory" 128 "$mib"

echo "== clients that have left a delay on connecting"
"$bothends" proxy 127.0.0.1:1 --listen 127.0.0.1:7003 --fault-connect delay:1h -q 2>"$dir/err" &
pid=$!
for ((i = 0; i < 500; i++)); do
	! (: <>/dev/tcp/127.0.0.1/7003) 2>/dev/null || break
	sleep 0.01
done
sleep 0.5
before=$(descriptors $pid)
python3 - <<-'SCRIPT'
	import socket
	sockets = [socket.create_connection(("127.0.0.1", 7003)) for i in range(500)]
	for s in sockets:
	    s.close()
SCRIPT
sleep 1
below "descriptors after 500 clients" "$before" "$(descriptors $pid)"
kill $pid
wait $pid || true

echo "== descriptors"
"$bothends" server 127.0.0.1:7010 --message-size 100 -q 2>/dev/null &
server=$!
(
	ulimit -n 100
	exec "$bothends" proxy 127.0.0.1:7010 --listen 127.0.0.1:7004 --admin 127.0.0.1:8475 2>"$dir/err" >"$dir/out"
) &
pid=$!
await "$dir/err" 'API answers'
idle=$(descriptors $pid)
python3 - <<-'SCRIPT' &
	import socket, time
	sockets = [socket.create_connection(("127.0.0.1", 7004)) for i in range(20)]
	time.sleep(1.5)
	sockets += [socket.create_connection(("127.0.0.1", 7004)) for i in range(80)]
	time.sleep(600)
SCRIPT
clients=$!
sleep 1
below "descriptors of 20 connections" 40 $(($(descriptors $pid) - idle))
sleep 2
for ((i = 0; i < 5; i++)); do
	check "the API without descriptors: list" 200 \
		"$(curl -s -m 5 -o /dev/null -w '%{http_code}' 127.0.0.1:8475/v1/proxies)"
done
grep -q 'too many open files' "$dir/err" "$dir/out" || check "descriptors were used up" yes no
check "the API without descriptors: remove" 204 \
	"$(curl -s -m 5 -o /dev/null -w '%{http_code}' -X DELETE 127.0.0.1:8475/v1/proxies/127.0.0.1:7004)"
await "$dir/err" 'removed 127.0.0.1:7004'
sleep 0.5
below "descriptors after that" "$idle" "$(descriptors $pid)"
kill $clients $pid $server
exit $failed
