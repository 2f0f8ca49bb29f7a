//go:build !unix

package check

import "syscall"

// receiveBuffer leaves the buffer as it is.
func receiveBuffer(int) func(network, address string, conn syscall.RawConn) error { return nil }
