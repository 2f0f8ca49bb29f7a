package main

import "os"

// signalFigures ask for interim figures; Windows has no signal for it.
var signalFigures []os.Signal

// signalsQuit: Windows has none.
var signalsQuit []os.Signal

// suspend: Windows does not stop a program to continue it later.
func suspend() {}
