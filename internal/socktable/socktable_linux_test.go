package socktable

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/bothends/bothends/internal/need"
	"golang.org/x/sys/unix"
)

func listen(t testing.TB, network, address string) *net.TCPListener {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), network, address)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT) {
		need.Skip(t, "IPv6")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

func dial(t testing.TB, ln net.Listener) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func accept(t testing.TB, ln net.Listener) *net.TCPConn {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// ownAddress is one that no other test or program has used: on a busy machine any
// port of 127.0.0.1 may have ends in TIME_WAIT.
func ownAddress() string {
	return fmt.Sprintf("127.%d.%d.%d:0", 1+rand.N(254), rand.N(256), 1+rand.N(254))
}

func name(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

func onTestPort(t testing.TB, port uint16) []Socket {
	t.Helper()
	sockets, err := OnPort(port)
	if errors.Is(err, ErrNotAvailable) {
		need.Skip(t, "the kernel's sock_diag")
	}
	if err != nil {
		t.Fatal(err)
	}
	return sockets
}

// withEnd returns the rows that have an end at that address and port.
func withEnd(sockets []Socket, at netip.AddrPort) []Socket {
	return slices.DeleteFunc(sockets, func(s Socket) bool { return s.Local != at && s.Peer != at })
}

// until reads the rows of an end until they hold what the test waits for: the last segment
// of a handshake or of a close is on its way when the call at one end returns.
func until(t testing.TB, at netip.AddrPort, holds func([]Socket) bool) []Socket {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		sockets := withEnd(onTestPort(t, at.Port()), at)
		if holds(sockets) {
			return sockets
		}
		if time.Now().After(deadline) {
			t.Fatalf("the table stays at %+v", sockets)
		}
	}
}

// find returns the row of an end, and fails if there is not exactly one.
func find(t *testing.T, sockets []Socket, local, peer netip.AddrPort) Socket {
	t.Helper()
	var found []Socket
	for _, s := range sockets {
		if s.Local == local && s.Peer == peer {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rows of %v and %v in %+v", len(found), local, peer, sockets)
	}
	return found[0]
}

// One listener and three connections, two of them accepted, one with octets that
// nobody has read; and other connections, which the kernel leaves out.
func TestListenerAndConnections(t *testing.T) {
	ln, other := listen(t, "tcp4", ownAddress()), listen(t, "tcp4", ownAddress())
	dial(t, other)
	at := name(ln.Addr())
	if rows := withEnd(onTestPort(t, at.Port()), at); len(rows) != 1 || rows[0].State != "LISTEN" || rows[0].Unread != 0 {
		t.Errorf("before the first client: %+v", rows)
	}
	clients := []*net.TCPConn{dial(t, ln), dial(t, ln), dial(t, ln)}
	accept(t, ln)
	accept(t, ln)
	clients[0].Write([]byte("octets"))
	rows := until(t, at, func(rows []Socket) bool {
		return len(rows) == 7 && rows[0].Unread == 1 && find(t, rows, at, name(clients[0].LocalAddr())).Unread == 6
	})
	if l := rows[0]; l.State != "LISTEN" || l.Local != at || l.Peer.Port() != 0 || l.Unsent < 5 || l.Inode != inode(t, ln) {
		t.Errorf("listener: %+v", l)
	}
	for i, c := range clients {
		client, server := find(t, rows, name(c.LocalAddr()), at), find(t, rows, at, name(c.LocalAddr()))
		if client.State != "ESTABLISHED" || client.Inode != inode(t, c) {
			t.Errorf("client %d: %+v", i, client)
		}
		if server.State != "ESTABLISHED" || (server.Inode == 0) != (i == 2) {
			t.Errorf("server's end %d, of which the last is not accepted: %+v", i, server)
		}
	}
	for i, row := range rows[2:] {
		if compare(rows[i+1], row) >= 0 {
			t.Errorf("%+v comes before %+v", rows[i+1], row)
		}
	}
	for _, row := range onTestPort(t, at.Port()) {
		if row.Local.Port() != at.Port() && row.Peer.Port() != at.Port() {
			t.Errorf("not on port %d: %+v", at.Port(), row)
		}
	}
	// By a client's port there are both ends of its connection, and not the listener.
	client := name(clients[1].LocalAddr())
	if rows := withEnd(onTestPort(t, client.Port()), at); len(rows) != 2 {
		t.Errorf("by a client's port: %+v", rows)
	}
}

func inode(t *testing.T, s interface{ File() (*os.File, error) }) uint32 {
	t.Helper()
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	return uint32(stat.Ino)
}

// The end that closes first keeps TIME_WAIT, and then belongs to no program.
func TestTimeWait(t *testing.T) {
	for _, serverFirst := range []bool{true, false} {
		ln := listen(t, "tcp4", ownAddress())
		at := name(ln.Addr())
		client := dial(t, ln)
		first, second := accept(t, ln), client
		if !serverFirst {
			first, second = second, first
		}
		ln.Close()
		local, peer := name(first.LocalAddr()), name(first.RemoteAddr())
		first.Close()
		io.Copy(io.Discard, second)
		rows := until(t, at, func(rows []Socket) bool { // Linux delays its ACK of a FIN
			return find(t, rows, local, peer).State != "FIN_WAIT1"
		})
		if waits := find(t, rows, local, peer); waits.State != "FIN_WAIT2" || waits.Inode != 0 {
			t.Errorf("the first has closed: %+v", waits)
		}
		if left := find(t, rows, peer, local); left.State != "CLOSE_WAIT" || left.Inode == 0 {
			t.Errorf("the second has read the end: %+v", left)
		}
		second.Close()
		rows = until(t, at, func(rows []Socket) bool { return len(rows) == 1 })
		if waits := find(t, rows, local, peer); waits.State != "TIME_WAIT" || waits.Inode != 0 {
			t.Errorf("both have closed: %+v", waits)
		}
	}
}

func TestIPv6(t *testing.T) {
	ln := listen(t, "tcp6", "[::1]:0")
	client := dial(t, ln)
	at := name(ln.Addr())
	rows := until(t, at, func(rows []Socket) bool { return rows[0].Unread == 1 })
	find(t, rows, at, name(client.LocalAddr()))
	find(t, rows, name(client.LocalAddr()), at)
}

// A socket of both families shows an IPv4 client as IPv4, as Go's net does.
func TestMappedAddresses(t *testing.T) {
	ln := listen(t, "tcp", "[::]:0")
	port := name(ln.Addr()).Port()
	client, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	rows := onTestPort(t, port)
	if l := rows[0]; l.State != "LISTEN" || l.Local.Addr() != netip.IPv6Unspecified() {
		t.Errorf("listener: %+v", l)
	}
	accept(t, ln)
	find(t, onTestPort(t, port), name(client.RemoteAddr()), name(client.LocalAddr()))
}

func TestPortZero(t *testing.T) {
	listen(t, "tcp4", "127.0.0.1:0")
	if rows, err := OnPort(0); len(rows) != 0 || err != nil {
		t.Errorf("%+v, %v", rows, err)
	}
}

// message is one message of netlink, as the kernel sends it.
func message(kind uint16, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(append(b, make([]byte, 10)...), data...)
}

func number(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

func TestParse(t *testing.T) {
	data := make([]byte, sizeRow)
	data[0], data[1] = unix.AF_INET, 6
	a := message(unix.SOCK_DIAG_BY_FAMILY, data...)
	for _, c := range []struct {
		name         string
		part         []byte
		rows         int
		done         bool
		err          error
		notAvailable bool
	}{
		{"rows, and more to come", append(a, a...), 2, false, nil, false},
		{"the last part", append(a, message(unix.NLMSG_DONE, number(0)...)...), 1, true, nil, false},
		{"nothing", message(unix.NLMSG_DONE, number(0)...), 0, true, nil, false},
		{"no module", message(unix.NLMSG_ERROR, number(-int32(unix.ENOENT))...), 0, true, unix.ENOENT, true},
		{"denied", message(unix.NLMSG_ERROR, number(-int32(unix.EPERM))...), 0, true, unix.EPERM, true},
		{"an error that may pass", message(unix.NLMSG_DONE, number(-int32(unix.ENOMEM))...), 0, true, unix.ENOMEM, false},
		{"a message cut short", a[:40], 0, false, unix.EINVAL, false},
		{"a row cut short", message(unix.SOCK_DIAG_BY_FAMILY, data[:68]...), 0, false, nil, false},
	} {
		rows, done, err := parse(c.part, nil)
		if len(rows) != c.rows || done != c.done && c.err == nil || !errors.Is(err, c.err) || errors.Is(err, ErrNotAvailable) != c.notAvailable {
			t.Errorf("%s: %d rows, done %v, %v", c.name, len(rows), done, err)
		}
		for _, s := range rows {
			if s.State != "TIME_WAIT" || s.Local.Addr() != netip.IPv4Unspecified() {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
	}
}

// What a lesson pays for one look, where another port has many ends in TIME_WAIT.
func BenchmarkOnPort(b *testing.B) {
	busy := listen(b, "tcp4", "127.0.0.1:0")
	go func() {
		for c, err := busy.Accept(); err == nil; c, err = busy.Accept() {
			c.Close()
		}
	}()
	const waiting = 10_000
	for range waiting {
		c, err := net.Dial("tcp", busy.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, c)
		c.Close()
	}
	for _, c := range []struct {
		name string
		port uint16
	}{
		{"quiet", name(listen(b, "tcp4", "127.0.0.1:0").Addr()).Port()},
		{"busy", name(busy.Addr()).Port()},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				onTestPort(b, c.port)
			}
			b.ReportMetric(float64(len(onTestPort(b, c.port))), "rows")
		})
	}
}
