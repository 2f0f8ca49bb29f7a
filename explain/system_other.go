//go:build !linux

package explain

import "net"

func portRange() string { return "the kernel took a free one" }

// timeWait: not looked up on this system.
func timeWait(_, _ net.Addr) (serverWaits, clientWaits bool, err error) {
	return false, false, ErrNotAvailable
}
