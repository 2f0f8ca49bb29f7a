package main

import "syscall"

// bindLate lets bind leave the port to connect, which may take one that is in use
// towards other servers (IP_BIND_ADDRESS_NO_PORT, ip(7)).
func bindLate(_, _ string, conn syscall.RawConn) error {
	const bindAddressNoPort = 24
	return conn.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1)
	})
}
