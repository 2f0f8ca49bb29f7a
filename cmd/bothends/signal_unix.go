//go:build !windows

package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// signalFigures ask for interim figures.
var signalFigures = []os.Signal{syscall.SIGUSR1}

// signalsQuit end a command in which a dump of all goroutines would leave processes behind.
var signalsQuit = []os.Signal{syscall.SIGQUIT}

// suspend does what ^Z does, to all programs of a pipeline. It returns when they were
// continued, or soon where nobody could do that, and so the system did not stop them.
func suspend() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	const group = 0
	syscall.Kill(group, syscall.SIGTSTP)
	select {
	case <-continued:
	case <-time.After(100 * time.Millisecond):
	}
}
