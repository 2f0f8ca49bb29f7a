//go:build unix

package proxy

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/proxytest"
)

// unixTarget listens at a unix socket, and runs handle on each connection.
func unixTarget(t testing.TB, handle func(proxytest.Conn)) (address string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "target")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	proxytest.Serve(t, ln, handle)
	return unixPrefix + path
}

// launchUnix runs p at a unix socket until the test is over.
func launchUnix(t testing.TB, p *Proxy) *running {
	t.Helper()
	return launchAt(t, p, unixPrefix+filepath.Join(t.TempDir(), "proxy"))
}

func (r *running) dialUnix() *net.UnixConn {
	r.t.Helper()
	c, err := net.Dial("unix", strings.TrimPrefix(r.address, unixPrefix))
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(giveUp))
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}

// A half-close works over unix sockets, and so does a mix with TCP.
func TestUnixSockets(t *testing.T) {
	const request, reply = 1 << 20, 2 << 20
	answer := func(c proxytest.Conn) {
		if n, err := io.Copy(io.Discard, c); n != request || err != nil {
			t.Errorf("the target got %d octets, %v", n, err)
		}
		c.Write(make([]byte, reply))
	}
	tcp := proxytest.Target(t, func(c *net.TCPConn) { answer(c) })
	unix := unixTarget(t, answer)
	for _, c := range []struct {
		target, fault string
		unix          bool
	}{{unix, "", true}, {unix, "delay:1ms", true}, {tcp, "", true}, {unix, "", false}, {unix, "drip:65536", false}} {
		p := &Proxy{Target: c.target, Requests: parse(t, c.fault), Replies: parse(t, c.fault)}
		var conn proxytest.Conn
		var r *running
		if c.unix {
			r = launchUnix(t, p)
			conn = r.dialUnix()
		} else {
			r = launch(t, p)
			conn = r.dial()
		}
		conn.Write(make([]byte, request))
		conn.CloseWrite()
		if n, err := io.Copy(io.Discard, conn); n != reply || err != nil {
			t.Errorf("%+v: the client got %d octets, %v", c, n, err)
		}
		conn.Close()
		if got := r.next(); got.Ended != EndedFIN || got.RequestOctets != request || got.ReplyOctets != reply || got.Target != c.target || c.unix != (got.Client == unixPrefix) {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// Over a unix socket there is no RST: the connection is closed, after what was sent before.
func TestUnixFaults(t *testing.T) {
	for _, c := range []struct {
		fault, got, how string
		ended           Ended
	}{
		{"corrupt:0", "Garewell, client", "fin", EndedFIN},
		{"reset:10", "Farewell, ", "fin", EndedFault},
		{"close:10", "Farewell, ", "fin", EndedFault},
		{"halfclose:10", "Farewell, ", "fin", EndedFIN},
	} {
		p := launchUnix(t, &Proxy{Replies: parse(t, c.fault), Target: unixTarget(t, proxytest.AnswersAny("Farewell, client", 16))})
		conn := p.dialUnix()
		io.WriteString(conn, "Hi there, server")
		if got, how := proxytest.HowItEnds(t, conn); got != c.got || how != c.how {
			t.Errorf("%s: %q and %s, want %q and %s", c.fault, got, how, c.got, c.how)
		}
		conn.Close()
		if got := p.next(); got.Ended != c.ended || got.ReplyOctets != int64(len(c.got)) {
			t.Errorf("%s: %+v", c.fault, got)
		}
	}
}

// A client that leaves octets unread is a reset to the other side too.
func TestUnixResetIsPassedOn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems do not report octets that were not read")
	}
	ends := make(chan string, 1)
	p := launchUnix(t, &Proxy{Target: proxytest.Target(t, func(c *net.TCPConn) {
		io.WriteString(c, "not read")
		_, how := proxytest.HowItEnds(t, c)
		ends <- how
	})})
	c := p.dialUnix()
	io.ReadFull(c, make([]byte, 1))
	c.Close()
	if how := <-ends; how != "reset" {
		t.Error(how)
	}
	p.want(EndedClientReset, 0, 8)
}

// Clients of a unix socket that have closed do not keep a connection.
func TestUnixClientsThatLeave(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems do not report that a peer has closed")
	}
	p := launchUnix(t, &Proxy{Connect: fault.Delay(time.Hour), Target: "127.0.0.1:1"})
	p.dialUnix().Close()
	if got := p.next(); got.Ended != EndedFault || got.Error != errLeft.Error() {
		t.Errorf("under a delay on connecting: %+v", got)
	}
	p = launchUnix(t, &Proxy{Requests: fault.Stall(4), Target: unixTarget(t, func(c proxytest.Conn) { io.Copy(io.Discard, c) })})
	c := p.dialUnix()
	io.WriteString(c, "Hi there, server")
	awaitOpen(p)
	for p.openSessions()[0].requests.sent() < 4 {
	}
	c.Close()
	if got := p.next(); got.Ended != EndedClientReset || got.RequestOctets != 4 {
		t.Errorf("under a stall: %+v", got)
	}
	p = launchUnix(t, &Proxy{Connect: fault.FailFirst(1, fault.Hang()), Target: "127.0.0.1:1"})
	c = p.dialUnix()
	p.awaitHeld()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, how := proxytest.HowItEnds(t, c); how != "silence" {
		t.Errorf("hang: %s", how)
	}
	c.Close()
	p.want(EndedFault, 0, 0, "connect hang")
}

func TestUnixUnreachable(t *testing.T) {
	missing := unixPrefix + filepath.Join(t.TempDir(), "missing")
	p := launchUnix(t, &Proxy{Target: missing})
	if got, how := proxytest.Ask(t, p.address); got != "" || how == "silence" {
		t.Errorf("%q, %s", got, how)
	}
	if got := p.want(EndedNoTarget, 0, 0); got.Error != "connect to "+missing+": no such file or directory" {
		t.Error(got.Error)
	}
}

func TestUnixDisableAndEnable(t *testing.T) {
	p := launchUnix(t, &Proxy{Target: unixTarget(t, proxytest.AnswersAny("pong", 4))})
	path := strings.TrimPrefix(p.address, unixPrefix)
	if err := p.Disable(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket of a disabled proxy exists")
	}
	if err := p.Enable(); err != nil {
		t.Fatal(err)
	}
	if got, how := proxytest.Ask(t, p.address); got != "pong" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
}

// The file of a program that was killed is replaced; a socket in use, or another file, is not.
func TestUnixSocketThatWasLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "left")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(unixPrefix + path); !errno.AddrInUse.Has(err) {
		t.Errorf("in use: %v", err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	ln, err := listen(unixPrefix + path)
	if err != nil {
		t.Fatal("left behind:", err)
	}
	ln.Close()
	if err := os.WriteFile(path, []byte("text"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(unixPrefix + path); err == nil {
		t.Error("an ordinary file was replaced")
	}
}

func TestUnixInASet(t *testing.T) {
	s, _ := set(t)
	ctx := context.Background()
	dir := t.TempDir()
	a, b := unixPrefix+filepath.Join(dir, "a"), unixPrefix+filepath.Join(dir, "b")
	to := unixTarget(t, proxytest.AnswersAny("pong", 4))
	added, err := s.Add(ctx, Spec{Listen: a, Target: to})
	if err != nil || added.Listen != a || strings.Contains(added.Name, "/") {
		t.Fatalf("%+v, %v", added, err)
	}
	if got, how := proxytest.Ask(t, a); got != "pong" || how != "fin" {
		t.Errorf("%q, %s", got, how)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	through := unixPrefix + filepath.Join(link, "a")
	if _, err := s.Change(ctx, added.Name, Change{Target: &through}); err == nil || err.Error() != "target: it is the address of this proxy itself" {
		t.Errorf("a ring of one: %v", err)
	}
	if _, err := s.Add(ctx, Spec{Name: "b", Listen: b, Target: a}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(ctx, added.Name, Change{Target: &b}); err == nil || !strings.Contains(err.Error(), "it leads back to this proxy") {
		t.Errorf("a ring of two: %v", err)
	}
	for listen, want := range map[string]string{
		"unix:": "listen: unix: needs a path", unixPrefix + strings.Repeat("x", 200): `listen: "` + strings.Repeat("x", 200) + `": the path of a unix socket has at most `,
	} {
		if _, err := s.Add(ctx, Spec{Listen: listen, Target: to}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A ring that exists only while it runs ends the connections.
func TestUnixRingThatAppearsLater(t *testing.T) {
	p := launchUnix(t, new(Proxy))
	p.SetTarget(p.address)
	proxytest.Ask(t, p.address)
	if got := p.next(); got.Ended != EndedError || !strings.HasSuffix(got.Error, errRingNow.Error()) || p.Accepted() != 1 {
		t.Errorf("%+v, %d accepted", got, p.Accepted())
	}
}
