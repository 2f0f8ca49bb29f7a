#!/usr/bin/env bash
# Tests the output of the commands on terminals of 40, 80 and 120 columns: no line is
# wider than the terminal, or than 80 columns. Errors and the lines of the transcript are
# one line each. With NO_COLOR there are no colors, and with TERM=dumb no control
# sequences. About 15 s. Needs Go and script (util-linux).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT
go build -o "$dir/bothends" ./cmd/bothends
mkfifo "$dir/out"
"$dir/bothends" server 127.0.0.1:0 >"$dir/out" 2>/dev/null &
server=$!
exec 3<"$dir/out"
read -r listening <&3
cat <&3 >/dev/null &
port=${listening//[^0-9]/}
port=${port#127001}
export LC_ALL=C.UTF-8 TERM=xterm

on_terminal() { # COLUMNS COMMAND
	script -qec "stty cols $1; $dir/bothends $2" /dev/null </dev/null | tr -d '\r'
}

while read -r command; do
	for columns in 40 80 120; do
		most=$((columns < 80 ? columns : 80))
		on_terminal "$columns" "$command" >"$dir/printed"
		sed 's/.*\x1b\[K//; s/\x1b\[[0-9;]*m//g' "$dir/printed" | grep -v '^bothends: \|^hint: \|^Client has been ' >"$dir/plain" || true
		wide=$(grep -E "^.{$((most + 1)),}" "$dir/plain" | grep -E '[^ ]+ +[^ ]+ +[^ ]+ |█' || true)
		if [ -n "$wide" ] || [ ! -s "$dir/plain" ]; then
			printf 'bothends %s, in %s columns:\n%s\n' "$command" "$columns" "$wide" >&2
			exit 1
		fi
	done
	if NO_COLOR=1 on_terminal 80 "$command" | grep -q $'\x1b\[[0-9;]*m'; then
		echo "bothends $command: colors in spite of NO_COLOR" >&2
		exit 1
	fi
	if TERM=dumb on_terminal 80 "$command" | grep -q $'\x1b'; then
		echo "bothends $command: control sequences on a terminal that has none" >&2
		exit 1
	fi
	echo "bothends $command: fits"
done <<-LIST
	--help
	help faults
	check --explain reset
	load --help
	explain --list
	explain recv
	explain sockets
	explain exchange -p 0
	client 127.0.0.1:$port --trace
	check 127.0.0.1:$port --only whole,octets
	load 127.0.0.1:$port -d 2s -r 200
LIST
