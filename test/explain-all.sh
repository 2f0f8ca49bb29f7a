#!/usr/bin/env bash
# Runs all lessons as an ordinary user: with the addresses of this machine, with
# IPv4 alone, and with IPv6 alone (in network namespaces). Each within 30 s, and each
# claim holds. Needs root, to become nobody; util-linux and iproute2.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
CGO_ENABLED=0 go build -o "$dir/bothends" ./cmd/bothends
lessons=$("$dir/bothends" explain --list | wc -l)
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all)

check() {
	local what=$1 start end
	shift
	start=$(date +%s%N)
	timeout 60 "$@" >"$dir/out"
	end=$(((($(date +%s%N) - start)) / 1000000))
	if [ "$(grep -c '^Remember: ' "$dir/out")" != "$lessons" ] || grep -A2 'On this system it was different' "$dir/out"; then
		echo "$what: a lesson is missing, or a claim does not hold" >&2
		exit 1
	fi
	if [ "$end" -ge 30000 ]; then
		echo "$what: $end ms" >&2
		exit 1
	fi
	echo "$what: $lessons lessons in $end ms"
}

check "as this machine is" "${nobody[@]}" "$dir/bothends" explain all
check "IPv4 alone" unshare -n sh -euc 'ip link set lo up; ip address del ::1/128 dev lo; exec "$@"' - "${nobody[@]}" "$dir/bothends" explain all
check "IPv6 alone" unshare -n sh -euc 'ip link set lo up; ip address del 127.0.0.1/8 dev lo; exec "$@"' - "${nobody[@]}" "$dir/bothends" explain all
