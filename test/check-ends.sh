#!/usr/bin/env bash
# Tests that bothends check, however it ends, ends all processes that it has started: the
# server, the children of the server, and those in sessions of their own (setsid, and a
# second fork). Ends check by each signal, by a closed terminal, by a closed pipe, and
# normally, and looks for processes that are left. Needs python3 and Linux.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
dir=$(mktemp -d)
mark=check-ends-$$-$RANDOM # an argument that no other process has
failed=0

marked() { pgrep -f -- "$mark" || true; }

finish() {
	local pid
	for pid in $(marked); do
		kill -KILL "$pid" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap finish EXIT
CGO_ENABLED=0 go build -o "$dir/bothends" ./cmd/bothends
PATH=$dir:$PATH

# A server that starts a child in its own session, a daemon by two forks, and a child that
# ignores signals. Then it answers requests.
cat >"$dir/server.py" <<'PYTHON'
import os
import signal
import socket
import sys
import time


def background(*steps):
    if os.fork() == 0:
        for step in steps:
            step()
        for name in signal.SIGHUP, signal.SIGINT, signal.SIGTERM:
            signal.signal(name, signal.SIG_IGN)
        while True:
            time.sleep(60)


def fork_again():
    if os.fork() != 0:
        os._exit(0)


background(os.setsid)
background(os.setsid, fork_again)
background()
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
open(sys.argv[3], "w").close()
while True:
    connected, _ = listener.accept()
    try:
        if len(connected.recv(16, socket.MSG_WAITALL)) == 16:
            connected.sendall(b"Farewell, client")
    except OSError:
        pass
    connected.close()
PYTHON

# A client that leaves a daemon behind, makes no exchange, and hangs.
cat >"$dir/client.py" <<'PYTHON'
import os
import sys
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
open(sys.argv[2], "w").close()
time.sleep(60)
PYTHON

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# The case silence takes long enough for the signals.
server() {
	port=$(free_port)
	rm -f "$dir/up"
	command=(bothends check "127.0.0.1:$port" --only whole,silence --silence 60s -- python3 "$dir/server.py" "$port" "$mark" "$dir/up")
}

client() {
	rm -f "$dir/up"
	command=(bothends check client --only whole -- python3 "$dir/client.py" "$mark" "$dir/up")
}

# A COMMAND that does not listen, so that check waits for it.
waiting() {
	client
	command=(bothends check "127.0.0.1:$(free_port)" -- python3 "$dir/client.py" "$mark" "$dir/up")
}

# until_true CONDITION... waits up to 10 s.
until_true() {
	local try
	for try in $(seq 200); do
		if "$@"; then
			return 0
		fi
		sleep 0.05
	done
	return 1
}

up() { [ -e "$dir/up" ]; }
none() { [ -z "$(marked)" ]; }

# nothing_left WHAT fails if a marked process is left a second after the end.
nothing_left() {
	local try
	for try in $(seq 20); do
		if none; then
			printf 'ok    %s\n' "$1"
			return
		fi
		sleep 0.05
	done
	printf 'FAIL  %s: left are\n' "$1"
	pgrep -fa -- "$mark" || true
	local pid
	for pid in $(marked); do
		kill -KILL "$pid" 2>/dev/null || true
	done
	failed=1
}

set -m # so that commands in the background do not ignore SIGINT and SIGQUIT

# by_signal SUITE SIGNAL STATUS
by_signal() {
	"$1"
	"${command[@]}" >"$dir/out" 2>"$dir/err" &
	local pid=$! status=0
	until_true up || { echo "FAIL  $1, $2: it does not start" && cat "$dir/err" && failed=1; }
	sleep 0.2
	kill -s "$2" "$pid"
	wait "$pid" || status=$?
	if [ "$status" != "$3" ]; then
		printf 'FAIL  %s, SIG%s: exit status %s, want %s\n' "$1" "$2" "$status" "$3"
		failed=1
	fi
	if [ "$2" != KILL ] && ! grep -q 'no verdict' "$dir/out"; then
		printf 'FAIL  %s, SIG%s: it printed a verdict\n' "$1" "$2"
		cat "$dir/out"
		failed=1
	fi
	nothing_left "$1, SIG$2"
}

for suite in server client waiting; do
	by_signal $suite INT 130
	by_signal $suite TERM 143
	by_signal $suite HUP 129
	by_signal $suite QUIT 131
done

# Two signals, the second at once.
for suite in server client; do
	$suite
	"${command[@]}" >/dev/null 2>&1 &
	pid=$!
	until_true up
	sleep 0.2
	kill -INT "$pid"
	kill -TERM "$pid" 2>/dev/null || true
	wait "$pid" || true
	nothing_left "$suite, SIGINT and SIGTERM"
done

# SIGKILL cannot be caught: the command itself ends, but not what left its session.
port=$(free_port)
rm -f "$dir/up"
sh -c "exec bothends check 127.0.0.1:$port -- python3 -c 'import sys, time; open(sys.argv[2], \"w\").close(); time.sleep(60)' $mark $dir/up" >/dev/null 2>&1 &
pid=$!
until_true up
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
nothing_left "server, SIGKILL"

# The reader of the output leaves.
port=$(free_port)
bothends check "127.0.0.1:$port" --skip silence --times 20 -- python3 "$dir/server.py" "$port" "$mark" "$dir/up" 2>"$dir/err" | head -n 1 >/dev/null || true
nothing_left "server, a reader that leaves"

# It ends by itself, and by an error.
port=$(free_port)
bothends check "127.0.0.1:$port" --only whole -- python3 "$dir/server.py" "$port" "$mark" "$dir/up" >/dev/null 2>&1
nothing_left "server, its own end"
port=$(free_port)
bothends check "127.0.0.1:$port" --only whole -- sh -c "setsid sh -c 'sleep 60; : $mark' & exit 3" >/dev/null 2>&1 && failed=1
nothing_left "server, a COMMAND that ends"

# The terminal is closed.
server
cat >"$dir/terminal.py" <<'PYTHON'
import os
import pty
import sys
import time

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
until = time.time() + 10
while not os.path.exists(sys.argv[1]) and time.time() < until:
    time.sleep(0.05)
until = time.time() + 1
while time.time() < until:
    os.set_blocking(terminal, False)
    try:
        os.write(1, os.read(terminal, 4096))
    except BlockingIOError:
        time.sleep(0.05)
os.close(terminal)
os.waitpid(pid, 0)
PYTHON
python3 "$dir/terminal.py" "$dir/up" "${command[@]}" >"$dir/out"
nothing_left "server, a closed terminal"
if ! grep -q $'\r\e\\[K0\\.[0-9]s silence: clients' "$dir/out"; then
	echo "FAIL  the running case is not shown on a terminal"
	cat -v "$dir/out"
	failed=1
fi

exit $failed
