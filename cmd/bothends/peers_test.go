package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/need"
)

// Real peers: other people's programs, and two of our own in Python that know
// nothing of Go. Each side of each pair prints what it has to, byte for byte.

const transcriptOf = `Listening at ('127.0.0.1', %[1]s)
We have accepted a connection from ('127.0.0.1', %[2]s)
Socket connects ('127.0.0.1', %[1]s) and ('127.0.0.1', %[2]s)
The incoming sixteen-octet message says 'Hi there, server'
Reply sent, socket closed
`

func peerScript(name string) string { return filepath.Join("..", "..", "testdata", name) }

func clientLines(port string) string {
	return fmt.Sprintf("Client has been assigned socket name ('127.0.0.1', %s)\nThe server said 'Farewell, client'\n", port)
}

func assigned(t *testing.T, clientOut string) (port string) {
	t.Helper()
	match := regexp.MustCompile(`assigned socket name \('127.0.0.1', (\d+)\)`).FindStringSubmatch(clientOut)
	if match == nil {
		t.Fatalf("the client printed:\n%s", clientOut)
	}
	return match[1]
}

func TestPythonServer(t *testing.T) {
	t.Parallel()
	python := need.Program(t, "python3", "python3")
	server := exec.Command(python, peerScript("peer_server.py"), "3")
	pipe, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(pipe)
	listening, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	port := regexp.MustCompile(`, (\d+)\)`).FindStringSubmatch(listening)[1]
	var want strings.Builder
	for range 3 {
		var out, errs bytes.Buffer
		if code := run([]string{"client", "127.0.0.1:" + port}, &out, &errs); code != 0 {
			t.Fatalf("exit %d: %s", code, &errs)
		}
		mine := assigned(t, out.String())
		if diff := cmp.Diff(clientLines(mine), out.String()); diff != "" {
			t.Error(diff)
		}
		fmt.Fprintf(&want, transcriptOf, port, mine)
	}
	var rest bytes.Buffer
	rest.ReadFrom(lines)
	if err := server.Wait(); err != nil {
		t.Errorf("the Python server: %v", err)
	}
	if diff := cmp.Diff(want.String(), listening+rest.String()); diff != "" {
		t.Errorf("the Python server's transcript is not ours:\n%s", diff)
	}
}

func TestPythonClient(t *testing.T) {
	t.Parallel()
	python := need.Program(t, "python3", "python3")
	server, out, _, addr := pipedServer(t)
	_, port, _ := net.SplitHostPort(addr)
	lines := bufio.NewReader(out)
	want := "" // the first line has been read
	for _, piece := range []string{"16", "7", "1"} {
		printed, err := exec.Command(python, peerScript("peer_client.py"), port, piece).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		mine := assigned(t, string(printed))
		if diff := cmp.Diff(clientLines(mine), string(printed)); diff != "" {
			t.Error(diff)
		}
		want += strings.SplitAfterN(fmt.Sprintf(transcriptOf, port, mine), "\n", 2)[1] +
			fmt.Sprintf("Listening at ('127.0.0.1', %s)\n", port)
	}
	var got bytes.Buffer
	for range strings.Count(want, "\n") {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(line)
	}
	server.Process.Signal(os.Interrupt)
	got.ReadFrom(lines)
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

// The netcats as clients: they send what they are given, close their half, and
// print what comes.
func TestNetcatClients(t *testing.T) {
	t.Parallel()
	_, _, _, addr := pipedServer(t)
	host, port, _ := net.SplitHostPort(addr)
	for _, c := range []struct{ program, debian, args string }{
		{"nc.openbsd", "netcat-openbsd", "-N " + host + " " + port},
		{"ncat", "ncat", host + " " + port},
		{"socat", "socat", "- TCP:" + addr},
	} {
		t.Run(c.program, func(t *testing.T) {
			program := need.Program(t, c.program, c.debian)
			for _, message := range []string{"Hi there, server", "Hi there, server and more than that\n"} {
				cmd := exec.Command(program, strings.Fields(c.args)...)
				cmd.Stdin = strings.NewReader(message)
				reply, err := cmd.Output()
				if string(reply) != "Farewell, client" || err != nil {
					t.Errorf("%q: %q, %v", message, reply, err)
				}
			}
		})
	}
}

// The netcats as servers: they print the request and send the reply, in two
// pieces where they can.
func TestNetcatServers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ program, debian, args string }{
		{"nc.openbsd", "netcat-openbsd", "-l -N 127.0.0.1 PORT"},
		{"ncat", "ncat", "-l 127.0.0.1 PORT"},
		{"socat", "socat", "TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr -"},
	} {
		t.Run(c.program, func(t *testing.T) {
			program := need.Program(t, c.program, c.debian)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(ln.Addr().String())
			ln.Close()
			server := exec.Command(program, strings.Fields(strings.ReplaceAll(c.args, "PORT", port))...)
			reply, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer reply.Close()
			var request bytes.Buffer
			server.Stdin, server.Stdout = reply, &request
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			defer server.Wait()
			defer server.Process.Kill()
			write.WriteString("Farewell, client")
			write.Close()

			code, out, errs := exitNetwork, "", ""
			for code == exitNetwork && server.ProcessState == nil { // until it listens
				var o, e bytes.Buffer
				code = run([]string{"client", "127.0.0.1:" + port}, &o, &e)
				out, errs = o.String(), e.String()
			}
			if code != 0 || !strings.HasSuffix(out, "The server said 'Farewell, client'\n") {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
			server.Wait()
			if request.String() != "Hi there, server" {
				t.Errorf("it got %q", &request)
			}
		})
	}
}

// The chapter's own session, on its port and with its client's port, in a network
// of its own: nothing else can have taken them.
func TestChapterOnItsOwnPorts(t *testing.T) {
	t.Parallel()
	unshare := need.Program(t, "unshare", "util-linux")
	need.Program(t, "ip", "iproute2")
	if err := exec.Command(unshare, "-rn", "ip", "link", "set", "lo", "up").Run(); err != nil {
		need.Skip(t, "the right to make a network namespace")
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "bothends")); err != nil { // testscript.Main goes by the name
		t.Fatal(err)
	}
	session := exec.Command(unshare, "-rn", "sh", "-euc", `
		ip link set lo up
		mkfifo server
		PATH=.:$PATH
		bothends server 127.0.0.1 >server &
		exec 3<server
		read -r listening <&3
		bothends client 127.0.0.1 --source :49607
		echo "--"
		echo "$listening"
		for i in 1 2 3 4 5; do read -r line <&3; echo "$line"; done
		kill -INT $!
		cat <&3
		wait $!`)
	session.Dir = dir
	var errs bytes.Buffer
	session.Stderr = &errs
	out, err := session.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	const want = `Client has been assigned socket name ('127.0.0.1', 49607)
The server said 'Farewell, client'
--
Listening at ('127.0.0.1', 1060)
We have accepted a connection from ('127.0.0.1', 49607)
Socket connects ('127.0.0.1', 1060) and ('127.0.0.1', 49607)
The incoming sixteen-octet message says 'Hi there, server'
Reply sent, socket closed
Listening at ('127.0.0.1', 1060)
`
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Error(diff)
	}
	if got := errs.String(); got != "bothends: 1 connection: 1 ok\nbothends: 1 exchange: 1 ok\n" {
		t.Errorf("standard error:\n%s", got)
	}
}

// What a test server's misbehaviour looks like through each client: the exit status,
// or that it hangs. Only ours tells all five apart, and says how far the reply had come.
func TestMisbehaviourThroughEachClient(t *testing.T) {
	t.Parallel()
	clients := [][2]string{{"ncat", "ncat"}, {"nc.openbsd", "netcat-openbsd"}, {"socat", "socat"}}
	for _, c := range []struct {
		fault  string
		others [3]string // as clients
		ours   string
		says   string
	}{
		{"", [3]string{"0", "0", "0"}, "0", ""},
		{"close:10", [3]string{"0", "0", "0"}, "5", "socket closed 10 bytes into a 16-byte message"},
		{"reset:10", [3]string{"1", "0", "0"}, "5", "connection reset by peer 10 bytes into a 16-byte message"},
		{"stall:10", [3]string{"hangs", "hangs", "0"}, "4", "timed out 10 bytes into a 16-byte message"},
		{"refuse", [3]string{"1", "1", "1"}, "3", "connection refused"},
	} {
		t.Run("fault "+c.fault, func(t *testing.T) {
			t.Parallel()
			f, err := fault.Parse(c.fault)
			if err != nil {
				t.Fatal(err)
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			faulty := fault.Listen(ln, f)
			s := new(bothends.Server)
			served := make(chan error, 1)
			go func() { served <- s.Serve(faulty) }()
			defer func() {
				s.Close()
				<-served
			}()
			addr := ln.Addr().String()
			host, port, _ := net.SplitHostPort(addr)
			for i, args := range []string{host + " " + port, "-N " + host + " " + port, "- TCP:" + addr} {
				program := need.Program(t, clients[i][0], clients[i][1])
				if got, _ := asClient(t, c.others[i] == "hangs", append([]string{program}, strings.Fields(args)...)...); got != c.others[i] {
					t.Errorf("%s: %s, want %s", clients[i][0], got, c.others[i])
				}
			}
			got, errs := asClient(t, false, "bothends", "client", addr, "--timeout", "500ms")
			if got != c.ours || !strings.Contains(errs, c.says) {
				t.Errorf("bothends: %s, want %s: %s", got, c.ours, errs)
			}
		})
	}
}

// asClient gives a program the request, and returns its exit status, or "hangs", which
// is seen sooner where it is expected.
func asClient(t *testing.T, hangs bool, args ...string) (status, errs string) {
	t.Helper()
	limit := 15 * time.Second
	if hangs {
		limit /= 10
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader("Hi there, server")
	var printed bytes.Buffer
	cmd.Stderr = &printed
	err := cmd.Run()
	if ctx.Err() != nil {
		return "hangs", ""
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strconv.Itoa(cmd.ProcessState.ExitCode()), printed.String()
}
