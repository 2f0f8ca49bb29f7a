#!/usr/bin/env bash
# Runs bothends check, with its defaults, against those servers of other projects that are
# installed, each on a free port of 127.0.0.1. Prints the tables of
# docs/check/real-servers.md, and its progress on standard error. Arguments, if any, are the
# names of the servers to run. Needs python3. OpenSSH's server needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
dir=$(mktemp -d)
pid= behind=
finish() {
	for p in $pid $behind; do
		kill "$p" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap finish EXIT
chmod 755 "$dir"
CGO_ENABLED=0 go build -o "$dir/bothends" ./cmd/bothends
PATH=$dir:$PATH:/usr/sbin
cd "$dir" # files that a server writes are removed with it
wanted=" $* "

say() { printf '%s\n' "$*" >&2; }

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# has NAME PROGRAM reports whether the server is wanted and installed, and chooses a port.
has() {
	[ "$wanted" = "  " ] || [[ $wanted == *" $1 "* ]] || return 1
	if ! command -v "$2" >/dev/null; then
		say "$1: skipped, $2 is not installed"
		return 1
	fi
	name=$1
	port=$(free_port)
}

# start PROGRAM ARGS... starts the server.
start() {
	"$@" >"$dir/$name.log" 2>&1 &
	pid=$!
}

# suite VERSION FLAGS... waits for the server, tests it, and stops it.
suite() {
	local version=$1 began=$SECONDS try=0
	shift
	until bothends check "127.0.0.1:$port" --only whole --limit 1s "$@" >/dev/null; do
		if ! kill -0 "$pid" 2>/dev/null || [ $((try += 1)) -ge 20 ]; then
			say "$name: skipped, it does not start: $(tail -n 1 "$dir/$name.log")"
			stop
			return
		fi
		sleep 0.2
	done
	run "$version" "$@"
	stop
	say "$name: $((SECONDS - began)) s"
}

# run VERSION FLAGS... tests the server at the port.
run() {
	local version=$1 flags='' arg
	shift
	for arg; do
		case $arg in
		'' | *[!a-zA-Z0-9./-]*) flags+=" '$arg'" ;;
		*) flags+=" $arg" ;;
		esac
	done
	flags=${flags//"$root/"/}
	printf '%s\t%s\t%s\n' "$name" "$version" "${flags/ "$port"/ PORT}" >>"$dir/servers"
	bothends check "127.0.0.1:$port" -o json "$@" >"$dir/$name.json" || [ $? = 1 ]
}

stop() {
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	pid=
}

cat >echo.py <<'PYTHON'
"""Returns 16 octets, with the given server class of socketserver."""
import socketserver
import sys


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        message = self.rfile.read(16)
        if len(message) == 16:
            self.wfile.write(message)


server = getattr(socketserver, sys.argv[1])
server.allow_reuse_address = True
with server(("127.0.0.1", int(sys.argv[2])), Echo) as s:
    s.serve_forever()
PYTHON

python=$(python3 --version)
echoed=(--expect 'Hi there, server') # the request is the default
# The accept queues of socketserver and socat have five places, and Ncat's has ten. If a
# queue is full, a client waits for a second or longer, and 1,000 connects take minutes.
short=(--times 50)

if has bothends bothends; then
	start bothends server "127.0.0.1:$port" -q
	suite "this repository" --expect 'Farewell, client'
fi

if has redis redis-server; then
	start redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no
	suite "Redis $(redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/')" \
		--message 'PING\r\n' --expect '+PONG\r\n'
fi

if has memcached memcached; then
	start memcached -l 127.0.0.1 -p "$port" -U 0 -u nobody
	suite "$(memcached --version)" --message 'mn\r\n' --expect 'MN\r\n'
fi

if has nginx nginx; then
	cat >nginx.conf <<-CONF
		daemon off;
		pid $dir/nginx.pid;
		error_log $dir/nginx-error.log;
		events {}
		http {
			access_log off;
			client_body_temp_path $dir/body;
			proxy_temp_path $dir/proxy;
			fastcgi_temp_path $dir/fastcgi;
			uwsgi_temp_path $dir/uwsgi;
			scgi_temp_path $dir/scgi;
			server {
				listen 127.0.0.1:$port;
				location / { return 200 "ok\n"; }
			}
		}
	CONF
	start nginx -p "$dir" -e "$dir/nginx-error.log" -c "$dir/nginx.conf"
	suite "nginx $(nginx -v 2>&1 | sed 's,.*/\([0-9.]*\).*,\1,')" \
		--message 'GET / HTTP/1.0\r\n\r\n' --expect 'HTTP/1.1 200 OK\r\n'
fi

if has haproxy haproxy; then
	inner=$(free_port)
	bothends server "127.0.0.1:$inner" -q >"$dir/inner.log" 2>&1 &
	behind=$!
	cat >haproxy.cfg <<-CONF
		defaults
			mode tcp
			timeout connect 5s
			timeout client 10s
			timeout server 10s
		listen front
			bind 127.0.0.1:$port
			server inner 127.0.0.1:$inner
	CONF
	start haproxy -db -f haproxy.cfg
	suite "HAProxy $(haproxy -v | sed -n '1s/.*version \([^ -]*\).*/\1/p'), in front of bothends" \
		--expect 'Farewell, client'
	kill "$behind"
	wait "$behind" || true
	behind=
fi

if has OpenSSH sshd; then
	if [ "$(id -u)" != 0 ]; then
		say "OpenSSH: skipped, it needs root"
	else
		mkdir -p /run/sshd
		ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
		start "$(command -v sshd)" -D -e -f /dev/null -h "$dir/key" -o "ListenAddress=127.0.0.1:$port" -o PidFile=none
		suite "$(ssh -V 2>&1 | sed 's/[ ,].*//; s/_/ /')" --message '' --expect 'SSH-2.0-OpenSSH'
	fi
fi

if has socketserver-TCPServer python3; then
	start python3 echo.py TCPServer "$port"
	suite "$python" "${echoed[@]}" "${short[@]}"
fi

if has socketserver-ThreadingTCPServer python3; then
	start python3 echo.py ThreadingTCPServer "$port"
	suite "$python" "${echoed[@]}" "${short[@]}"
fi

if has socat socat; then
	start socat "TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr" EXEC:'head -c 16'
	suite "socat $(socat -V | sed -n 's/^socat version \([^ ]*\).*/\1/p'), head -c 16" "${echoed[@]}" "${short[@]}"
fi

if has ncat ncat; then
	start ncat -l -k 127.0.0.1 "$port" --exec '/usr/bin/head -c 16'
	suite "Ncat $(ncat --version 2>&1 | sed -n 's/.*Version \([0-9.]*[0-9]\).*/\1/p'), head -c 16" "${echoed[@]}" "${short[@]}"
fi

if has sequential.py python3; then
	run "$python" --expect 'Farewell, client' -- python3 "$root/testdata/sequential.py" "$port"
	say "sequential.py: done"
fi

[ -s servers ] || exit 0
python3 - <<'PYTHON'
import json
import re

servers = [line.rstrip("\n").split("\t") for line in open("servers")]
results = {name: [json.loads(line) for line in open(name + ".json")] for name, _, _ in servers}
shown = {"pass": "pass", "warn": "warn", "fail": "**fail**", "skip": "skip"}
cases = [r["case"] for r in results[servers[0][0]]]
print("| server | version | command |")
print("|---|---|---|")
for name, version, flags in servers:
    print(f"| {name} | {version} | `bothends check 127.0.0.1:PORT{flags}` |")
print()
print("| server | " + " | ".join(cases) + " |")
print("|---|" + "---|" * len(cases))
for name, _, _ in servers:
    print(f"| {name} | " + " | ".join(shown[r["verdict"]] for r in results[name]) + " |")
print()
print("| server | case | | what was seen |")
print("|---|---|---|---|")
for name, _, _ in servers:
    for r in results[name]:
        if r["verdict"] != "pass":
            why = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", r["why"]).replace("|", "\\|")
            print(f"| {name} | {r['case']} | {shown[r['verdict']]} | {why} |")
PYTHON
