package explain_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/explain"
	"github.com/bothends/bothends/internal/need"
)

// The claims of each lesson are true on this system. If a demonstration stops working,
// the test fails.
func TestClaimsHold(t *testing.T) {
	t.Parallel()
	for _, l := range explain.Lessons() {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			for range 2 {
				steps, err := l.Run(t.Context(), explain.Setting{})
				if err != nil {
					t.Fatal(err)
				}
				last := time.Duration(0)
				for _, s := range steps {
					if s.Unlike != "" {
						t.Errorf("%q: %s; normally %s", s.Line, s.Why, s.Unlike)
					}
					if s.At < last {
						t.Errorf("%q is at %v, after %v", s.Line, s.At, last)
					}
					last = s.At
				}
				if l.Remember == "" || l.Title == "" || l.Function == "" || len(steps) < 3 {
					t.Errorf("%q, %q, %d steps", l.Title, l.Remember, len(steps))
				}
			}
		})
	}
}

func run(t *testing.T, name string) []explain.Step {
	t.Helper()
	steps, err := lesson(t, name).Run(t.Context(), explain.Setting{})
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

// numbersIn returns the numbers of a step's line.
func numbersIn(t *testing.T, s explain.Step, pattern string) []int {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(s.Line)
	if match == nil {
		t.Fatalf("%q does not match %s", s.Line, pattern)
	}
	var numbers []int
	for _, digits := range match[1:] {
		n, err := strconv.Atoi(digits)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// In a partial send, the octets taken and the octets left add up to the octets requested,
// and the receiver gets every octet.
func TestSend(t *testing.T) {
	steps := run(t, "send")
	numbersIn(t, steps[0], `^send\(16\): returned 16 after `)
	part := numbersIn(t, steps[1], `^send\((\d+)\): returned (\d+)$`)
	more := numbersIn(t, steps[2], `^send\((\d+)\), nonblocking: took (\d+), then no room \(EAGAIN\)$`)
	rest := numbersIn(t, steps[3], `^send\((\d+)\), blocking, in a loop: (\d+) in \d+\.\d+ ms$`)
	if part[1] == 0 || part[0]-part[1] != more[0] || more[0]-more[1] != rest[0] || rest[0] != rest[1] {
		t.Errorf("took %d of %d, then %d of %d, then %d of %d", part[1], part[0], more[1], more[0], rest[1], rest[0])
	}
	if got := numbersIn(t, steps[4], `^recv\(\) to the end: (\d+) octets in all$`); got[0] != 16+part[0] {
		t.Errorf("sent 16 + %d, and %d arrived", part[0], got[0])
	}
}

func TestRecv(t *testing.T) {
	var lines []string
	for _, s := range run(t, "recv") {
		lines = append(lines, regexp.MustCompile(`\d+\.\d+ ms`).ReplaceAllString(s.Line, "T"))
	}
	want := `recv(16), nonblocking: no octets available (EAGAIN)
recv(16), blocking: returned 7 after T
send(100): returned 100
recv(16): returned 16
recv(1000): returned 84`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestEOF(t *testing.T) {
	var lines []string
	for _, s := range run(t, "eof") {
		lines = append(lines, s.Line)
	}
	want := `close(), and no send()
closed: socket closed 0 bytes into a 16-byte message
send(7), then close()
short: socket closed 7 bytes into a 16-byte message
send(7), then close() with SO_LINGER 0, which sends RST
reset: connection reset by peer 7 bytes into a 16-byte message`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// A lesson that is stopped leaves no goroutine (goleak) and returns an error. The test
// stops it at each of its connections and, if it waits, during the wait.
func TestLessonsStop(t *testing.T) {
	t.Parallel()
	for _, l := range explain.Lessons() {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			last := 0
			for stopAt := 0; stopAt <= last+1; stopAt++ {
				ctx, cancel := context.WithCancel(t.Context())
				dials := 0
				var set explain.Setting
				set.Dialer.Control = func(string, string, syscall.RawConn) error {
					if dials++; dials == stopAt {
						cancel()
					}
					return nil
				}
				if stopAt == 0 {
					cancel()
				}
				_, err := l.Run(ctx, set)
				if last = max(last, dials); (err != nil) != (stopAt <= last) {
					t.Errorf("stopped at connection %d of %d: %v", stopAt, last, err)
				}
				cancel()
			}
			if last == 0 {
				t.Error("no connection was seen")
			}
		})
	}
	for _, name := range []string{"connect", "send", "recv", "sendall", "deadlock"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		start := time.Now()
		_, err := lesson(t, name).Run(ctx, explain.Setting{})
		if took := time.Since(start); err == nil || took > 5*time.Second {
			t.Errorf("%s, stopped while it waits: %v, after %v", name, err, took)
		}
		cancel()
	}
}

func TestConnect(t *testing.T) {
	var lines []string
	for _, s := range run(t, "connect") {
		line := regexp.MustCompile(`\d+\.\d+ ms`).ReplaceAllString(s.Line, "T")
		lines = append(lines, regexp.MustCompile(`('127.0.0.1'), \d+`).ReplaceAllString(line, "$1, P"))
	}
	want := `connect(('127.0.0.1', P)): refused after T
listen(), and no accept()
connect(): ok after T; send(16): returned 16
accept(): returned after T
connect() number 2: timeout after T
connect(('224.0.0.1', 1060)): unreachable after T
UDP connect(('127.0.0.1', P)): ok after T
UDP send(14) after the other socket is closed: returned 14, then recv(): refused`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestDeadlock(t *testing.T) {
	steps := run(t, "deadlock")
	for _, s := range steps[:2] {
		n := numbersIn(t, s, `^send\((\d+)\): (\d+) taken, and still waiting after `)
		if n[1] == 0 || n[1] >= n[0] {
			t.Errorf("%s: %d of %d taken", s.End, n[1], n[0])
		}
	}
	numbersIn(t, steps[3], `^send\((\d+)\) while another goroutine reads: done in `)
}

// Each step shows the right states of both ends.
func TestSockets(t *testing.T) {
	var got []string
	for _, s := range run(t, "sockets") {
		rows := regexp.MustCompile(`(server|client) .*?(?:accept: (\d) +)?([A-Z][A-Z_0-9]+)\n`).FindAllStringSubmatch(s.Block, -1)
		line := s.Line + ":"
		for _, r := range rows {
			line += " " + r[1][:1] + r[2] + " " + r[3]
		}
		got = append(got, line)
	}
	want := `bind(), listen(): s0 LISTEN
connect(), 3 times: s3 LISTEN s ESTABLISHED s ESTABLISHED s ESTABLISHED c ESTABLISHED c ESTABLISHED c ESTABLISHED
accept(), 3 times: 3 new sockets: s0 LISTEN s ESTABLISHED s ESTABLISHED s ESTABLISHED c ESTABLISHED c ESTABLISHED c ESTABLISHED
close() of the first client's socket: s0 LISTEN s FIN_WAIT2 s ESTABLISHED s ESTABLISHED c CLOSE_WAIT c ESTABLISHED c ESTABLISHED
close() of the first connection at the other end: s0 LISTEN s TIME_WAIT s ESTABLISHED s ESTABLISHED c ESTABLISHED c ESTABLISHED
close() of the second connection: s0 LISTEN s TIME_WAIT s CLOSE_WAIT s ESTABLISHED c FIN_WAIT2 c ESTABLISHED
close() of the second client's socket: s0 LISTEN s TIME_WAIT s ESTABLISHED c TIME_WAIT c ESTABLISHED
close() of the listening socket: s TIME_WAIT s ESTABLISHED c TIME_WAIT c ESTABLISHED
the third client says 'Hi there, server':
close() of the third, and then the client's: s TIME_WAIT s TIME_WAIT c TIME_WAIT`
	if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
		t.Error(diff)
	}
}

// The numbers of the loops over send and recv add up.
func TestSendall(t *testing.T) {
	steps := run(t, "sendall")
	left := 4 << 20
	for i, s := range steps[:3] {
		n := numbersIn(t, s, fmt.Sprintf(`^call %d: send\((\d+)\): took (\d+), (\d+) left$`, i+1))
		if n[0] != left || n[1]+n[2] != left || n[1] == 0 {
			t.Errorf("%q, with %d to send", s.Line, left)
		}
		left = n[2]
	}
	all := numbersIn(t, steps[3], `^(\d+) calls in [0-9.]+ ms: (\d+) octets taken$`)
	rounds := numbersIn(t, steps[4], `^another goroutine meanwhile: (\d+) rounds of SHA-256$`)
	got := numbersIn(t, steps[5], `^recv\(\) to the end: (\d+) octets$`)
	if all[0] < 4 || all[1] != 4<<20 || got[0] != 4<<20 || rounds[0] == 0 {
		t.Errorf("%d calls took %d, and %d arrived; %d rounds", all[0], all[1], got[0], rounds[0])
	}
	var lines []string
	for _, s := range steps[6:] {
		lines = append(lines, s.Line)
	}
	want := `call 1: recv(16): returned 7, 9 still to come
call 2: recv(9): returned 5, 4 still to come
call 3: recv(4): returned 4, 0 still to come
the message says 'Hi there, server'
ReadMessage(): 'Farewell, client'`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestClose(t *testing.T) {
	var lines []string
	for _, s := range run(t, "close") {
		lines = append(lines, regexp.MustCompile(`at \(.*\),`).ReplaceAllString(s.Line, "at A,"))
	}
	want := `close(), and then the other end
in TIME_WAIT: the server's end
close(), and then the other end
in TIME_WAIT: the client's end
send(16), shutdown(SHUT_WR)
recv() to the end: 'Hi there, server'
recv() to the end: 'Farewell, client'
recv(16), then close() with 1 unread
recv(16): reset
close() of a connection at A, then of the listener
bind() again, without SO_REUSEADDR: address already in use
bind() again, with SO_REUSEADDR: it worked`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// The lessons also work without IPv4. The test repeats the claims in a network
// namespace that has only ::1.
func TestClaimsHoldOnIPv6(t *testing.T) {
	t.Parallel()
	inNamespace(t, "ip address del 127.0.0.1/8 dev lo", "TestClaimsHold", "TestClaimsHold/deadlock")
}

// If the kernel is configured differently, a lesson shows what happened, and does
// not explain what did not happen.
func TestOtherKernels(t *testing.T) {
	t.Parallel()
	for what, sysctl := range map[string]string{
		"large buffers": "net.ipv4.tcp_rmem='4096 134217728 268435456'",
		"no TIME_WAIT":  "net.ipv4.tcp_max_tw_buckets=0",
		"a short queue": "net.core.somaxconn=1",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			inNamespace(t, "sysctl -qw "+sysctl, "TestOtherKernel", what)
		})
	}
}

// inNamespace runs a test again, in a network namespace after setup. The test what must
// pass there. In the namespace, where returns what.
func inNamespace(t *testing.T, setup, test, what string) {
	t.Helper()
	if where() != "" {
		t.Skip("this is the other one")
	}
	unshare := need.Program(t, "unshare", "util-linux")
	need.Program(t, "ip", "iproute2")
	need.Program(t, "sysctl", "procps")
	if err := exec.Command(unshare, "-rn", "ip", "link", "set", "lo", "up").Run(); err != nil {
		need.Skip(t, "the right to make a network namespace")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(unshare, "-rn", "sh", "-euc", "ip link set lo up; "+setup+`
		exec "$0" -test.v -test.run "^$1\$"`, self, test)
	cmd.Env = append(os.Environ(), "BOTHENDS_IN_NAMESPACE="+what)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+strings.ReplaceAll(what, " ", "_")) && !strings.Contains(string(out), "--- PASS: "+test) {
		t.Errorf("%v\n%s", err, out)
	}
}

func where() string { return os.Getenv("BOTHENDS_IN_NAMESPACE") }

// TestOtherKernel is the part of TestOtherKernels that runs in the namespace.
func TestOtherKernel(t *testing.T) {
	c, ok := map[string]struct {
		lessons string
		not     string // text that the lessons must not contain
		fails   bool
	}{
		"large buffers": {"deadlock send", "This is a deadlock|still waiting|then no room|was blocked|found no room", false},
		"no TIME_WAIT":  {"close sockets", "first stays in TIME_WAIT|with the server's port|does not give|without SO_REUSEADDR|still has three", false},
		"a short queue": {"sockets", "connect\\(\\), 3 times", true},
	}[where()]
	if !ok {
		t.Skip("for a namespace")
	}
	for name := range strings.FieldsSeq(c.lessons) {
		start := time.Now()
		steps, err := lesson(t, name).Run(t.Context(), explain.Setting{})
		if took := time.Since(start); (err != nil) != c.fails || took > 10*time.Second {
			t.Errorf("%s: %v after %v", name, err, took)
		}
		unlike := 0
		for _, s := range steps {
			if regexp.MustCompile(c.not).MatchString(s.Line + " " + s.Why) {
				t.Errorf("%s: %q: %s", name, s.Line, s.Why)
			}
			if strings.Contains(s.Unlike, "nil") || strings.Contains(s.Unlike, "map") || s.Unlike != "" && s.Why != "" {
				t.Errorf("%s: %q: normally %s, and %s", name, s.Line, s.Unlike, s.Why)
			}
			unlike += len(s.Unlike)
		}
		if unlike == 0 && !c.fails {
			t.Errorf("%s says that all was as it is elsewhere", name)
		}
	}
}
