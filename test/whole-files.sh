#!/usr/bin/env bash
# Tests that a file that a command writes has its old content or the complete new
# content: on a disk that is full (a tmpfs of 12 KiB), where the command fails and names
# the file; and where SIGKILL ends it in the middle of the writing, 25 times each. Then a
# single file that is mounted, as in a container, is written in place. Needs root, for
# mounts of its own and CAP_NET_RAW, util-linux and python3.
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
bothends=$dir/bothends
ip link set lo up
"$bothends" server 127.0.0.1 -q &
until (exec 3<>/dev/tcp/127.0.0.1/1060) 2>/dev/null; do sleep 0.05; done
"$bothends" load 127.0.0.1 -r 500 -d 1s -q --save "$dir/run"
runs=("$dir/run" "$dir/run")

# writes NAME FILE: the command that writes FILE
writes() {
	case $1 in
	save) cmd=("$bothends" load 127.0.0.1 -n 50 -c 2 -q --save "$2") ;;
	html) cmd=("$bothends" load 127.0.0.1 -n 50 -c 2 -q --html "$2") ;;
	merge) cmd=("$bothends" report merge "$dir/run" --out "$2") ;;
	page) cmd=("$bothends" report html "${runs[@]}" --out "$2") ;;
	client) cmd=("$bothends" client 127.0.0.1 --pcap "$2") ;;
	explain) cmd=("$bothends" explain eof -p 0 --pcap "$2") ;;
	esac
}
names=(save html merge page client explain)

fail() {
	echo "$*" >&2
	ls -la "$disk" >&2
	exit 1
}

# A full disk.
disk=$dir/full
mkdir "$disk"
for name in "${names[@]}"; do
	for old in there absent; do
		mount -t tmpfs -o size=12k tmpfs "$disk"
		head -c 8192 /dev/zero >"$disk/other"
		case $name,$old in
		*,there) echo "the old content" >"$disk/file" ;;
		html,* | page,*) ;; # a part of them has room
		*) head -c 4096 /dev/zero >>"$disk/other" ;;
		esac
		files=$(ls -A "$disk")
		writes $name "$disk/file"
		code=0
		"${cmd[@]}" >"$dir/out" 2>"$dir/err" || code=$?
		[ $code = 1 ] || fail "$name, old file $old: exit status $code"
		grep -q "$disk/file.*no space left on device" "$dir/err" || fail "$name, old file $old: $(cat "$dir/err")"
		[ "$(ls -A "$disk")" = "$files" ] || fail "$name, old file $old: other files than $files"
		[ $old = absent ] || [ "$(cat "$disk/file")" = "the old content" ] || fail "$name: the old file is lost"
		umount "$disk"
	done
done

# SIGKILL as soon as something of the writing can be seen, or a little later.
cat >"$dir/kill.py" <<'END'
import json, os, re, subprocess, sys, time

directory, name, command = sys.argv[1], sys.argv[2], sys.argv[3:]
path, old = directory + "/file", b"the old content"

def whole(b):
    if b[:1] == b"{": # a record
        return json.loads(b) is not None
    if b[:1] == b"<":
        return b.rstrip().endswith(b"</html>")
    p = 0
    while p < len(b): # blocks of pcapng have their length at both ends
        n = int.from_bytes(b[p+4:p+8], "little")
        if n < 12 or b[p+n-4:p+n] != b[p+4:p+8]:
            return False
        p += n
    return p > 0

def begun(first):
    for e in os.scandir(directory):
        try:
            s = e.stat()
        except FileNotFoundError: # renamed meanwhile
            return True
        if e.name != "file" and s.st_size > 0 or e.name == "file" and (s.st_size, s.st_ino) != (first.st_size, first.st_ino):
            return True

new = stale = 0
for n in range(25):
    with open(path, "wb") as f:
        f.write(old)
    first = os.stat(path)
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while p.poll() is None and not begun(first):
        pass
    time.sleep(n * 0.00005)
    p.kill()
    p.wait()
    content = open(path, "rb").read()
    if content != old:
        new += 1
        if not whole(content):
            sys.exit(f"{name}, killed: the file has {len(content)} octets that are neither the old content nor the new")
    for left in os.listdir(directory):
        if left != "file":
            if not re.fullmatch(r"\.bothends-\w+\.tmp", left):
                sys.exit(f"{name}, killed: left {left}")
            stale += 1
        os.remove(directory + "/" + left)
print(f"{name}: killed 25 times; {new} times the file is new, {stale} temporary files are left")
END
mkdir "$dir/killed"
for name in "${names[@]}"; do
	writes $name "$dir/killed/file"
	python3 "$dir/kill.py" "$dir/killed" $name "${cmd[@]}"
done

# A file that cannot be replaced.
echo "the old content" >"$dir/single"
mount -t tmpfs tmpfs "$disk"
touch "$disk/file"
mount --bind "$dir/single" "$disk/file"
writes merge "$disk/file"
"${cmd[@]}" || fail "a mounted file: exit status $?"
"$bothends" report show "$dir/single" >/dev/null || fail "a mounted file is not written"
[ "$(ls -A "$disk")" = file ] || fail "a mounted file: other files"
umount "$disk/file"
