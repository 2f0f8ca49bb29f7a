#!/usr/bin/env bash
# A first signal ends every command: SIGINT, SIGTERM and SIGHUP, with a standard output
# that is a file, a full pipe that is not read, and a pipe whose reader has left; while a
# name is looked up, and while it reads a FIFO without a writer. The command ends
# within a second, with the exit status that the help names; what should be saved is saved,
# and no child is left. Needs root, for a network of its own, util-linux and socat.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${INSIDE-}" ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	CGO_ENABLED=0 go build -o "$dir/bothends" ./cmd/bothends
	INSIDE=$dir unshare -mnpf --kill-child --mount-proc "$0"
	exit
fi
dir=$INSIDE
limit=${LIMIT:-2000} # ms: the second that is promised, and as much for a busy machine
ip link set lo up
echo 'nameserver 127.0.0.1' >"$dir/resolv.conf"
mount --bind "$dir/resolv.conf" /etc/resolv.conf
socat -u UDP-RECV:53 /dev/null & # a name server that never answers
"$dir/bothends" server 127.0.0.1 -q --persistent 2>/dev/null &
socat TCP-LISTEN:7,fork,reuseaddr EXEC:'sleep 1000' & # a server that is silent
until (exec 3<>/dev/tcp/127.0.0.1/1060 && exec 3<>/dev/tcp/127.0.0.1/7) 2>/dev/null; do sleep 0.05; done

# opened KIND FILE: make descriptor 3 the standard output of that kind
opened() {
	case $1 in
	file) exec 3>"$2" ;;
	full)
		mkfifo "$2"
		exec 4<>"$2" 3>"$2"
		dd if=/dev/zero of="$2" bs=65536 count=1 oflag=nonblock status=none
		;;
	left)
		mkfifo "$2"
		exec 4<>"$2" 3>"$2" 4>&-
		;;
	esac
}

# one SIGNAL KIND STATUS READY SAVED COMMAND...: send SIGNAL when READY is true. $d is a
# directory for the command's files; afterwards SAVED must be true.
one() {
	local sig=$1 kind=$2 want=$3 ready=$4 saved=$5 start took code=0
	shift 5
	d=$(mktemp -d -p "$dir")
	mkfifo "$d/fifo"
	exec 5<>"$d/fifo"
	opened "$kind" "$d/out"
	env --default-signal=INT,TERM,HUP,PIPE "${@//DIR/$d}" <"$d/fifo" >&3 2>"$d/err" 4>&- 5>&- &
	pid=$!
	for ((i = 0; i < 200; i++)); do
		if eval "$ready"; then break; fi
		sleep 0.02
	done
	start=$(date +%s%N)
	kill "-$sig" $pid 2>/dev/null || true
	[ -z "${twice-}" ] || kill "-$sig" $pid 2>/dev/null || true
	(sleep 5 && kill -KILL $pid) 2>/dev/null &
	{ wait $pid || code=$?; } 2>/dev/null # the shell would report each signal
	took=$((($(date +%s%N) - start) / 1000000))
	if [ $code != "$want" ] || [ $took -gt "$limit" ] || ! eval "$saved"; then
		echo "SIG$sig, standard output $kind: exit status $code, want $want; $took ms; $saved: ${*//DIR/$d}"
		cat "$d/err"
	fi >>"$dir/failed"
	echo $took >>"$dir/times"
}

# each STATUS READY SAVED COMMAND...: with every signal and every kind of output in $kinds.
# STATUS 128 means 128 and the number of the signal. Three commands run at a time.
pending=()
each() {
	each_signal "$@" &
	pending+=($!)
	[ ${#pending[@]} -lt 3 ] || finish
}
finish() {
	[ ${#pending[@]} = 0 ] || wait "${pending[@]}"
	pending=()
}

each_signal() {
	local status=$1 want pids=()
	shift
	for sig in INT TERM HUP; do
		for kind in $kinds; do
			want=$status
			[ "$status" != 128 ] || want=$((128 + $(kill -l $sig)))
			(one $sig $kind $want "$@") &
			pids+=($!)
		done
	done
	wait "${pids[@]}"
}

listens() { ss -Hltn "sport = :$1" | grep -q .; }
connected() { ss -Htnp state established "dport = :$1" | grep -q "pid=$pid,"; }
asleep() { sleep 0.4; } # for what shows nothing of what it does

kinds="file full left"
each 0 'ss -Hltnp | grep -q "pid=$pid," && sleep 0.2' true "$dir/bothends" server 127.0.0.1:0
each 0 'ss -Hltnp | grep -q "pid=$pid," && sleep 0.2' true "$dir/bothends" proxy 127.0.0.1:1060 --listen 127.0.0.1:0
each 128 'connected 7' true "$dir/bothends" client 127.0.0.1:7
each 128 asleep true "$dir/bothends" client 127.0.0.1:7 -o json
kinds="file full"
each 128 asleep true "$dir/bothends" report show -
each 128 asleep true "$dir/bothends" report DIR/fifo
each 128 asleep true "$dir/bothends" report compare DIR/fifo DIR/fifo
each 128 asleep '[ ! -e $d/all ]' "$dir/bothends" report merge DIR/fifo --out DIR/all
each 128 asleep '[ ! -e $d/all ]' "$dir/bothends" report html DIR/fifo --out DIR/all
each 128 asleep true "$dir/bothends" client --message @DIR/fifo
each 128 asleep true "$dir/bothends" proxy --rules DIR/fifo
each 128 asleep true "$dir/bothends" server name.test
each 128 asleep true "$dir/bothends" client name.test
each 128 asleep true "$dir/bothends" load name.test
each 128 asleep true "$dir/bothends" proxy 127.0.0.1:1060 --listen name.test:2000

# A run that was stopped is saved. A reader that has left is an error of the output.
run='"$dir/bothends" report show "$d/run" >/dev/null && [ "$(ls -A "$d" | grep -c tmp)" = 0 ]'
kinds="file full"
each 128 'connected 1060 && sleep 0.5' "$run" "$dir/bothends" load 127.0.0.1 -c 2 -r 100 --persistent --save DIR/run
each 128 'connected 1060 && sleep 1.2' "$run" "$dir/bothends" load 127.0.0.1 -c 2 -r 100 --persistent -o json --save DIR/run --html DIR/page
kinds=file # a FIFO that is not read, and holds a part of the page
each 128 'connected 1060 && sleep 0.5' true "$dir/bothends" load 127.0.0.1 -c 2 -r 100 --persistent --html DIR/fifo
kinds="file full"
twice=yes # by a terminal and by a wrapper: one request
each 128 'connected 1060 && sleep 0.5' "$run" "$dir/bothends" load 127.0.0.1 -c 2 -r 100 --persistent --save DIR/run
twice=
(one HUP file 0 'connected 1060 && sleep 0.2' "$run" env --ignore-signal=HUP "$dir/bothends" load 127.0.0.1 -r 100 -d 1s --persistent --save DIR/run) # nohup
kinds=left
each 1 'connected 1060 && sleep 0.5' "$run" "$dir/bothends" load 127.0.0.1 -c 2 -r 100 --persistent --save DIR/run
each 1 'sleep 1.5' "$run" "$dir/bothends" load 127.0.0.1 -c 2 -r 100 --persistent -o json --save DIR/run

# A signal while load starts leaves no temporary file.
finish
starts=$(mktemp -d -p "$dir")
for i in {0..99}; do
	env --default-signal=INT,TERM,HUP "$dir/bothends" load -q -d 1s --save "$starts/run" --html "$starts/page" 2>/dev/null &
	sleep "0.00$((i / 10))$((i % 10))" # 0 to 9.9 ms, in which it checks its files
	kill -TERM $!
	wait $! 2>/dev/null || true
done
[ "$(ls -A "$starts" | grep -c tmp)" = 0 ] || echo "load that was stopped while it started left a temporary file" >>"$dir/failed"

# No child is left.
gone='! kill -0 "$(cat "$d/child")" 2>/dev/null'
kinds="file full"
each 128 '[ -s $d/child ] && sleep 0.4' "$gone" "$dir/bothends" check client --only silence --limit 1m -- sh -c 'echo $$ >DIR/child; exec sleep 1000'
kinds=left
each 1 '[ -s $d/child ] && sleep 0.4' "$gone" "$dir/bothends" check client --limit 1m -- sh -c 'echo $$ >DIR/child; exec "$0" client {host}:{port} -q' "$dir/bothends"

kinds="file full"
each 128 asleep true "$dir/bothends" check name.test
each 128 asleep true "$dir/bothends" explain --pace 1m
kinds=left
each 1 asleep true "$dir/bothends" explain

# What ends by itself, unless its output is not read.
for command in version man "completion bash" "help load" "explain --list" "check --list" --help --version; do
	kinds=full
	each 128 asleep true "$dir/bothends" $command
	kinds=left
	each 1 asleep true "$dir/bothends" $command
done
finish

if [ -s "$dir/failed" ]; then
	cat "$dir/failed" >&2
	exit 1
fi
echo "$(wc -l <"$dir/times") ends, the slowest in $(sort -n "$dir/times" | tail -1) ms"
