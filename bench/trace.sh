#!/usr/bin/env bash
# Measures the cost of hooks: BenchmarkExchange without a Trace and with one whose
# hooks do nothing, alternating, RUNS times each. Prints medians, the spread, and the
# median of the ratios of each pair.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-15}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go test -c -o "$dir/test" .
for ((i = 0; i < runs; i++)); do
	for kind in without with; do
		"$dir/test" -test.run '^$' -test.bench "^BenchmarkExchange\$/^$kind\$" -test.benchtime 10000x -test.timeout 60s |
			awk -v kind=$kind '/ns\/op/ { print kind, $3 }' >>"$dir/figures"
	done
done
awk '
	{ n[$1]++; v[$1, n[$1]] = $2 }
	function sorted(kind, count,   i, j, t) {
		for (i = 1; i <= count; i++) s[i] = v[kind, i]
		for (i = 2; i <= count; i++) for (j = i; j > 1 && s[j-1] > s[j]; j--) { t = s[j]; s[j] = s[j-1]; s[j-1] = t }
	}
	function tell(kind, count, unit) {
		sorted(kind, count)
		printf "%-8s median %.3f%s, from %.3f to %.3f\n", kind, s[int((count+1)/2)], unit, s[1], s[count]
	}
	END {
		if (n["with"] != n["without"] || !n["with"]) { print "a run is missing"; exit 1 }
		for (i = 1; i <= n["with"]; i++) { v["ratio", i] = v["with", i] / v["without", i] }
		for (i = 1; i <= n["with"]; i++) { v["with", i] /= 1000; v["without", i] /= 1000 }
		tell("without", n["with"], " us"); tell("with", n["with"], " us"); tell("ratio", n["with"], "")
	}' "$dir/figures"
