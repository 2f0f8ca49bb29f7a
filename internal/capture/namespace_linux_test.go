package capture

import (
	"encoding/binary"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bothends/bothends/internal/need"
)

// inNamespace puts the test into a network namespace of its own. It keeps its thread,
// which ends with it.
func inNamespace(t *testing.T) {
	t.Helper()
	need.Program(t, "ip", "iproute2")
	runtime.LockOSThread()
	if unix.Unshare(unix.CLONE_NEWNET) != nil {
		need.Skip(t, "the right to make a network namespace")
	}
}

// sh runs commands in this thread's namespace.
func sh(t *testing.T, commands string, args ...string) {
	t.Helper()
	out, err := exec.Command("sh", append([]string{"-euc", commands, "sh"}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Over a bridge each packet passes two interfaces, and is in the capture once.
func TestBridge(t *testing.T) {
	need.Program(t, "nsenter", "util-linux")
	inNamespace(t)
	sh(t, `ip link add br0 type bridge
		ip link add veth0 type veth peer name veth1
		ip link set veth0 master br0
		ip address add 10.1.2.1/24 dev br0
		ip link set br0 up
		ip link set veth0 up`)
	here := strconv.Itoa(unix.Gettid())
	there := make(chan net.Listener, 1)
	go func() { // the peer's namespace
		defer close(there)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		sh(t, `nsenter -n/proc/$1/ns/net ip link set veth1 netns /proc/$2/ns/net
			ip address add 10.1.2.2/24 dev veth1
			ip link set veth1 up`, here, strconv.Itoa(unix.Gettid()))
		if ln, err := net.Listen("tcp", "10.1.2.2:0"); err == nil {
			there <- ln
		}
	}()
	ln, ok := <-there
	if !ok {
		t.Fatal("there is no peer")
	}
	defer ln.Close()
	c := open(t, Options{})
	client, server := dial(t, c, ln)
	exchange(t, client, server, 16)
	if got := story(finish(t, c)); got != exchangeStory {
		t.Errorf("got:\n%s", got)
	}
	checkOrder(t, c.Segments(), time.Time{})
	seen := make(map[int]bool)
	for _, p := range c.taps[0].packets {
		seen[p.iface] = true
	}
	if len(seen) != 2 {
		t.Errorf("the packets were seen on %d interfaces, and should have been on two", len(seen))
	}
}

// Segments of more than 64 KiB, whose length the IPv4 header cannot say, are whole.
func TestLargeSegments(t *testing.T) {
	inNamespace(t)
	sh(t, "ip link set lo up")
	const most = 400_000
	if setLoopback(unix.IFLA_GSO_MAX_SIZE, most) != nil || setLoopback(unix.IFLA_GSO_IPV4_MAX_SIZE, most) != nil {
		need.Skip(t, "a kernel with BIG TCP (Linux 6.3)")
	}
	c := open(t, Options{})
	const octets = 4 << 20 // in segments of which some are larger than a file may have, as a rule
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		client, server := dial(t, c, listen(t, address))
		exchange(t, client, server, octets)
	}
	segments := finish(t, c)
	got := sent(t, segments)
	for end, n := range got {
		if n != octets {
			t.Errorf("%v sent %d octets, and the segments have %d", end, octets, n)
		}
	}
	large := make(map[int]int) // the largest of each IP version
	for _, s := range segments {
		large[s.Src.Addr().BitLen()] = max(large[s.Src.Addr().BitLen()], s.Octets)
	}
	if len(got) != 4 || large[32] < 1<<16 || large[128] < 1<<16 {
		t.Errorf("data from %d ends, in segments of up to %v octets", len(got), large)
	}
	lines := tshark(t, c, "tcp.len", "_ws.malformed", "tcp.analysis.lost_segment")
	if len(lines) != len(segments) {
		t.Errorf("%d segments, and tshark has %d", len(segments), len(lines))
	}
	for i, line := range lines {
		if got := strings.TrimSpace(line); got != strconv.Itoa(segments[i].Octets) {
			t.Errorf("%v, %d octets: tshark has %s", segments[i].Src, segments[i].Octets, got)
			break
		}
	}
}

// setLoopback sets a number of lo (rtnetlink(7)); ip(8) knows the newer ones only in
// newer versions.
func setLoopback(attribute uint16, value uint32) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	const size = unix.NLMSG_HDRLEN + unix.SizeofIfInfomsg + unix.SizeofRtAttr + 4
	m := binary.NativeEndian.AppendUint32(nil, size)
	m = binary.NativeEndian.AppendUint16(m, unix.RTM_NEWLINK)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = append(m, make([]byte, 8+4)...) // sequence, port; family, type
	m = binary.NativeEndian.AppendUint32(m, uint32(lo.Index))
	m = append(m, make([]byte, 8)...) // flags to set: none
	m = binary.NativeEndian.AppendUint16(m, unix.SizeofRtAttr+4)
	m = binary.NativeEndian.AppendUint16(m, attribute)
	m = binary.NativeEndian.AppendUint32(m, value)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	if _, _, err := unix.Recvfrom(fd, answer, 0); err != nil {
		return err
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}
