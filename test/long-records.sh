#!/usr/bin/env bash
# What the records of long runs cost: two runs of an hour at 1000 exchanges per second, with
# ten histograms each second, are shown, compared, drawn and merged; and a thousand short
# ones are merged. Each command has a limit of processor time for each hour, and of memory.
# Except for merge, which writes all seconds, the memory does not grow with the length. An
# argument is another length in seconds. About 45 s; needs Go and Python.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-3600}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

go build -o "$dir/bothends" ./cmd/bothends
go test ./report -run '^$' -bench LongRecords -benchtime 1x -args -long-dir "$dir" -long-seconds "$seconds" >"$dir/made"
echo "$(stat -c %s "$dir/a.json") octets each, of $seconds s"

# limit CPU-SECONDS-PER-HOUR MEGABYTES MEGABYTES-PER-HOUR COMMAND...
limit() {
	python3 - "$seconds" "$@" <<'PYTHON'
import resource, subprocess, sys, time
hours = int(sys.argv[1]) / 3600
cpu, memory, more = map(float, sys.argv[2:5])
command = sys.argv[5:]
started = time.monotonic()
status = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
took, used = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
cpu, memory = 1 + cpu * hours, memory + more * hours
spent, held = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
print(f"{command[2]:8} {took:6.2f} s, {spent:5.2f} s of CPU (limit {cpu:.1f}), {held:4.0f} MB (limit {memory:.0f})")
if status.returncode not in (0, 3):  # 3: compare cannot tell
	sys.exit(f"{command}: status {status.returncode}: {status.stderr.decode()}")
if spent > cpu or held > memory:
	sys.exit(f"{command}: too much")
PYTHON
}

cd "$dir"
limit 6 200 0 ./bothends report show a.json
limit 12 450 0 ./bothends report compare a.json b.json
limit 6 250 0 ./bothends report html a.json --out page.html
limit 15 100 550 ./bothends report merge a.json b.json --out all.json
limit 7 200 0 ./bothends report show all.json

# A thousand records of 20 intervals each, with ten histograms in each interval. merge reads
# them one by one: 15 s of CPU, which two processors do in 10 s, and 300 MB.
mkdir many
(cd "$OLDPWD" && go test ./report -run '^$' -bench LongRecords -benchtime 1x -args -long-dir "$dir/many" -long-seconds 20 -long-count 1000 >"$dir/made")
seconds=3600
echo "1000 records, $(du -sm many | cut -f1) MB"
limit 14 300 0 ./bothends report merge many/*.json --out all.json

# A file without an end, or one that is not a record, is rejected at once.
started=$SECONDS
for file in /dev/zero /dev/urandom page.html .; do
	if ./bothends report show "$file" 2>"$dir/error"; then
		echo "$file was read as a record" >&2
		exit 1
	fi
	sed -n 1p "$dir/error"
done
[ $((SECONDS - started)) -le 5 ] || { echo "that took $((SECONDS - started)) s" >&2; exit 1; }
echo "all within their limits"
