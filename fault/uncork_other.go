//go:build !linux

package fault

import "net"

// uncork does nothing where there is no TCP_CORK.
func uncork(net.Conn) {}
