#!/bin/sh
# A gibibyte each way over loopback, through a fault that changes a thousand times: the
# sha256 of what arrives is that of what was sent.
set -eu
cd "$(dirname "$0")/.."
go test ./fault -count=1 -run TestSwitchOverTCP -v -timeout 10m \
	-switch.octets "${1:-1073741824}" -switch.settings "${2:-1000}"
