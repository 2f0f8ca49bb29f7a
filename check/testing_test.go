package check_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/memnet"
)

// A fakeT is a test that records what is reported to it.
type fakeT struct {
	*testing.T // for its Context
	name       string
	skip       string // the subtest that -run does not select
	log        *[]string
}

func (f *fakeT) note(what, format string, args []any) {
	text := fmt.Sprintf(format, args...)
	*f.log = append(*f.log, strings.TrimSpace(f.name+" "+what+": "+text))
}

func (f *fakeT) Errorf(format string, args ...any) { f.note("error", format, args) }
func (f *fakeT) Logf(format string, args ...any)   { f.note("log", format, args) }
func (f *fakeT) Skipf(format string, args ...any)  { f.note("skip", format, args) }
func (f *fakeT) Helper()                           {}

func (f *fakeT) Run(name string, run func(*fakeT)) bool {
	if name != f.skip {
		run(&fakeT{T: f.T, name: name, log: f.log})
	}
	return true
}

// tested returns what Test reports about a server in memory.
func tested(t *testing.T, s check.Server, handle func(net.Conn), skip string, names ...string) (log []string) {
	synctest.Test(t, func(t *testing.T) {
		s.Dial = serveInMemory(t, handle, false)
		check.Test(&fakeT{T: t, skip: skip, log: &log}, &s, names...)
	})
	return log
}

// Test is a subtest per case, with the verdict of the case.
func TestTest(t *testing.T) {
	careless := func(conn net.Conn) { // no time limit, and one Read for a whole request
		if n, _ := conn.Read(make([]byte, 16)); n == 16 {
			conn.Write([]byte(bothends.DefaultReply))
			conn.Read(make([]byte, 1))
		}
	}
	got := tested(t, check.Server{Silence: time.Second}, careless, "", "whole", "octets", "many", "silence")
	want := []string{
		"whole log: one normal exchange",
		"octets error: the request octet by octet: after 1 octet of the request: broken pipe",
		"many log: many clients at the same time: 100 exchanges",
		"silence log: warning: clients that send nothing, or half a request: no deadline within 1s: a client that sent nothing was still connected",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = tested(t, check.Server{Request: []byte{}}, func(conn net.Conn) { answerFirst(conn) }, "", "octets", "whole")
	want = []string{
		"whole log: one normal exchange", // in the order of the cases
		"octets skip: the request octet by octet: a request of 0 octets cannot be cut",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func answerFirst(conn net.Conn) {
	conn.Write([]byte(bothends.DefaultReply))
	conn.Read(make([]byte, 1))
}

// Nothing passes that was not run.
func TestTestWithoutVerdict(t *testing.T) {
	works := func(conn net.Conn) { answer(conn) }
	none := func(conn net.Conn) {}
	for name, c := range map[string]struct {
		handle func(net.Conn)
		server check.Server
		skip   string
		cases  []string
		want   []string
	}{
		"a case that does not exist": {works, check.Server{}, "", []string{"reset", "hole"},
			[]string{`error: there is no case "hole", only: whole octets cut half-close surplus slow-reader no-reader many fin reset connect-close silence`}},
		"a server that does not work": {none, check.Server{}, "", []string{"reset"},
			[]string{"reset skip: RST in the middle of the request, and after it: not run: a normal exchange does not work: ", "error: no case was run, so there is no verdict"}},
		"a server that cannot be started": {works, check.Server{Restart: func(context.Context) error { return errors.New("no program") }}, "", []string{"reset"},
			[]string{"reset error: RST in the middle of the request, and after it: not run: the server could not be started: no program", "error: no case was run, so there is no verdict"}},
		"only skipped": {answerFirst, check.Server{Request: []byte{}}, "", []string{"cut"},
			[]string{"cut skip: the request cut in two, at every place: a request of 0 octets cannot be cut", "error: no case was run, so there is no verdict"}},
		"not selected": {none, check.Server{}, "reset", []string{"reset"}, nil},
	} {
		got := tested(t, c.server, c.handle, c.skip, c.cases...)
		same := len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			same = same && strings.HasPrefix(got[i], c.want[i])
		}
		if !same {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A server that ends after the last case fails the test itself.
func TestTestOfServerThatDiesLater(t *testing.T) {
	var got []string
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		serveOn(t, ln, func(conn net.Conn) {
			if answer(conn) != nil {
				time.Sleep(250 * time.Millisecond)
				ln.Close()
			}
		}, false)
		check.Test(&fakeT{T: t, log: &got}, &check.Server{Dial: ln.Dial}, "reset")
	})
	want := "error: 500ms after the last case, a normal exchange no longer worked: "
	if len(got) != 2 || !strings.HasPrefix(got[1], want) {
		t.Errorf("%q", got)
	}
}

// *testing.T is a TestingT, and a test of our own server passes.
func TestTestOfOurServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go new(bothends.Server).Serve(ln)
	check.Test(t, &check.Server{Addr: ln.Addr().String()}, "whole", "octets", "reset")
}

// Programs that import check do not link package testing.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if deps := strings.Fields(string(out)); len(deps) < 10 || slices.Contains(deps, "testing") {
		t.Errorf("%q", deps)
	}
}
