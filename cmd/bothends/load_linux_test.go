package main

import (
	"net"
	"syscall"
	"testing"
)

// A connection from an address of --source takes a port that may be in use towards other
// servers.
func TestSourceBindsLate(t *testing.T) {
	t.Parallel()
	const bindAddressNoPort = 24 // ip(7)
	var f sourceFlag
	if err := f.Set("127.0.0.1-127.0.0.4"); err != nil {
		t.Fatal(err)
	}
	conn, err := f.dial(t.Context(), "tcp", accepting(t, func(net.Conn) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var on int
	if ctlErr := raw.Control(func(fd uintptr) {
		on, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort)
	}); ctlErr != nil || err != nil || on != 1 {
		t.Errorf("IP_BIND_ADDRESS_NO_PORT is %d; %v, %v", on, ctlErr, err)
	}
}
