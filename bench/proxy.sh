#!/usr/bin/env bash
# Measures the cost of a TCP proxy: throughput of one connection, a round trip of 16
# octets on an open one, and a whole connection with one, each directly and through
#
#   bothends         bothends proxy, no faults
#   bothends-copying the same with a fault that reads all octets but has no effect
#   haproxy          Debian's, TCP mode; and with option splice-auto
#   toxiproxy        bench/peers/toxiproxy, no toxics
#
# RUNS rounds of all of them. The order rotates by one in each round. Prints medians, the
# spread, and the medians of the ratios within each round. A program that is not
# installed, or cannot be built, is skipped and named. About 2 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-9}
dir=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$dir"' EXIT
PATH=$PATH:/usr/sbin

# free_port sets port to a free port below those of outgoing connections.
last=$((20000 + RANDOM % 8000))
free_port() {
	for ((;;)); do
		port=$((++last))
		(: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
	done
}

# await waits until a program listens at a port. The target does not, so the connection
# goes no further.
await() {
	for ((i = 0; i < 500; i++)); do
		! (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null || return 0
		sleep 0.01
	done
	echo "nobody listens at port $1" >&2
	return 1
}

go build -o "$dir/bothends" ./cmd/bothends
go test -c -o "$dir/test" ./proxy
free_port
target=127.0.0.1:$port
kinds=(direct bothends bothends-copying)
declare -A at=([direct]=$target)

free_port
at[bothends]=127.0.0.1:$port
"$dir/bothends" proxy "$target" --listen "${at[bothends]}" -q &
pids+=($!)
await "$port"
free_port
at[bothends-copying]=127.0.0.1:$port
never=corrupt:1000000000000000000
"$dir/bothends" proxy "$target" --listen "${at[bothends-copying]}" -q --fault-requests $never --fault-replies $never &
pids+=($!)
await "$port"

if command -v haproxy >/dev/null; then
	for kind in haproxy haproxy-splice; do
		free_port
		at[$kind]=127.0.0.1:$port
		cat >"$dir/$kind.cfg" <<-CONFIG
			defaults
			    mode tcp
			    timeout connect 5s
			    timeout client 1m
			    timeout server 1m
			    $([ $kind = haproxy ] || echo option splice-auto)
			listen bench
			    bind 127.0.0.1:$port
			    server target $target
		CONFIG
		haproxy -db -f "$dir/$kind.cfg" >"$dir/$kind.log" 2>&1 &
		pids+=($!)
		await "$port" || { cat "$dir/$kind.log" >&2; exit 1; }
		kinds+=($kind)
	done
	haproxy -v | head -1
else
	echo "left out: haproxy (Debian's package haproxy)"
fi

if go -C bench/peers/toxiproxy build -o "$dir/toxiproxy" github.com/Shopify/toxiproxy/v2/cmd/server 2>"$dir/build"; then
	free_port
	at[toxiproxy]=127.0.0.1:$port
	echo "[{\"name\":\"bench\",\"listen\":\"127.0.0.1:$port\",\"upstream\":\"$target\",\"enabled\":true}]" >"$dir/toxiproxy.json"
	listen=$port
	free_port
	LOG_LEVEL=error "$dir/toxiproxy" -config "$dir/toxiproxy.json" -port "$port" >"$dir/toxiproxy.log" 2>&1 &
	pids+=($!)
	await "$listen" || { cat "$dir/toxiproxy.log" >&2; exit 1; }
	kinds+=(toxiproxy)
	(cd bench/peers/toxiproxy && go list -m github.com/Shopify/toxiproxy/v2)
else
	echo "left out: toxiproxy, which does not build: $(tail -1 "$dir/build")"
fi

# measure KIND ROUND
measure() {
	while read -r bench count unit; do
		BENCH_TARGET=$target BENCH_PROXY=${at[$1]} "$dir/test" -test.run '^$' -test.bench "^Benchmark$bench\$" \
			-test.benchtime "$count" -test.timeout 60s >"$dir/out" || { cat "$dir/out" >&2; return 1; }
		awk -v bench="$bench" -v kind="$1" -v round="$2" -v unit="$unit" '
			/ns\/op/ { for (i = 2; i <= NF; i++) if ($i == unit) { print bench, kind, round, $(i - 1); found = 1 } }
			END { exit !found }' "$dir/out" >>"$dir/figures"
	done <<-'LIST'
		Throughput 600x MB/s
		RoundTrip 6000x ns/op
		Connection 400x ns/op
	LIST
}
# For direct, the benchmark connects to the target.
for ((round = 0; round < runs; round++)); do
	for ((k = 0; k < ${#kinds[@]}; k++)); do
		measure "${kinds[(k + round) % ${#kinds[@]}]}" $round
	done
done

awk -v kinds="${kinds[*]}" -v runs="$runs" '
	{ v[$1, $2, $3] = $1 == "Throughput" ? $4 : $4 / 1000 }
	function median(   i, j, t) {
		for (i = 2; i <= runs; i++) for (j = i; j > 1 && s[j-1] > s[j]; j--) { t = s[j]; s[j] = s[j-1]; s[j-1] = t }
		return runs % 2 ? s[(runs+1)/2] : (s[runs/2] + s[runs/2+1]) / 2
	}
	function ratio(bench, a, b,   i) {
		for (i = 1; i <= runs; i++) s[i] = v[bench, a, i-1] / v[bench, b, i-1]
		return median()
	}
	function table(bench, title, unit,   n, i, k, m, kind, added) {
		printf "\n%s\n%-17s %10s %21s %9s %9s %9s %9s\n", title, "", "median", "from - to", "/ direct", "/ bothends", "/ haproxy", "added"
		n = split(kinds, k, " ")
		for (i = 1; i <= n; i++) {
			kind = k[i]
			for (j = 1; j <= runs; j++) s[j] = v[bench, kind, j-1]
			m = median()
			printf "%-17s %10.1f %10.1f - %8.1f %9.3f %10.3f", kind, m, s[1], s[runs], ratio(bench, kind, "direct"), ratio(bench, kind, "bothends")
			if ((bench, "haproxy", 0) in v) printf " %9.3f", ratio(bench, kind, "haproxy"); else printf " %9s", "-"
			if (unit == "us") {
				for (j = 1; j <= runs; j++) s[j] = v[bench, kind, j-1] - v[bench, "direct", j-1]
				printf " %9.1f", median()
			}
			printf "\n"
		}
	}
	END {
		table("Throughput", "one connection, MB/s (ratios above 1 are faster)", "MB/s")
		table("RoundTrip", "round trip of 16 octets, us (ratios below 1 are faster)", "us")
		table("Connection", "connect, 16 octets each way, close, us (ratios below 1 are faster)", "us")
	}' "$dir/figures"
