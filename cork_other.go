//go:build !linux

package bothends

import "net"

// corkTCP does nothing here: the reply and the FIN are two segments.
func corkTCP(*net.TCPConn) {}
