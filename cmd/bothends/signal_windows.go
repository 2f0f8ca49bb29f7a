package main

import "os"

// signalFigures is empty, because Windows has no signal for a summary.
var signalFigures []os.Signal

// signalsQuit is empty on Windows.
var signalsQuit []os.Signal

// suspend does nothing, because Windows cannot stop and continue a program.
func suspend() {}
