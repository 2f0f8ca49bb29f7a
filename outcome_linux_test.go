package bothends_test

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bothends/bothends"
)

// A connect that hangs: the listener's queue is full, and the kernel drops the SYN
// (listen(2)).
func TestConnectThatGetsNoAnswer(t *testing.T) {
	ln := loopback(t)
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) })
	if err != nil {
		t.Fatal(err)
	}
	dial(t, ln) // a backlog of 0 has room for one
	c := &bothends.Client{Timeout: 50 * time.Millisecond}
	_, err = c.Exchange(t.Context(), ln.Addr().String(), nil)
	if bothends.Classify(err) != bothends.Timeout || !strings.HasSuffix(err.Error(), ": timed out") {
		t.Errorf("%v is %v", err, bothends.Classify(err))
	}
}

// No descriptors left, for real: the server goes on when there are some again.
func TestOutOfDescriptors(t *testing.T) {
	ln := loopback(t)
	s := &bothends.Server{Log: quiet}
	serve(t, s, ln)
	mustExchange(t, new(bothends.Client), ln.Addr().String())
	conn := dialSocket(t)

	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 1 // those that are open stay so
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Skipf("needs to lower its limit of descriptors: %v", err)
	}
	restore := func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) }
	defer restore()

	port := ln.Addr().(*net.TCPAddr).Port
	if err := syscall.Connect(conn, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Write(conn, []byte(sixteen)); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 16)
	syscall.SetsockoptTimeval(conn, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100_000})
	if n, err := syscall.Read(conn, reply); err != syscall.EAGAIN {
		t.Fatalf("an answer without a descriptor: %d octets, %v", n, err)
	}
	restore()
	syscall.SetsockoptTimeval(conn, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 10})
	if n, err := syscall.Read(conn, reply); n != 16 || string(reply) != farewell {
		t.Errorf("after it: %q, %v", reply[:max(0, n)], err)
	}
}

func dialSocket(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	return fd
}
