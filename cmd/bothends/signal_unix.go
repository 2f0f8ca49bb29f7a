//go:build !windows

package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// signalFigures are the signals that request a summary.
var signalFigures = []os.Signal{syscall.SIGUSR1}

// signalsQuit are further signals that end a command with child processes. Their default
// action, a dump of all goroutines, would not end the children.
var signalsQuit = []os.Signal{syscall.SIGQUIT}

// suspend stops the process group, as Ctrl-Z does. It returns when the group is continued.
// If the system did not stop the group, it returns after 100 ms.
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
