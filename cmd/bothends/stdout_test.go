package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
	for _, m := range regexp.MustCompile(`bothends: standard output was not read: (\d+) lines were not printed\n`).FindAllStringSubmatch(text, -1) {
		k, _ := strconv.Atoi(m[1])
		lost += k
	}
	if got := <-printed; lost == 0 || got+lost != 5*n {
		t.Errorf("%d lines printed and %d reported lost, of %d\n%s", got, lost, 5*n, text)
	}
	if !strings.Contains(text, "1500 connections, 1500 exchanges: 1500 ok") {
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
	if !strings.HasPrefix(text, "bothends: standard output: broken pipe; going on without it\n") ||
		!strings.HasSuffix(text, "bothends: 3 connections, 3 exchanges: 3 ok\nbothends: standard output was not read: 15 lines were not printed\n") {
		t.Errorf("standard error:\n%s", text)
	}
}
