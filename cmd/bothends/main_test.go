package main

import (
	"bytes"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/need"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "bothends" { // the tests, and not the command in them
		flag.Parse()
		flag.Set("test.parallel", "8") // they wait more than they work
	}
	testscript.Main(m, map[string]func(){"bothends": main})
}

// The scripts read like sessions in a terminal. Beside testscript's own commands:
//
//	serve [ARG...]     start: bothends server 127.0.0.1:0 ARG..., wait until it
//	                   listens, set $PORT; one at a time
//	signal NAME        send it SIGINT, SIGTERM or SIGUSR1
//	served CODE        wait for its end and check its exit status; what it printed
//	                   is in the files server.out and server.err
//	saw TEXT           wait until the server has printed TEXT
//	listens N          wait until it has printed Listening N times
//	exits CODE CMD...  run a command that ends with that exit status
//	freeport NAME      set $NAME to a port that nobody uses
//	peer TEXT          connect to the server and send TEXT, keep the connection open
//	gone               close what peer opened, and wait for the server's FIN
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Values["session"], env.Values["proxy"] = new(session), new(session)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector sleeps a second at exit
			return nil
		},
		Cmds: withProxy(map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve, "signal": sendSignal, "served": served, "saw": saw, "listens": listens, "exits": exits, "freeport": freePort,
			"peer": openPeer, "gone": closePeers,
		}),
	})
}

// A session is what a script has running.
type session struct {
	server   *exec.Cmd
	out, err *output
	peers    []net.Conn
}

func of(ts *testscript.TestScript) *session { return ts.Value("session").(*session) }

// An output collects what is printed, and tells when a text has come.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) text() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.changed
}

// await waits until either output matches.
func (s *session) await(ts *testscript.TestScript, pattern string) []string {
	re := regexp.MustCompile(pattern)
	giveUp := time.After(20 * time.Second)
	for {
		out, outChanged := s.out.text()
		errs, errChanged := s.err.text()
		for _, text := range []string{out, errs} {
			if match := re.FindStringSubmatch(text); match != nil {
				return match
			}
		}
		select {
		case <-outChanged:
		case <-errChanged:
		case <-giveUp:
			ts.Fatalf("%q did not come\nstdout:\n%s\nstderr:\n%s", pattern, out, errs)
		}
	}
}

func serve(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	self, err := os.Executable()
	ts.Check(err)
	newOutput := func() *output { return &output{changed: make(chan struct{})} }
	s.out, s.err = newOutput(), newOutput()
	s.server = &exec.Cmd{
		Path: self, Args: append([]string{"bothends", "server", "127.0.0.1:0"}, args...),
		Dir: ts.MkAbs("."), Stdout: s.out, Stderr: s.err,
	}
	ts.Check(s.server.Start())
	server := s.server
	ts.Defer(func() {
		if server.ProcessState == nil {
			server.Process.Kill()
			server.Wait()
		}
		for _, p := range s.peers {
			p.Close()
		}
	})
	ts.Setenv("PORT", s.await(ts, `istening at (?:\('127\.0\.0\.1', |127\.0\.0\.1:)(\d+)`)[1])
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM}
	for _, s := range signalFigures {
		signals["SIGUSR1"] = s
	}
	ts.Check(of(ts).server.Process.Signal(signals[args[0]]))
}

func served(ts *testscript.TestScript, neg bool, args []string) {
	ended(ts, of(ts), "server", args[0])
}

// ended waits for the end of a session's program, and checks its exit status.
func ended(ts *testscript.TestScript, s *session, name, want string) {
	var exit *exec.ExitError
	if err := s.server.Wait(); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	out, _ := s.out.text()
	errs, _ := s.err.text()
	ts.Check(os.WriteFile(ts.MkAbs(name+".out"), []byte(out), 0o666))
	ts.Check(os.WriteFile(ts.MkAbs(name+".err"), []byte(errs), 0o666))
	if code := s.server.ProcessState.ExitCode(); strconv.Itoa(code) != want {
		ts.Fatalf("exit status %d (%v), want %s\nstdout:\n%s\nstderr:\n%s", code, s.server.ProcessState, want, out, errs)
	}
}

func saw(ts *testscript.TestScript, neg bool, args []string) {
	of(ts).await(ts, regexp.QuoteMeta(args[0]))
}

func listens(ts *testscript.TestScript, neg bool, args []string) {
	of(ts).await(ts, `(?s)(Listening at.*){`+args[0]+`}`)
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%v: exit status %d, want %s", args[1:], code, args[0])
	}
}

func freePort(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv(args[0], unusedPort())
}

func openPeer(ts *testscript.TestScript, neg bool, args []string) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+ts.Getenv("PORT"))
	ts.Check(err)
	_, err = conn.Write([]byte(args[0]))
	ts.Check(err)
	of(ts).peers = append(of(ts).peers, conn)
	ts.Setenv("PEER", strconv.Itoa(conn.LocalAddr().(*net.TCPAddr).Port))
}

func closePeers(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	for _, p := range s.peers {
		ts.Check(p.(*net.TCPConn).CloseWrite())
		var reply bytes.Buffer
		reply.ReadFrom(p)
		p.Close()
	}
	s.peers = nil
}

// Every error is one line, no stack trace, on standard error, with its hint and
// usage; and the exit status says which kind it is.
func TestErrorLines(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	const clientUsage, serverUsage = "usage: bothends client [HOST] [flags]\n", "usage: bothends server [HOST] [flags]\n"
	const rootUsage = "usage: bothends server|client [host]\n       bothends check|completion|explain|help|load|man|proxy|report|version\n"
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "bothends: no command given\n" + rootUsage},
		{"sever", 2, "bothends: unknown command \"sever\"\nhint: did you mean: bothends server\n" + rootUsage},
		{"--port 1", 2, "bothends: unknown flag --port\n" + rootUsage},
		{"client --no-such-flag", 2, "bothends: unknown flag --no-such-flag\n" + clientUsage},
		{"client a b", 2, "bothends: expected one HOST, got 2\n" + clientUsage},
		{"client -p 99999", 2, "bothends: --port \"99999\": must be a number from 0 to 65535\n" + clientUsage},
		{"client -p 0", 2, "bothends: cannot connect to port 0\n" + clientUsage},
		{"client 127.0.0.1:http", 2, "bothends: HOST \"127.0.0.1:http\": port \"http\": must be a number from 0 to 65535\n" + clientUsage},
		{"client [::1", 2, "bothends: HOST \"[::1\": must be a name, an IP address, HOST:PORT or [IPv6]:PORT\n" + clientUsage},
		{"client -4 -6", 2, "bothends: -4 and -6 exclude each other\n" + clientUsage},
		{"client -4 ::1", 2, "bothends: ::1 is not an IPv4 address, and -4 is given\n" + clientUsage},
		{"server -6 0.0.0.0", 2, "bothends: 0.0.0.0 is not an IPv6 address, and -6 is given\n" + serverUsage},
		{"help sever", 2, "bothends: unknown command or page \"sever\"\nhint: did you mean: bothends help server\n" + rootUsage},
		{"client --timeout -1s", 2, "bothends: --timeout \"-1s\": must be a duration such as 1.5s, 200ms or 0\n" + clientUsage},
		{"client --reply-size 0", 2, "bothends: --reply-size \"0\": must be a number of octets from 1 to 67108864\n" + clientUsage},
		{"client --message @/no/such/file", 2, "bothends: --message \"@/no/such/file\": open /no/such/file: no such file or directory\n" + clientUsage},
		{"client --message @/dev/zero", 2, "bothends: --message \"@/dev/zero\": must have at most 67108864 octets\n" + clientUsage},
		{`client --message a\q`, 2, "bothends: --message \"a\\\\q\": \"\\\\q\" is not an escape: use \\n \\r \\t \\\\ \\' \\\" \\0 \\xNN or \\uNNNN\n" + clientUsage},
		{"client --expect abc --reply-size 4", 2, "bothends: --expect has 3 octets, and --reply-size is 4\n" + clientUsage},
		{"client --source here", 2, "bothends: --source \"here\": \"here\" is not an IP address\n" + clientUsage},
		{"client -o xml", 2, "bothends: --output \"xml\": must be text or json\n" + clientUsage},
		{"client bad..name", 3, "bothends: resolve bad..name: no such host\nhint: check the name, or use an IP address\n"},
		{"client 127.0.0.1:" + port + " --source 192.0.2.1", 3, "bothends: bind to 192.0.2.1:0: cannot assign requested address\nhint: --source must be an address of this machine; ip address lists them\n"},
		{"client fe80::1", 3, "bothends: connect to [fe80::1]:1060: invalid argument\nhint: a link-local address needs the name of an interface, as in fe80::1%eth0; ip link lists them\n"},
		{"client 127.0.0.1 --source 127.0.0.1:" + port, 3, "bothends: bind to 127.0.0.1:" + port + ": address already in use\nhint: use another port for --source: this one is in use, or was used in the last minute\n"},
		{"client 127.0.0.1 --source ::1", 3, "bothends: connect to 127.0.0.1:1060: address [::1]:0: no suitable address found\nhint: --source must have the same family, IPv4 or IPv6, as the server's address\n"},
		{"server ::1:1060", 3, "bothends: listen at [::1:1060]:1060: cannot assign requested address\nhint: ::1:1060 is an IPv6 address; if 1060 is the port, use [::1]:1060\n"},
		{"server --message-size 0", 2, "bothends: --message-size \"0\": must be a number of octets from 1 to 67108864\n" + serverUsage},
		{"server --message-size 1073741824", 2, "bothends: --message-size \"1073741824\": must be a number of octets from 1 to 67108864\n" + serverUsage},
		{"server --max-conns -1", 2, "bothends: --max-conns \"-1\": must be a whole number, 0 means no limit\n" + serverUsage},
		{"server 127.0.0.1:" + port, 3, "bothends: listen at 127.0.0.1:" + port + ": address already in use\nhint: use another port, or stop the program that uses this one (ss -ltnp 'sport = :" + port + "' shows it)\n"},
		{"server 192.0.2.1", 3, "bothends: listen at 192.0.2.1:1060: cannot assign requested address\nhint: use an address of this machine, or no HOST to listen on all interfaces\n"},
		{"server 127.0.0.1]", 2, "bothends: HOST \"127.0.0.1]\": must be a name, an IP address, HOST:PORT or [IPv6]:PORT\n" + serverUsage},
		{"server bad..name", 3, "bothends: listen at bad..name:1060: no such host\nhint: check the name, or use an address of this machine\n"},
		{"explain nothing", 2, "bothends: unknown lesson \"nothing\"\nhint: list the lessons with: bothends explain --list\nusage: bothends explain [LESSON] [flags]\n"},
		{"explain --list send", 2, "bothends: --list takes no LESSON\nusage: bothends explain [LESSON] [flags]\n"},
		{"client --pcap=", 2, "bothends: --pcap needs a value: FILE\n" + clientUsage},
		{"load --save=", 2, "bothends: --save needs a value: FILE\nusage: bothends load [HOST] [flags]\n"},
		{"version now", 2, "bothends: bothends version takes no arguments, got \"now\"\nusage: bothends version [flags]\n"},
		{"man nothing", 2, "bothends: unknown command \"nothing\"\n" + rootUsage},
	} {
		var out, errs bytes.Buffer
		code := run(strings.Fields(c.args), &out, &errs)
		if code != c.code || errs.String() != c.want || out.Len() > 0 {
			t.Errorf("bothends %s: exit %d, want %d\nstdout: %s\nstderr: %swant:   %s", c.args, code, c.code, &out, &errs, c.want)
		}
	}
}

// What cannot be printed is no matter of usage.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		need.Skip(t, "/dev/full")
	}
	defer full.Close()
	for _, args := range []string{"version", "man", "completion bash", "explain --list", "explain -p 0"} {
		var errs bytes.Buffer
		if code := run(strings.Fields(args), full, &errs); code != 1 || errs.String() != "bothends: standard output: no space left on device\n" {
			t.Errorf("%s: exit %d: %s", args, code, &errs)
		}
	}
}

func TestVersionLine(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got := versionLine(info); !strings.HasPrefix(got, "bothends v1.2.3, commit abc, modified, go1.") {
		t.Error(got)
	}
	if got := versionLine(nil); !strings.HasPrefix(got, "bothends (devel), commit unknown, go1.") {
		t.Error(got)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("BOTHENDS_PORT", "nine")
	var out, errs bytes.Buffer
	if code := run([]string{"client"}, &out, &errs); code != 2 || !strings.HasPrefix(errs.String(), "bothends: BOTHENDS_PORT in the environment: --port \"nine\": must be a number") {
		t.Errorf("exit %d: %s", code, &errs)
	}
	errs.Reset()
	t.Setenv("BOTHENDS_SOURCE", "here")
	if code := run([]string{"client", "-p", "1060"}, &out, &errs); code != 2 || !strings.Contains(errs.String(), `--source "here"`) {
		t.Errorf("a flag beats its variable, and other variables count: exit %d: %s", code, &errs)
	}
	errs.Reset()
	t.Setenv("BOTHENDS_PORT", "")
	t.Setenv("BOTHENDS_SOURCE", "")
	t.Setenv("BOTHENDS_IPV4", "true")
	t.Setenv("BOTHENDS_REPLY_SIZE", "16")
	if code := run([]string{"client", "-6", "bad..name", "--expect", "12345"}, &out, &errs); code != 3 {
		t.Errorf("-6 beats BOTHENDS_IPV4, --expect beats BOTHENDS_REPLY_SIZE: exit %d: %s", code, &errs)
	}
	errs.Reset()
	t.Setenv("BOTHENDS_QUIET", "perhaps")
	if code := run([]string{"client"}, &out, &errs); code != 2 || !strings.Contains(errs.String(), `--quiet "perhaps": must be true or false`) {
		t.Errorf("exit %d: %s", code, &errs)
	}
}

// serveHere is a server on a free port, for as long as the test runs.
func serveHere(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := new(bothends.Server)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return ln.Addr().String()
}
