#!/usr/bin/env bash
# Runs each command line of README.md as it is written, in its order, in a separate
# network namespace, except the tests. A server runs in the background until the next one
# starts. Each sample of output must be what a command has printed, except for numbers.
# About 35 s, of which load takes 20. Needs Go, python3, unshare (util-linux) and ip
# (iproute2).
set -euo pipefail
if [ "${1-}" != inside ]; then
	exec unshare -rn "$0" inside
fi
ip link set lo up
cd "$(dirname "$0")/.."
checkout=$PWD
dir=$(mktemp -d)
server=
stop() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	server=
}
trap 'stop; rm -rf "$dir"' EXIT

# The commands run in a copy, so they do not write into the checkout.
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -xf - -C "$dir"
cd "$dir"
export GOFLAGS="-buildvcs=false -trimpath" GOPROXY=off
export GOBIN=$dir/bin PATH=$dir/bin:$PATH
: >printed

run() {
	local line=$1 status=0
	echo "README: $line"
	case $line in
	"go test ./..."*) return ;; # the gate runs it
	"bothends server"*)
		stop
		bash -c "exec $line" >>printed 2>&1 &
		server=$!
		for _ in $(seq 100); do
			ss -ltn | grep -q '127.0.0.1:1060 ' && return
			sleep 0.05
		done
		echo "it does not listen" >&2
		exit 1
		;;
	esac
	bash -c "$line" >out 2>&1 || status=$?
	cat out >>printed
	case $line in # what it may exit with besides 0
	*"client 127.0.0.1 -q") [ $status = 5 ] ;; # the server resets
	*"check 127"*) [ $status = 1 ] ;;          # the server fails
	*"report compare"*) [ $status != 2 ] ;;    # either verdict
	*) [ $status = 0 ] ;;
	esac || {
		echo "exit status $status:" >&2
		cat out >&2
		exit 1
	}
}

while read -r line <&3; do
	run "$line"
done 3< <(sed -n 's/^    \$ //p; /^    go \(run\|test\) /s/^ *//p' README.md)
stop

# A socket name and an address are the same; numbers and the columns after two spaces
# differ from run to run.
normal() { sed -E "s/\('([^']*)', ([0-9]+)\)/\1:\2/g; s/[0-9]+/N/g; s/ +/ /g; s/ N(\.N)?(m|µ)?s$//"; }
normal <printed >normal
code=$(sed -n '/^## Library/q; s/^    //p' README.md | grep -v '^\$\|^go ')
while read -r sample; do
	grep -qxF -- "$(normal <<<"$sample")" normal || {
		echo "README has a line that no command has printed: $sample" >&2
		exit 1
	}
done <<<"$code"
echo "README: all commands ran"
