#!/bin/sh
# How often compare is wrong, on real runs on loopback that took turns: 100 pairs of a
# server with itself, of which at most 5 may be called different, and 100 pairs with the
# same server that takes a tenth longer, of which at least 95 must be called slower. An
# argument is another number of pairs. About 14 minutes; needs Go.
set -eu
cd "$(dirname "$0")/.."
go test ./report -run '^$' -bench Verdicts -benchtime 1x -timeout 60m -args -pairs "${1:-100}"
