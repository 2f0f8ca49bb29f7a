package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bothends/bothends"
)

// pipedServer runs a server whose standard output is a pipe that nobody reads yet,
// and returns both ends' means: the pipe, what comes on standard error, the address.
func pipedServer(t *testing.T, args ...string) (server *exec.Cmd, out *os.File, errs *output, addr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	errs = &output{changed: make(chan struct{})}
	server = &exec.Cmd{Path: self, Args: append([]string{"bothends", "server", "127.0.0.1:0"}, args...), Stdout: write, Stderr: errs}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() {
		out.Close()
		if server.ProcessState == nil {
			server.Process.Kill()
			server.Wait()
		}
	})
	first := make([]byte, 0, 64)
	for !bytes.HasSuffix(first, []byte("\n")) {
		var octet [1]byte
		if _, err := out.Read(octet[:]); err != nil {
			t.Fatal(err)
		}
		first = append(first, octet[0])
	}
	port := regexp.MustCompile(`, (\d+)\)`).FindSubmatch(first)
	return server, out, errs, "127.0.0.1:" + string(port[1])
}

func exchanges(t *testing.T, addr string, n int) {
	t.Helper()
	request := bytes.Repeat([]byte("x"), 1000)
	for range n {
		if _, err := new(bothends.Client).Exchange(context.Background(), addr, request); err != nil {
			t.Fatal(err)
		}
	}
}

// A reader of standard output that stops reading stops nobody; what was not
// printed is counted, and the count is right.
func TestStdoutThatNobodyReads(t *testing.T) {
	const n = 1500 // far more than a pipe and the queue hold
	server, out, errs, addr := pipedServer(t, "--message-size", "1000")
	exchanges(t, addr, n)
	printed := make(chan int)
	go func() {
		text, _ := io.ReadAll(out)
		printed <- bytes.Count(text, []byte{'\n'})
	}()
	server.Process.Signal(syscall.SIGTERM)
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
	text, _ := errs.text()
	lost := 0
	for _, m := range regexp.MustCompile(`bothends: standard output: (\d+) lines were not printed\n`).FindAllStringSubmatch(text, -1) {
		k, _ := strconv.Atoi(m[1])
		lost += k
	}
	// "Listening" is left out for those few whose last close comes after the signal.
	if got := <-printed; lost == 0 || got+lost > 5*n || got+lost < 5*n-5 {
		t.Errorf("%d lines printed and %d reported lost, of %d\n%s", got, lost, 5*n, text)
	}
	if !strings.Contains(text, "bothends: 1500 connections: 1500 ok\nbothends: 1500 exchanges: 1500 ok\n") {
		t.Errorf("summary: %s", text)
	}
}

// A reader that goes away altogether stops nobody either.
func TestStdoutThatIsClosed(t *testing.T) {
	server, out, errs, addr := pipedServer(t, "--message-size", "1000")
	out.Close()
	exchanges(t, addr, 3)
	server.Process.Signal(syscall.SIGTERM)
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
	text, _ := errs.text()
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines) // whether the pipe is found broken before the end or at it is the scheduler's
	if !regexp.MustCompile(`^bothends: 3 connections: 3 ok
bothends: 3 exchanges: 3 ok
bothends: standard output: 1[2345] lines were not printed
bothends: standard output: broken pipe; lines are lost
$`).MatchString(strings.Join(lines, "")) {
		t.Errorf("standard error:\n%s", text)
	}
}

// Not even at the end does anybody read: the report comes all the same.
func TestStdoutThatIsNeverRead(t *testing.T) {
	server, _, errs, addr := pipedServer(t, "--message-size", "1000")
	exchanges(t, addr, 1500)
	server.Process.Signal(syscall.SIGTERM)
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
	text, _ := errs.text()
	if !regexp.MustCompile(`1500 ok\nbothends: standard output: \d+ lines were not printed\n$`).MatchString(text) {
		t.Errorf("standard error:\n%s", text)
	}
}

// Standard output and standard error in one file keep their order.
func TestOneFileForBoth(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "both"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	server := &exec.Cmd{Path: self, Args: []string{"bothends", "server", addr}, Stdout: file, Stderr: file}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	defer server.Process.Kill()
	for { // until it listens
		_, err := new(bothends.Client).Exchange(t.Context(), addr, []byte(bothends.DefaultRequest))
		if err == nil {
			break
		}
		if bothends.Classify(err) != bothends.Refused {
			t.Fatal(err)
		}
	}
	for range 100 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte("Hi"))
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	server.Process.Signal(syscall.SIGTERM)
	server.Wait()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	inOrder := regexp.MustCompile(`Socket connects .* and \('127.0.0.1', (\d+)\)\nbothends: receive from 127.0.0.1:(\d+): socket closed 2 bytes`)
	n := 0
	for _, m := range inOrder.FindAllSubmatch(text, -1) {
		if bytes.Equal(m[1], m[2]) {
			n++
		}
	}
	if n != 100 {
		t.Errorf("%d of 100 errors stand below their connection:\n%s", n, text)
	}
}

// The client's one result is not dropped, however large and however slowly it is
// read.
func TestClientWhoseOutputIsReadSlowly(t *testing.T) {
	const size = 3 << 20
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &bothends.Server{Reply: func(context.Context, *bothends.Request) ([]byte, error) { return bytes.Repeat([]byte("a"), size), nil }}
	closed := make(chan struct{})
	s.TraceConn = func(net.Conn) *bothends.Trace {
		return &bothends.Trace{Done: func(error) { close(closed) }}
	}
	go s.Serve(ln)
	defer s.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	fill := make([]byte, 64<<10) // the pipe is full before the client's first line
	if _, err := write.Write(fill); err != nil {
		t.Fatal(err)
	}
	client := &exec.Cmd{Path: self, Args: []string{"bothends", "client", ln.Addr().String(), "--reply-size", strconv.Itoa(size)}, Stdout: write}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	<-closed // the exchange has ended, and nobody has read a line
	text, err := io.ReadAll(out)
	if err != nil || !bytes.HasSuffix(text, []byte("aaa'\n")) || len(text) < len(fill)+size {
		t.Errorf("%d octets printed, %v", len(text), err)
	}
	if err := client.Wait(); err != nil {
		t.Error(err)
	}
}

// A signal ends the client at once, and the exit status says which.
func TestClientStoppedBySignals(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		var errs bytes.Buffer
		client := &exec.Cmd{Path: self, Args: []string{"bothends", "client", ln.Addr().String()}, Stderr: &errs}
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := bothends.ReadMessage(conn, make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		client.Process.Signal(sig)
		client.Wait()
		conn.Close()
		want := "bothends: receive from " + ln.Addr().String() + ": stopped by " + sig.String() + " 0 bytes into a 16-byte message\n"
		if got := client.ProcessState.ExitCode(); got != code || errs.String() != want {
			t.Errorf("%v: exit %d, want %d\n%swant: %s", sig, got, code, &errs, want)
		}
	}
}

// A second signal ends a server that still drains.
func TestServerStoppedTwice(t *testing.T) {
	server, _, errs, addr := pipedServer(t, "--drain", "1h", "--timeout", "0")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("Hi"))
	if _, err := new(bothends.Client).Exchange(t.Context(), addr, []byte(bothends.DefaultRequest)); err != nil {
		t.Fatal(err) // accepted after it
	}
	server.Process.Signal(syscall.SIGTERM)
	for { // until it has stopped listening
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		c.Close()
	}
	for _, sig := range signalFigures {
		server.Process.Signal(sig)
		for text, changed := errs.text(); !strings.Contains(text, " open\n"); text, changed = errs.text() {
			<-changed
		}
	}
	server.Process.Signal(syscall.SIGINT)
	server.Wait()
	if code := server.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d", code)
	}
}

// A server whose standard error is full, and read by nobody, can be stopped all the
// same: by a signal, by the end of --drain, and by a second signal.
func TestServerStoppedWithStderrFull(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, stop := range []struct {
		signals []syscall.Signal
		code    int
	}{{[]syscall.Signal{syscall.SIGINT}, 0}, {[]syscall.Signal{syscall.SIGTERM}, 1}, {[]syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, 130}} {
		errs, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		drain := "0.1s"
		if len(stop.signals) > 1 {
			drain = "1h"
		}
		server := &exec.Cmd{Path: self, Args: []string{"bothends", "server", "127.0.0.1:0", "-o", "json", "--trace", "--drain", drain, "--timeout", "0"}, Stdout: write, Stderr: write}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		write.Close()
		first := make([]byte, 256)
		n, err := errs.Read(first)
		if err != nil {
			t.Fatal(err)
		}
		port := regexp.MustCompile(`"port":(\d+)}`).FindSubmatch(first[:n])
		if port == nil {
			t.Fatalf("%s", first[:n])
		}
		addr := "127.0.0.1:" + string(port[1])
		for range 120 { // a pipe holds 64 KiB
			if _, err := new(bothends.Client).Exchange(t.Context(), addr, []byte(bothends.DefaultRequest)); err != nil {
				t.Fatal(err)
			}
		}
		silent, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := new(bothends.Client).Exchange(t.Context(), addr, []byte(bothends.DefaultRequest)); err != nil {
			t.Fatal(err) // accepted after it
		}
		for _, sig := range stop.signals {
			server.Process.Signal(sig)
			for sig == syscall.SIGTERM { // until it has stopped listening
				c, err := net.Dial("tcp", addr)
				if err != nil {
					break
				}
				c.Close()
			}
		}
		killer := time.AfterFunc(20*time.Second, func() { server.Process.Kill() })
		server.Wait()
		if got := server.ProcessState.ExitCode(); got != stop.code {
			t.Errorf("%v: exit %d, want %d", stop.signals, got, stop.code)
		}
		killer.Stop()
		silent.Close()
		errs.Close()
	}
}

// failsOnce is a disk that was full for a moment.
type failsOnce struct{ writes int }

func (f *failsOnce) Write(p []byte) (int, error) {
	if f.writes++; f.writes == 1 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

// A line that was lost is an error, though the next one came through.
func TestClientThatLostALine(t *testing.T) {
	_, _, _, addr := pipedServer(t)
	var errs bytes.Buffer
	if code := run([]string{"client", addr}, new(failsOnce), &errs); code != 1 || errs.String() != "bothends: standard output: no space left on device\n" {
		t.Errorf("exit %d: %s", code, &errs)
	}
}
