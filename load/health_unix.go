//go:build unix

package load

import (
	"syscall"
	"time"
)

// cpuTime is the user and system time of the process (getrusage(2)).
func cpuTime() time.Duration {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
