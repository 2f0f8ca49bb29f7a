package bothends_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/bothends/bothends"
)

// The first address of a name does not answer, and the second one does. A short timeout
// is enough for both.
func TestSecondAddressOfAName(t *testing.T) {
	ln := loopback(t)
	serve(t, new(bothends.Server), ln)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	silent(t, "127.0.0.2:"+port)

	for name, d := range map[string]*net.Dialer{
		"any port":            {},
		"a source port":       {LocalAddr: &net.TCPAddr{Port: freePort(t)}},
		"a source of a class": {LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}},
	} {
		d.Resolver = resolver("127.0.0.2", "::1", "127.0.0.1")
		network := "tcp4"
		if d.LocalAddr != nil {
			network = "tcp"
		}
		var resolved bothends.Resolution
		ctx := bothends.WithTrace(t.Context(), &bothends.Trace{Resolved: func(r bothends.Resolution) { resolved = r }})
		c := &bothends.Client{Timeout: 600 * time.Millisecond, Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return bothends.Dial(ctx, d, network, addr)
		}}
		reply, err := c.Exchange(ctx, "two.example.:"+port, []byte(sixteen))
		if string(reply) != farewell || err != nil {
			t.Errorf("%s: %q, %v", name, reply, err)
		}
		if !contains(resolved.Addrs, "127.0.0.2") {
			t.Errorf("%s: resolved to %v", name, resolved.Addrs)
		}
	}
}

// If no address answers, Dial returns the first error. It is a timeout only if the
// first error was.
func TestNoAddressOfANameAnswers(t *testing.T) {
	ln := loopback(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	silent(t, "127.0.0.2:"+port)
	for _, c := range []struct {
		addrs []string
		want  bothends.Outcome
	}{
		{[]string{"127.0.0.1", "127.0.0.3"}, bothends.Refused},
		{[]string{"127.0.0.1", "127.0.0.2"}, bothends.Refused},
		{[]string{"127.0.0.2", "127.0.0.1"}, bothends.Timeout},
		{[]string{"::1"}, bothends.Unreachable}, // with an IPv4 network
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		conn, err := bothends.Dial(ctx, &net.Dialer{Resolver: resolver(c.addrs...)}, "tcp4", "two.example.:"+port)
		if conn != nil || bothends.Classify(err) != c.want || c.want != bothends.Unreachable && !strings.Contains(err.Error(), c.addrs[0]) {
			t.Errorf("%v: %v is %v, want %v", c.addrs, err, bothends.Classify(err), c.want)
		}
	}
}

// silent listens at addr with a full queue, so the kernel drops each SYN (listen(2)).
func silent(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) })
	if err != nil {
		t.Fatal(err)
	}
	dial(t, ln) // a backlog of 0 has room for one
}

func freePort(t *testing.T) int {
	ln := loopback(t)
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// resolver returns a Resolver that answers each query with the addresses that
// have the type of the query. It uses DNS over TCP on a pipe.
func resolver(addrs ...string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			answerQuery(server, addrs)
		}()
		return client, nil
	}}
}

func answerQuery(conn net.Conn, addrs []string) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return err
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	for _, a := range addrs {
		ip := netip.MustParseAddr(a)
		header := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET}
		switch m.Questions[0].Type {
		case dnsmessage.TypeA:
			if ip.Is4() {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
			}
		case dnsmessage.TypeAAAA:
			if ip.Is6() {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
			}
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...))
	return err
}
