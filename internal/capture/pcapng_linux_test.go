package capture

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bothends/bothends/internal/need"
)

// tshark returns what it reads from the capture's file: a line a packet, with these
// fields.
func tshark(t *testing.T, c *Capture, fields ...string) []string {
	t.Helper()
	program := need.Program(t, "tshark", "tshark")
	path := filepath.Join(t.TempDir(), "file.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Save(file), file.Close()); err != nil {
		t.Fatal(err)
	}
	args := []string{"-r", path, "-n", "-o", "tcp.relative_sequence_numbers:FALSE", "-T", "fields", "-E", "separator= "}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// tshark finds in the file the segments that Segments returns, in the same order,
// and nothing that is malformed or missing.
func TestTsharkAgrees(t *testing.T) {
	c := open(t, Options{})
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln := listen(t, address)
		client, server := dial(t, c, ln)
		exchange(t, client, server, 1<<20) // in segments of up to 64 KiB
		ln.Close()
		dialer := net.Dialer{Control: c.Control}
		if _, err := dialer.Dial("tcp", ln.Addr().String()); err == nil {
			t.Error("not refused")
		}
	}
	segments := finish(t, c)
	lines := tshark(t, c, "frame.time_epoch", "frame.packet_flags_direction", "ip.src", "ipv6.src", "ip.dst", "ipv6.dst",
		"tcp.srcport", "tcp.dstport", "tcp.seq", "tcp.ack", "tcp.flags", "tcp.window_size_value", "tcp.len", "frame.len", "frame.cap_len",
		"_ws.malformed", "tcp.analysis.lost_segment", "tcp.analysis.ack_lost_segment")
	if len(lines) != len(segments) {
		t.Fatalf("%d segments, and tshark has %d", len(segments), len(lines))
	}
	packets := c.packets()
	for i, s := range segments {
		direction := map[bool]string{true: "0x00000002", false: "0x00000001"}[s.Sent]
		want := fmt.Sprintf("%d.%09d %s %s %s %d %d %d %d 0x%04x %d %d %d %d", s.At.Unix(), s.At.Nanosecond(), direction,
			s.Src.Addr(), s.Dst.Addr(), s.Src.Port(), s.Dst.Port(), s.Seq, s.Ack, uint8(s.Flags), s.Window, s.Octets,
			packets[i].size, packets[i].size)
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("%d: tshark has\n%s, and we\n%s", i, got, want)
		}
	}
	got := sent(t, segments)
	for end, octets := range got {
		if octets != 1<<20 {
			t.Errorf("%v sent %d octets, and the segments have %d", end, 1<<20, octets)
		}
	}
	if len(got) != 4 {
		t.Errorf("data from %d ends", len(got))
	}
}

// With a SnapLen the file has less of each packet, and the segments are as they were.
func TestSnapLen(t *testing.T) {
	for _, snap := range []int{1, 40, 96} {
		c := open(t, Options{SnapLen: snap})
		ln := listen(t, "127.0.0.1:0")
		client, server := dial(t, c, ln)
		exchange(t, client, server, 200)
		if got, want := story(finish(t, c)), strings.ReplaceAll(exchangeStory, "16", "200"); got != want {
			t.Errorf("%d octets of each:\n%s", snap, got)
		}
		for _, p := range c.packets() {
			if len(p.data) != min(snap, p.size) || p.Octets > 0 && p.size != 20+32+200 {
				t.Errorf("%d of %d, with %d of data", len(p.data), p.size, p.Octets)
			}
		}
		if snap != 96 {
			continue
		}
		for _, line := range tshark(t, c, "frame.cap_len", "frame.len") {
			kept, whole, _ := strings.Cut(line, " ")
			size, err := strconv.Atoi(whole)
			if err != nil || kept != strconv.Itoa(min(96, size)) {
				t.Errorf("tshark sees %s", line)
			}
		}
	}
}

// Wireshark refuses a file with longer packets.
func TestMostSnapLen(t *testing.T) {
	for _, snap := range []int{-1, 0, mostSnapLen + 1} {
		if c := open(t, Options{SnapLen: snap}); c.snapLen != mostSnapLen {
			t.Errorf("%d: %d octets", snap, c.snapLen)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestSaveFails(t *testing.T) {
	if err := new(Capture).Save(broken{}); !errors.Is(err, os.ErrClosed) || !strings.HasPrefix(err.Error(), "write pcapng: ") {
		t.Error(err)
	}
}

func seg(sent bool, iface int, local string, seq uint32) packet {
	s := Segment{Sent: sent, Seq: seq, Src: netip.MustParseAddrPort(local + ":1"), Dst: netip.MustParseAddrPort("192.0.2.9:2")}
	if !sent {
		s.Src, s.Dst = s.Dst, s.Src
	}
	return packet{Segment: s, iface: iface}
}

// Which of the interfaces that a packet passes counts.
func TestDistinct(t *testing.T) {
	const us, stranger = "192.0.2.1", "192.0.2.2"
	for _, c := range []struct {
		name    string
		packets []packet
		want    []int // indices
	}{
		{"one", []packet{seg(true, 1, us, 1), seg(false, 1, us, 2), seg(true, 1, us, 1)}, []int{0, 1, 2}},
		{"bridge", []packet{seg(true, 7, us, 1), seg(true, 3, us, 1), seg(false, 3, us, 2), seg(false, 7, us, 2)}, []int{0, 3}},
		{"bond", []packet{seg(true, 7, us, 1), seg(true, 3, us, 1), seg(false, 4, us, 2), seg(false, 7, us, 2),
			seg(false, 3, us, 3), seg(false, 7, us, 3)}, []int{0, 3, 5}},
		{"another way back", []packet{seg(true, 7, us, 1), seg(false, 4, us, 2), seg(false, 5, us, 2)}, []int{0, 1}},
		{"forwarded", []packet{seg(true, 1, us, 1), seg(false, 1, stranger, 5), seg(true, 1, stranger, 6), seg(false, 1, us, 2)}, []int{0, 3}},
		{"only received", []packet{seg(false, 1, us, 1), seg(false, 2, us, 1)}, []int{0}},
		{"none", nil, nil},
	} {
		for i := range c.packets {
			c.packets[i].size = i
		}
		var got []int
		for _, p := range distinct(c.packets) {
			got = append(got, p.size)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: kept %v, want %v", c.name, got, c.want)
		}
	}
}

// A packet without the kernel's stamp gets a time that is too late, and is not put
// behind the next one for it.
func TestSettle(t *testing.T) {
	packets := make([]packet, 4)
	for i, second := range []int64{5, 9, 6, 7} {
		packets[i].At = packets[i].At.AddDate(0, 0, int(second))
	}
	settle(packets)
	for i, second := range []int{5, 6, 6, 7} {
		if day := packets[i].At.YearDay() - 1; day != second {
			t.Errorf("packet %d at %d, want %d", i, day, second)
		}
	}
}

// Headers that loopback does not make.
func TestDecode(t *testing.T) {
	v4 := func(total uint16, options int, tcp string) []byte {
		header := make([]byte, 20+options)
		header[0], header[2], header[3] = 0x40|byte(5+options/4), byte(total>>8), byte(total)
		return append(header, tcp...)
	}
	v6 := func(payload uint16, next byte, rest string) []byte {
		header := make([]byte, 40)
		header[0], header[4], header[5], header[6] = 0x60, byte(payload>>8), byte(payload), next
		return append(header, rest...)
	}
	const tcp = "\x01\x02\x03\x04ABCDEFGH\x60\x12wwccuu" + "oooo" // with one option
	const hop = "\x06\x00\xc2\x04\x00\x03\x00\x00"
	for _, c := range []struct {
		name              string
		data              []byte
		size              int
		ok                bool
		octets, sizeAfter int
	}{
		{"plain", v4(47, 0, tcp+"xyz"), 47, true, 3, 47},
		{"padded by Ethernet", v4(44, 0, tcp+"\x00\x00"), 46, true, 0, 44},
		{"IP options", v4(55, 8, tcp+"xyz"), 55, true, 3, 55},
		{"cut", v4(1500, 0, tcp), 1500, true, 1456, 1500},
		{"larger than IPv4 can say", v4(0, 0, tcp), 100_044, true, 100_000, 100_044},
		{"IPv6", v6(27, 6, tcp+"xyz"), 67, true, 3, 67},
		{"IPv6, padded", v6(24, 6, tcp+"\x00"), 65, true, 0, 64},
		{"IPv6, jumbo", v6(0, 0, hop+tcp), 200_072, true, 200_000, 200_072},
		{"too short", v4(40, 0, tcp)[:39], 40, false, 0, 0},
		{"too short for its options", v4(40, 40, "")[:50], 40, false, 0, 0},
		{"IPv6, too short", v6(20, 6, tcp)[:59], 60, false, 0, 0},
		{"neither", append([]byte{0x50}, make([]byte, 60)...), 61, false, 0, 0},
		{"empty", nil, 0, false, 0, 0},
	} {
		s, size, ok := decode(c.data, c.size)
		if ok != c.ok || s.Octets != c.octets || size != c.sizeAfter {
			t.Errorf("%s: %v, %d octets of data in %d", c.name, ok, s.Octets, size)
		}
		if ok && (s.Src.Port() != 0x102 || s.Dst.Port() != 0x304 || s.Seq != 0x41424344 || s.Ack != 0x45464748 || s.Flags != SYN|ACK || s.Window != 'w'<<8|'w') {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// What Ethernet has padded a packet with is not kept.
func TestPadding(t *testing.T) {
	tap := &tap{c: &Capture{snapLen: mostSnapLen, room: 1000}}
	data := make([]byte, 46)
	data[0], data[3], data[32] = 0x45, 40, 5<<4
	tap.take(data, len(data), 1, time.Now())
	if p := tap.packets[0]; len(p.data) != 40 || p.size != 40 || p.Octets != 0 {
		t.Errorf("%d of %d octets, %d of them data", len(p.data), p.size, p.Octets)
	}
}

// When a connection has ended. The client has sent up to 100, and the server to 500.
func TestEnding(t *testing.T) {
	const client, server = true, false
	fin := func(sent bool, seq, ack uint32, octets int) Segment {
		return Segment{Sent: sent, Flags: FIN | ACK, Seq: seq, Ack: ack, Octets: octets}
	}
	ack := func(sent bool, ack uint32) Segment { return Segment{Sent: sent, Flags: ACK, Ack: ack} }
	for _, c := range []struct {
		name     string
		segments []Segment
		end      int // the number of the segment, from one on; 0 is none
	}{
		{"the client first", []Segment{fin(client, 100, 500, 0), ack(server, 101), fin(server, 500, 101, 0), ack(client, 501), ack(client, 501)}, 4},
		{"the server first, with data", []Segment{fin(server, 500, 100, 17), fin(client, 100, 518, 0), ack(server, 101)}, 3},
		{"both at once", []Segment{fin(server, 500, 100, 0), fin(client, 100, 500, 0), ack(server, 101), ack(client, 501)}, 4},
		{"data alone acknowledged", []Segment{fin(server, 500, 100, 17), fin(client, 100, 517, 0), ack(server, 101)}, 0},
		{"one way", []Segment{fin(client, 100, 500, 0), ack(server, 101)}, 0},
		{"reset", []Segment{ack(server, 100), {Flags: RST}}, 2},
		{"reset by us", []Segment{{Sent: true, Flags: RST | ACK}}, 1},
		{"numbers that wrap", []Segment{fin(server, 500, 0, 0), fin(client, 1<<32-1, 501, 0), ack(server, 1<<32-1), ack(server, 0)}, 4},
	} {
		var e ending
		got := 0
		for i, s := range c.segments {
			if e.after(s) && got == 0 {
				got = i + 1
			}
		}
		if got != c.end {
			t.Errorf("%s: ended with segment %d, want %d", c.name, got, c.end)
		}
	}
}
