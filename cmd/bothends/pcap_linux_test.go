package main

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
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/internal/capture"
	"github.com/bothends/bothends/internal/need"
)

func mayCapture(t *testing.T) {
	t.Helper()
	var out, errs bytes.Buffer
	run([]string{"explain", "eof", "-p", "0", "--pcap", filepath.Join(t.TempDir(), "try")}, &out, &errs)
	if strings.Contains(errs.String(), "CAP_NET_RAW") {
		need.Skip(t, "CAP_NET_RAW")
	}
}

// rungs are the segments in a ladder: the way, and what stands on the arrow.
func rungs(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^ *[0-9.]+ ms │(◀?)─+ (.*?) ─+▶?│$`).FindAllStringSubmatch(text, -1) {
		way := "to server: "
		if m[1] != "" {
			way = "to client: "
		}
		all = append(all, way+m[2])
	}
	return all
}

// dissected are the segments of a file, as tshark sees them, in the ladder's words.
func dissected(t *testing.T, file, serverPort string) (all []string) {
	t.Helper()
	out, err := exec.Command(need.Program(t, "tshark", "tshark"), "-r", file, "-T", "fields", "-E", "separator=/t",
		"-e", "tcp.dstport", "-e", "tcp.flags.fin", "-e", "tcp.flags.syn", "-e", "tcp.flags.reset", "-e", "tcp.flags.push",
		"-e", "tcp.flags.ack", "-e", "tcp.seq", "-e", "tcp.ack", "-e", "tcp.len").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		label := "to client: "
		if f[0] == serverPort {
			label = "to server: "
		}
		var flags []string
		for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK"} {
			if f[1+i] == "1" || f[1+i] == "True" {
				flags = append(flags, name)
			}
		}
		label += fmt.Sprintf("%s seq %s", strings.Join(flags, ", "), f[6])
		if strings.HasSuffix(label[:strings.Index(label, " seq")], "ACK") {
			label += " ack " + f[7]
		}
		if f[8] != "0" {
			label += ", " + f[8] + " octets"
		}
		all = append(all, label)
	}
	return all
}

// tshark reads the file, and sees the segments of the ladder: the same, in the same
// order.
func TestPcap(t *testing.T) {
	t.Parallel()
	mayCapture(t)
	addr := serveHere(t)
	_, port, _ := net.SplitHostPort(addr)
	for _, c := range []struct {
		args string
		code int
		like []string // the first of them
	}{
		{"client " + addr + " --trace", 0, []string{"to server: SYN seq 0", "to client: SYN, ACK seq 0 ack 1", "to server: ACK seq 1 ack 1", "to server: PSH, ACK seq 1 ack 1, 16 octets"}},
		{"client " + addr + " --trace --source 127.0.0.2 --message 0123456789abcdefg", 0, []string{"to server: SYN seq 0"}},
	} {
		file := filepath.Join(t.TempDir(), "exchange.pcapng")
		var out, errs bytes.Buffer
		if code := run(append(strings.Fields(c.args), "--pcap", file), &out, &errs); code != c.code {
			t.Errorf("%s: exit %d\n%s", c.args, code, &errs)
		}
		if !regexp.MustCompile(`connect: returned after [0-9.]+ ms \([0-9.]+ ms of it to set up\s+the\s+capture\);\s+the\s+kernel`).MatchString(errs.String()) {
			t.Errorf("%s: whose the time of connect is, is not told:\n%s", c.args, &errs)
		}
		drawn := rungs(errs.String())
		if len(drawn) < len(c.like) || !cmp.Equal(drawn[:len(c.like)], c.like) {
			t.Errorf("%s:\n%s\nit begins otherwise than with\n%s", c.args, &errs, strings.Join(c.like, "\n"))
		}
		if diff := cmp.Diff(dissected(t, file, port), drawn); diff != "" {
			t.Errorf("%s: tshark sees (-) what the ladder does not show (+)\n%s", c.args, diff)
		}
	}
}

// Of an attempt at another address there is the SYN.
func TestLadderOfTwoAddresses(t *testing.T) {
	addr := netip.MustParseAddrPort
	l := segmentLadder([]capture.Segment{
		{Src: addr("[::1]:50001"), Dst: addr("[::1]:1060"), Flags: capture.SYN},
		{Src: addr("[::1]:1060"), Dst: addr("[::1]:50001"), Flags: capture.RST | capture.ACK},
		{Src: addr("127.0.0.1:50002"), Dst: addr("127.0.0.1:1060"), Flags: capture.SYN, Seq: 7},
		{Src: addr("127.0.0.1:1060"), Dst: addr("127.0.0.1:50002"), Flags: capture.SYN | capture.ACK, Seq: 70, Ack: 8},
	}, true)
	var got []string
	for _, r := range l.Rungs {
		got = append(got, r.Label)
	}
	if diff := cmp.Diff([]string{"SYN to [::1]:1060", "SYN seq 0", "SYN, ACK seq 0 ack 1"}, got); diff != "" {
		t.Error(diff)
	}
}

// A refused connection has a SYN and an RST, and a ladder of them.
func TestPcapOfRefused(t *testing.T) {
	t.Parallel()
	mayCapture(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	file := filepath.Join(t.TempDir(), "refused.pcapng")
	var out, errs bytes.Buffer
	code := run([]string{"client", ln.Addr().String(), "--trace", "--pcap", file}, &out, &errs)
	want := []string{"to server: SYN seq 0", "to client: RST, ACK seq 0 ack 1"}
	if drawn := rungs(errs.String()); code != 3 || !cmp.Equal(drawn, want) {
		t.Errorf("exit %d, %q\n%s", code, drawn, &errs)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	// tshark counts the RST from 1, since there was no SYN before it.
	if seen := dissected(t, file, port); len(seen) != 2 || seen[0] != want[0] || !strings.HasPrefix(seen[1], "to client: RST, ACK") {
		t.Errorf("tshark sees %q", seen)
	}
}

// The lesson's ladder is drawn from its segments, and all lessons go into one file.
func TestPcapOfLessons(t *testing.T) {
	t.Parallel()
	mayCapture(t)
	file := filepath.Join(t.TempDir(), "lessons.pcapng")
	var out, errs bytes.Buffer
	if code := run([]string{"explain", "-p", "0", "--pcap", file}, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit %d\n%s", code, &errs)
	}
	port := regexp.MustCompile(`Listening at \('127.0.0.1', (\d+)\)`).FindStringSubmatch(out.String())[1]
	if diff := cmp.Diff(dissected(t, file, port), rungs(out.String())); diff != "" {
		t.Error(diff)
	}
	one := len(dissected(t, file, port))
	out.Reset()
	if code := run([]string{"explain", "all", "-p", "0", "--pcap", file}, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit %d\n%s", code, &errs)
	}
	if all := len(dissected(t, file, port)); all < 10*one {
		t.Errorf("%d segments in the first lesson, and %d in all", one, all)
	}
}

// Without the right nothing is done: one line says what is missing, and the exit status
// is not that of an exchange.
func TestPcapWithoutTheRight(t *testing.T) {
	t.Parallel()
	setpriv := need.Program(t, "setpriv", "util-linux")
	file := filepath.Join(t.TempDir(), "none.pcapng")
	args := []string{"bothends", "client", serveHere(t), "--pcap", file}
	if os.Getuid() == 0 {
		args = append([]string{setpriv, "--bounding-set=-net_raw", "--inh-caps=-net_raw"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 1 || out.Len() > 0 ||
		!regexp.MustCompile(`^bothends: --pcap: capturing packets needs CAP_NET_RAW: [^\n]*\n$`).MatchString(errs.String()) {
		t.Errorf("exit %d\nstdout:\n%s\nstderr:\n%s", code, &out, &errs)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("there is a file, with nothing in it")
	}
}

func TestPcapFile(t *testing.T) {
	t.Parallel()
	mayCapture(t)
	var out, errs bytes.Buffer
	code := run([]string{"client", serveHere(t), "--pcap", "/no/such/folder/x"}, &out, &errs)
	if code != 1 || errs.String() != "bothends: --pcap: open /no/such/folder/x: no such file or directory\n" || out.Len() > 0 {
		t.Errorf("exit %d: %s%s", code, &errs, &out)
	}
}

// A FIFO is written like any other program's: where its reader has gone the writing
// fails, and where he does not read a signal ends it.
func TestPcapToFIFO(t *testing.T) {
	mayCapture(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() (*os.File, *pcap) {
		reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newPcap(fifo, headersAlone)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.file.discard() })
		return reader, p
	}

	reader, p := open()
	reader.Close()
	if err := p.save(t.Context(), io.Discard); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("without a reader: %v", err)
	}

	reader, p = open()
	defer reader.Close()
	p.file.direct.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	p.file.direct.Write(make([]byte, 1<<20)) // more than it holds
	p.file.direct.SetWriteDeadline(time.Time{})
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(stoppedBy{syscall.SIGTERM}) })
	if err := p.save(ctx, io.Discard); !errors.Is(err, errNotRead) {
		t.Errorf("stopped while the FIFO is not read: %v", err)
	}
}

// Packets and text do not go into one file.
func TestPcapIsNotTheOutput(t *testing.T) {
	mayCapture(t)
	addr := serveHere(t)
	for _, c := range []struct {
		args, out string
		code      int
	}{
		{"explain eof", filepath.Join(t.TempDir(), "lesson"), 2},
		{"client " + addr, filepath.Join(t.TempDir(), "text"), 2},
		{"client -q " + addr, filepath.Join(t.TempDir(), "packets"), 0},
		{"explain eof", "/dev/null", 0},
	} {
		out, err := os.Create(c.out)
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		code := run(append(strings.Fields(c.args), "--pcap", c.out), out, &errs)
		if code != c.code || strings.HasPrefix(errs.String(), "bothends: --pcap and the text would go to the same file\n") != (code == 2) {
			t.Errorf("%s: exit %d\n%s", c.args, code, &errs)
		}
		out.Close()
	}
}
