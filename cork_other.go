//go:build !linux

package bothends

import "net"

// corkTCP does nothing on this system. The reply and the FIN are two segments.
func corkTCP(*net.TCPConn) {}
