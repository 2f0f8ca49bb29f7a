//go:build !windows

package main

import (
	"os"
	"syscall"
)

// signalFigures ask for interim figures.
var signalFigures = []os.Signal{syscall.SIGUSR1}
