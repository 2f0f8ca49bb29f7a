package main

import "os"

// signalFigures ask for interim figures; Windows has no signal for it.
var signalFigures []os.Signal
