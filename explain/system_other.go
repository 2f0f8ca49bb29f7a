//go:build !linux

package explain

import "net"

func portRange() string { return "its kernel chose a free one" }

// timeWait is not implemented on this system.
func timeWait(_, _ net.Addr) (serverWaits, clientWaits bool, err error) {
	return false, false, ErrNotAvailable
}
