package bothends_test

import (
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/need"
)

// Connect times out, because the listener's queue is full and the kernel drops the SYN
// (listen(2)).
func TestConnectThatGetsNoAnswer(t *testing.T) {
	addr := "127.0.0.1:" + strconv.Itoa(freePort(t))
	silent(t, addr)
	c := &bothends.Client{Timeout: 50 * time.Millisecond}
	_, err := c.Exchange(t.Context(), addr, nil)
	if bothends.Classify(err) != bothends.Timeout || !strings.HasSuffix(err.Error(), ": timed out") {
		t.Errorf("%v is %v", err, bothends.Classify(err))
	}
}

// The process has no descriptors left. The server continues when descriptors are available.
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
	none.Cur = 1 // open descriptors stay open
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		need.Skip(t, "the right to lower its limit of descriptors")
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

// The server closes first. Its FIN arrives with the last octet of the reply, so a
// client that closes when it has the whole reply always closes second.
func TestServerClosesFirst(t *testing.T) {
	ln := loopback(t)
	listens := &bothends.Server{TraceConn: func(net.Conn) *bothends.Trace {
		return &bothends.Trace{Sent: func(bothends.Transfer) { time.Sleep(time.Millisecond) }} // a slow hook
	}}
	serve(t, listens, ln)
	for range 100 {
		conn := dial(t, ln)
		conn.Write([]byte(sixteen))
		if err := bothends.ReadMessage(conn, make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var state int
		raw.Control(func(fd uintptr) { state, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO) })
		const closeWait = 8 // the first octet of struct tcp_info (tcp(7), linux/tcp_states.h)
		if err != nil || state&0xff != closeWait {
			t.Fatalf("state %d with the reply, %v", state&0xff, err)
		}
		conn.Close()
	}
}
