#!/usr/bin/env bash
# Measures the cost of a load generator: exchanges per second and the generator's CPU
# time for each, 16 octets each way, four connections, as fast as possible, with the same
# server over loopback.
#
#   persistent        bothends load, fortio's TCP load (its packages: its command does
#                     not build from the module proxy) and a plain Go loop, which
#                     measures nothing; sockperf, with its own server, because it
#                     does not accept replies of others
#   one per connection  bothends load and the plain Go loop
#
# RUNS alternating rounds of all of them. Prints medians, the spread, and the medians of
# the ratios to the plain loop within each round. About 2 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-9}
seconds=${SECONDS_EACH:-2}
dir=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$dir"' EXIT

go build -o "$dir/bothends" ./cmd/bothends
go -C bench/peers/plain build -o "$dir/plain" .
kinds=(bothends plain)
if go -C bench/peers/fortio build -o "$dir/fortio" . 2>"$dir/build"; then
	kinds+=(fortio)
	(cd bench/peers/fortio && go list -m fortio.org/fortio)
else
	echo "left out: fortio, which does not build: $(tail -1 "$dir/build")"
fi

# serve ARG... starts a server and sets port.
serve() {
	"$dir/bothends" server 127.0.0.1:0 --reply 'Hi there, server' "$@" >"$dir/listening" 2>/dev/null &
	pids+=($!)
	until port=$(sed -n "s/Listening at ('127.0.0.1', \([0-9]*\))/\1/p;q" "$dir/listening") && [ -n "$port" ]; do sleep 0.05; done
	# Without a transcript, because printing would change the measurement.
	kill ${pids[-1]}
	wait ${pids[-1]} 2>/dev/null || true
	"$dir/bothends" server "127.0.0.1:$port" --reply 'Hi there, server' -q "$@" 2>/dev/null &
	pids[-1]=$!
	until (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
}
serve --persistent
persistent=127.0.0.1:$port
serve
single=127.0.0.1:$port
if command -v sockperf >/dev/null; then
	kinds+=(sockperf)
	sockperf --version 2>/dev/null | head -1
	sockperf_port=$((20000 + RANDOM % 8000))
	sockperf server --tcp -i 127.0.0.1 -p $sockperf_port >/dev/null 2>&1 &
	pids+=($!)
	until (: <>"/dev/tcp/127.0.0.1/$sockperf_port") 2>/dev/null; do sleep 0.05; done
else
	echo "left out: sockperf (Debian's package sockperf)"
fi

# measure MODE KIND ROUND appends "mode kind round exchanges-per-second
# microseconds-of-CPU".
measure() {
	local count
	case $1-$2 in
	persistent-bothends) command=("$dir/bothends" load "$persistent" --persistent -c 4 -d "${seconds}s" -o json) ;;
	persistent-plain) command=("$dir/plain" -persistent 4 "$seconds" "$persistent") ;;
	persistent-fortio) command=("$dir/fortio" 4 "$seconds" "$persistent") ;;
	persistent-sockperf) command=(sockperf ping-pong --tcp -i 127.0.0.1 -p "$sockperf_port" -m 16 -t "$seconds") ;;
	single-bothends) command=("$dir/bothends" load "$single" -c 4 -d "${seconds}s" -o json) ;;
	single-plain) command=("$dir/plain" 4 "$seconds" "$single") ;;
	*) return 0 ;;
	esac
	TIMEFORMAT='%R %U %S'
	{ time "${command[@]}" >"$dir/out" 2>"$dir/errors"; } 2>"$dir/time" || { cat "$dir/errors" "$dir/out" >&2; return 1; }
	case $2 in
	bothends) count=$(tail -1 "$dir/out" | sed 's/.*"exchanges":\([0-9]*\).*/\1/') ;;
	sockperf) count=$(sed -n 's/.*ReceivedMessages=\([0-9]*\).*/\1/p' "$dir/out" | tail -1) ;;
	*) count=$(tail -1 "$dir/out") ;;
	esac
	awk -v mode="$1" -v kind="$2" -v round="$3" -v count="$count" -v seconds="$seconds" \
		'{ if (count < 1) exit 1; print mode, kind, round, count / seconds, ($2 + $3) / count * 1e6 }' "$dir/time" >>"$dir/figures"
}
for ((round = 0; round < runs; round++)); do
	for ((k = 0; k < ${#kinds[@]}; k++)); do
		measure persistent "${kinds[(k + round) % ${#kinds[@]}]}" $round
		measure single "${kinds[(k + round) % ${#kinds[@]}]}" $round
	done
done

awk -v kinds="${kinds[*]}" -v runs="$runs" '
	{ rate[$1, $2, $3] = $4; cpu[$1, $2, $3] = $5 }
	function median(   i, j, t) {
		for (i = 2; i <= runs; i++) for (j = i; j > 1 && s[j-1] > s[j]; j--) { t = s[j]; s[j] = s[j-1]; s[j-1] = t }
		return runs % 2 ? s[(runs+1)/2] : (s[runs/2] + s[runs/2+1]) / 2
	}
	function table(mode, title,   n, i, j, k, m) {
		printf "\n%s\n%-10s %12s %21s %10s   %12s %17s %10s\n", title, "", "exchanges/s", "from - to", "/ plain", "us CPU each", "from - to", "/ plain"
		n = split(kinds, k, " ")
		for (i = 1; i <= n; i++) {
			if (!((mode, k[i], 0) in rate)) continue
			for (j = 1; j <= runs; j++) s[j] = rate[mode, k[i], j-1]
			m = median()
			printf "%-10s %12.0f %10.0f - %8.0f", k[i], m, s[1], s[runs]
			for (j = 1; j <= runs; j++) s[j] = rate[mode, k[i], j-1] / rate[mode, "plain", j-1]
			printf " %10.3f", median()
			for (j = 1; j <= runs; j++) s[j] = cpu[mode, k[i], j-1]
			m = median()
			printf "   %12.1f %7.1f - %7.1f", m, s[1], s[runs]
			for (j = 1; j <= runs; j++) s[j] = cpu[mode, k[i], j-1] / cpu[mode, "plain", j-1]
			printf " %10.3f\n", median()
		}
	}
	END {
		table("persistent", "persistent, four connections (sockperf: one, and its own server)")
		table("single", "one exchange a connection, four at once")
	}' "$dir/figures"
