package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"go.uber.org/goleak"

	"github.com/bothends/bothends/internal/need"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, options Options) *Capture {
	t.Helper()
	c, err := Open(options)
	if errors.Is(err, ErrNotPermitted) {
		need.Skip(t, "CAP_NET_RAW")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		c.Finish(ended)
	})
	return c
}

// finish waits for the connections' end; one that does not come fails the test.
func finish(t *testing.T, c *Capture) []Segment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Finish(ctx); err != nil {
		t.Error(err)
	}
	if ctx.Err() != nil {
		t.Error("the capture did not see the end of its connections")
	}
	return c.Segments()
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil && strings.HasPrefix(address, "[") {
		need.Skip(t, "IPv6")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// dial connects through c, and returns both ends.
func dial(t *testing.T, c *Capture, ln net.Listener) (client, server *net.TCPConn) {
	t.Helper()
	dialer := net.Dialer{Control: c.Control}
	conn, err := dialer.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); accepted.Close() })
	return conn.(*net.TCPConn), accepted.(*net.TCPConn)
}

func plain(t *testing.T, ln net.Listener) (client, server *net.TCPConn) {
	return dial(t, &Capture{finished: true}, ln)
}

// exchange sends so many octets each way, and ends the connection: the client's FIN
// first.
func exchange(t *testing.T, client, server *net.TCPConn, octets int) {
	t.Helper()
	for _, ends := range [][2]*net.TCPConn{{client, server}, {server, client}} {
		failed := make(chan error, 1)
		go func() {
			_, err := ends[0].Write(make([]byte, octets))
			failed <- err
		}()
		_, err := io.ReadFull(ends[1], make([]byte, octets))
		if err := errors.Join(err, <-failed); err != nil {
			t.Fatal(err)
		}
	}
	client.CloseWrite()
	io.Copy(io.Discard, server)
	server.Close()
	io.Copy(io.Discard, client)
	client.Close()
}

// story is the segments that take room in the stream, and the RSTs. When data is
// acknowledged on its own is the kernel's affair.
func story(segments []Segment) string {
	var lines []string
	for _, s := range segments {
		if s.Octets == 0 && s.Flags&(SYN|FIN|RST) == 0 {
			continue
		}
		line := map[bool]string{true: "> ", false: "< "}[s.Sent] + s.Flags.String()
		if s.Octets > 0 {
			line += fmt.Sprintf(" %d", s.Octets)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// sent is how many octets each end has sent, without those that it sent again. What
// leaves a gap fails the test.
func sent(t *testing.T, segments []Segment) map[netip.AddrPort]int {
	t.Helper()
	next := make(map[netip.AddrPort]uint32)
	octets := make(map[netip.AddrPort]int)
	for _, s := range segments {
		if s.Flags&SYN != 0 {
			next[s.Src] = s.Seq + 1
		}
		if s.Octets == 0 {
			continue
		}
		fresh := int32(s.Seq + uint32(s.Octets) - next[s.Src])
		if fresh > int32(s.Octets) {
			t.Errorf("%d octets of %v are missing", fresh-int32(s.Octets), s.Src)
		}
		if fresh > 0 {
			octets[s.Src] += int(fresh)
			next[s.Src] += uint32(fresh)
		}
	}
	return octets
}

const exchangeStory = `> SYN
< SYN, ACK
> PSH, ACK 16
< PSH, ACK 16
> FIN, ACK
< FIN, ACK`

func TestExchange(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			start := time.Now()
			c := open(t, Options{})
			ln := listen(t, address)
			client, server := dial(t, c, ln)
			local, peer := client.LocalAddr().String(), client.RemoteAddr().String()
			exchange(t, client, server, 16)
			segments := finish(t, c)
			if got := story(segments); got != exchangeStory {
				t.Fatalf("got:\n%s\nwant:\n%s", got, exchangeStory)
			}
			checkOrder(t, segments, start)
			for _, s := range segments {
				if s.Sent && (s.Src.String() != local || s.Dst.String() != peer) ||
					!s.Sent && (s.Src.String() != peer || s.Dst.String() != local) || s.Window == 0 {
					t.Errorf("%+v, between %s and %s", s, local, peer)
				}
			}
			if s := segments[2]; !s.Sent || s.Flags != ACK || s.Seq != segments[0].Seq+1 || s.Ack != segments[1].Seq+1 {
				t.Errorf("the handshake ends with %+v", s)
			}
			if s := segments[len(segments)-1]; !s.Sent || s.Flags != ACK || s.Seq != segments[0].Seq+1+16+1 || s.Ack != segments[1].Seq+1+16+1 {
				t.Errorf("the connection ends with %+v", s)
			}
		})
	}
}

// checkOrder: each acknowledgment comes behind what it acknowledges, each segment
// where its end had stopped, and times go forward.
func checkOrder(t *testing.T, segments []Segment, start time.Time) {
	t.Helper()
	next := make(map[bool]uint32)
	last := start
	for i, s := range segments {
		if s.At.Before(last) || s.At.After(time.Now()) {
			t.Errorf("segment %d is at %v, after %v", i, s.At, last)
		}
		last = s.At
		if s.Flags&SYN == 0 && s.Seq != next[s.Sent] {
			t.Errorf("segment %d begins at %d, and the last one ended at %d", i, s.Seq, next[s.Sent])
		}
		if s.Flags&ACK != 0 && int32(s.Ack-next[!s.Sent]) > 0 {
			t.Errorf("segment %d acknowledges %d, and %d is what there was", i, s.Ack, next[!s.Sent])
		}
		next[s.Sent] = s.Seq + uint32(s.Octets)
		if s.Flags&(SYN|FIN) != 0 {
			next[s.Sent]++
		}
	}
}

func TestRefused(t *testing.T) {
	c := open(t, Options{})
	ln := listen(t, "127.0.0.1:0")
	ln.Close()
	dialer := net.Dialer{Control: c.Control}
	if _, err := dialer.Dial("tcp", ln.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	if got := story(finish(t, c)); got != "> SYN\n< RST, ACK" {
		t.Error(got)
	}
}

func TestReset(t *testing.T) {
	c := open(t, Options{})
	client, server := dial(t, c, listen(t, "127.0.0.1:0"))
	server.SetLinger(0)
	server.Close()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if got := story(finish(t, c)); got != "> SYN\n< SYN, ACK\n< RST, ACK" {
		t.Error(got)
	}
}

// Other connections on the server's port, and one between the same ports, are not in
// the capture.
func TestOthers(t *testing.T) {
	c := open(t, Options{Source: netip.MustParseAddrPort("127.0.0.2:0")})
	ln := listen(t, "127.0.0.1:0")
	client, server := dial(t, c, ln)
	exchange2 := func(source net.Addr) {
		dialer := net.Dialer{LocalAddr: source}
		conn, err := dialer.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, _ := ln.Accept()
		exchange(t, conn.(*net.TCPConn), accepted.(*net.TCPConn), 100)
	}
	exchange2(nil)
	exchange2(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 3), Port: client.LocalAddr().(*net.TCPAddr).Port})
	other, _ := plain(t, listen(t, "127.0.0.1:0")) // and another server
	other.Close()
	exchange(t, client, server, 16)
	if got := story(finish(t, c)); got != exchangeStory {
		t.Errorf("got:\n%s", got)
	}
	for _, p := range c.taps[0].packets { // they do not even cost memory
		if end := netip.MustParseAddr("127.0.0.2"); p.Src.Addr() != end && p.Dst.Addr() != end {
			t.Errorf("%+v was read", p.Segment)
		}
	}
}

// Two connections of one Capture are both in it, and each once.
func TestTwo(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		c := open(t, Options{})
		ln := listen(t, address)
		one, oneServer := dial(t, c, ln)
		two, twoServer := dial(t, c, ln)
		exchange(t, two, twoServer, 16)
		exchange(t, one, oneServer, 16)
		byPort := make(map[uint16][]Segment)
		last := time.Time{}
		for _, s := range finish(t, c) {
			port := s.Src.Port()
			if !s.Sent {
				port = s.Dst.Port()
			}
			byPort[port] = append(byPort[port], s)
			if s.At.Before(last) {
				t.Errorf("%v after %v", s.At, last)
			}
			last = s.At
		}
		for port, segments := range byPort {
			if got := story(segments); got != exchangeStory {
				t.Errorf("%d:\n%s", port, got)
			}
		}
		if len(byPort) != 2 {
			t.Errorf("%d connections", len(byPort))
		}
	}
}

// The times are the kernel's, not those of a reader that is late; and what the reader
// has left is taken in the end.
func TestLateReader(t *testing.T) {
	warm := open(t, Options{}) // from here on the kernel stamps packets
	ln := listen(t, "127.0.0.1:0")
	client, server := dial(t, warm, ln)
	exchange(t, client, server, 1<<20)
	c := open(t, Options{})
	client, server = dial(t, c, ln)
	tap := c.taps[0]
	tap.file.SetReadDeadline(time.Unix(1, 0))
	<-tap.done
	exchange(t, client, server, 16)
	over := time.Now()
	tap.close()
	segments := c.Segments()
	if got := story(segments); got != exchangeStory {
		t.Errorf("got:\n%s", got)
	}
	for _, s := range segments {
		if s.At.After(over) {
			t.Errorf("%v is at %v, after the end %v", s.Flags, s.At, over)
		}
	}
	c.taps = nil
}

// Finish leaves no descriptor open.
func TestDescriptors(t *testing.T) {
	c := open(t, Options{})
	client, server := dial(t, c, listen(t, "127.0.0.1:0"))
	exchange(t, client, server, 16)
	finish(t, c)
	for _, file := range []*os.File{c.watch, c.taps[0].file} {
		if err := file.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a packet socket was open: %v", err)
		}
	}
}

func TestSource(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	taken := listen(t, "127.0.0.5:0").Addr().(*net.TCPAddr)
	free, _ := plain(t, ln) // a port that nobody has on 127.0.0.6
	port := free.LocalAddr().(*net.TCPAddr).AddrPort().Port()
	free.SetLinger(0)
	free.Close()
	for _, s := range []struct {
		source, want string // the beginning of it
		err          error
	}{
		{"127.0.0.5:0", "127.0.0.5:", nil},
		{fmt.Sprintf("127.0.0.6:%d", port), fmt.Sprintf("127.0.0.6:%d", port), nil},
		{taken.String(), "", syscall.EADDRINUSE},
		{"192.0.2.77:0", "", syscall.EADDRNOTAVAIL},
		{"[::1]:0", "", new(net.AddrError)},
	} {
		c := open(t, Options{Source: netip.MustParseAddrPort(s.source)})
		dialer := net.Dialer{Control: c.Control}
		conn, err := dialer.Dial("tcp", ln.Addr().String())
		if want := new(net.AddrError); s.err != nil && !errors.Is(err, s.err) && !errors.As(err, &want) {
			t.Errorf("from %s: %v", s.source, err)
		}
		if err == nil {
			accepted, _ := ln.Accept()
			if got := accepted.RemoteAddr().String(); s.want == "" || !strings.HasPrefix(got, s.want) {
				t.Errorf("from %s: the server sees %s", s.source, got)
			}
			exchange(t, conn.(*net.TCPConn), accepted.(*net.TCPConn), 16)
		} else if s.want != "" {
			t.Errorf("from %s: %v", s.source, err)
		}
		if segments := finish(t, c); s.want == "" && len(segments) > 0 ||
			s.want != "" && (story(segments) != exchangeStory || !strings.HasPrefix(segments[0].Src.String(), s.want)) {
			t.Errorf("from %s: %v", s.source, segments)
		}
	}
	// A port alone is from any address.
	c := open(t, Options{Source: netip.AddrPortFrom(netip.Addr{}, uint16(taken.Port))})
	dialer := net.Dialer{Control: c.Control}
	if _, err := dialer.Dial("tcp", ln.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("from a port that is taken: %v", err)
	}
}

// Where the packets cannot be had the connection is made all the same, and Finish
// says why.
func TestFailureIsRemembered(t *testing.T) {
	c := open(t, Options{})
	ln := listen(t, "127.0.0.1:0")
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{Control: func(network, address string, conn syscall.RawConn) error {
		none := syscall.Rlimit{Cur: 3, Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
			t.Error(err)
		}
		defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
		return c.Control(network, address, conn)
	}}
	conn, err := dialer.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	err = c.Finish(t.Context())
	want := "capture the connection to " + ln.Addr().String() + ": socket: too many open files"
	if !errors.Is(err, syscall.EMFILE) || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// Finish waits for the end, as long as it may.
func TestFinish(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	c := open(t, Options{})
	client, server := dial(t, c, ln)
	done := make(chan error)
	go func() { done <- c.Finish(t.Context()) }()
	exchange(t, client, server, 16)
	if err := <-done; err != nil || story(c.Segments()) != exchangeStory {
		t.Errorf("%v, %s", err, story(c.Segments()))
	}
	if err := c.Finish(t.Context()); err != nil {
		t.Errorf("once more: %v", err)
	}
	late, _ := dial(t, c, ln) // as an attempt of net.Dialer may that has lost the race
	late.Close()

	c = open(t, Options{})
	client, server = dial(t, c, ln)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Finish(ctx); err != nil || story(c.Segments()) != "> SYN\n< SYN, ACK" {
		t.Errorf("%v, %s", err, story(c.Segments()))
	}
	exchange(t, client, server, 16) // the connection does not suffer from it

	c = open(t, Options{}) // no connection: nothing to wait for
	dialer := net.Dialer{Control: c.Control}
	if _, err := dialer.Dial("tcp", "224.0.0.1:9"); err == nil {
		t.Error("connected to a group")
	}
	if segments := finish(t, c); len(segments) > 0 {
		t.Errorf("%v", segments)
	}
}

// What the kernel had to drop, and what was over the limit of memory, is counted.
func TestLost(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	c := open(t, Options{})
	c.socketBuffer = 1
	client, server := dial(t, c, ln)
	c.mu.Lock() // the reader is stuck
	exchange(t, client, server, 1<<20)
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.Finish(ctx)
	var lost *LostError
	if !errors.As(err, &lost) || lost.Kernel == 0 || lost.Memory != 0 {
		t.Errorf("%v", err)
	}

	c = open(t, Options{})
	c.room = 100 << 10
	client, server = dial(t, c, ln)
	exchange(t, client, server, 1<<20)
	err = c.Finish(t.Context())
	kept := len(c.Segments())
	if lost = nil; !errors.As(err, &lost) || lost.Memory == 0 || lost.Kernel != 0 || kept == 0 {
		t.Fatalf("%d kept, %v", kept, err)
	}
	want := fmt.Sprintf("%d packets are not in the capture: 0 dropped by the kernel, %[1]d over the limit of memory", lost.Memory)
	if err.Error() != want {
		t.Errorf("%v", err)
	}
	var file bytes.Buffer
	if err := c.Save(&file); err != nil {
		t.Fatal(err)
	}
	reader, err := pcapgo.NewNgReader(&file, pcapgo.NgReaderOptions{})
	packets := 0
	for ; err == nil; packets++ {
		_, _, err = reader.ReadPacketData()
	}
	info, _ := reader.Interface(0)
	if err != io.EOF || packets-1 != kept || info.Statistics.PacketsDropped != lost.Memory {
		t.Errorf("the file has %d packets and says that %d are missing: %v", packets-1, info.Statistics.PacketsDropped, err)
	}
}

// Without the right, the error says what is missing and how to get it.
func TestNotPermitted(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(Options{})
	if err == nil {
		c.Finish(t.Context())
		if os.Getuid() != 0 {
			need.Skip(t, "to be root, or not to have CAP_NET_RAW")
		}
		setpriv := need.Program(t, "setpriv", "util-linux")
		out, err := exec.Command(setpriv, "--bounding-set=-net_raw", self, "-test.run=^TestNotPermitted$", "-test.v").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "refused as it should be") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	want := "capturing packets needs CAP_NET_RAW: run it as root, or once: setcap cap_net_raw+ep " + self + " (socket: operation not permitted)"
	if !errors.Is(err, ErrNotPermitted) || !errors.Is(err, syscall.EPERM) || err.Error() != want {
		t.Fatalf("got %q, want %q", err, want)
	}
	t.Log("refused as it should be")
}

// Who may make a user namespace has the right in it.
func TestInNamespace(t *testing.T) {
	unshare := need.Program(t, "unshare", "util-linux")
	need.Program(t, "ip", "iproute2")
	if err := exec.Command(unshare, "-rn", "true").Run(); err != nil {
		need.Skip(t, "the right to make a network namespace")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(unshare, "-rn", "sh", "-euc",
		`ip link set lo up; exec "$0" -test.run '^TestExchange$' -test.v`, self).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestExchange/127.0.0.1:0") {
		t.Errorf("%v\n%s", err, out)
	}
}
