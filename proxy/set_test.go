package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/need"
)

// set returns a Set that is closed with the test, and what its connections come to.
func set(t testing.TB) (*Set, chan Connection) {
	ended := make(chan Connection, 100)
	s := &Set{Done: func(c Connection) { ended <- c }}
	t.Cleanup(func() { s.Close() })
	return s, ended
}

// freeAddress is one where nobody listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func listensAt(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return !errno.Refused.Has(err)
}

// ask gets a reply from a target that answers four octets.
func ask(t testing.TB, address string) (reply, how string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		return "", err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(giveUp))
	io.WriteString(c, "ping")
	return howItEnds(t, c)
}

func apply(t testing.TB, s *Set, text string) {
	t.Helper()
	r, err := ParseRules("rules.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

// toxiproxy ignores the faults in its configuration file (its issues 281 and 447).
func TestFaultsInTheFileAct(t *testing.T) {
	s, ended := set(t)
	redis, other := freeAddress(t), freeAddress(t)
	to := target(t, answers("pong, pong, pong", 4))
	file := filepath.Join(t.TempDir(), "rules.yaml")
	text := fmt.Sprintf(`# two proxies
proxies:
  - name: redis
    listen: %s
    target: %s
    requests: drip:1/1ms
    replies: first:2(reset:10)
    connect: delay:1ms
    seed: 7
  - {listen: "%s", target: "%s", replies: corrupt:3}
`, redis, to, other, to)
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	r, err := ReadRules(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"pong, pong reset", "pong, pong reset", "pong, pong, pong fin"} {
		reply, how := ask(t, redis)
		if reply+" "+how != want {
			t.Errorf("%d: %q and %s, want %s", i, reply, how, want)
		}
		if c := <-ended; c.Proxy != "redis" || !strings.Contains(fmt.Sprint(c.Faults), "{connect delay:1ms} {requests drip:1/1ms}") {
			t.Errorf("%+v", c)
		}
	}
	if reply, _ := ask(t, other); reply != "ponf, pong, pong" {
		t.Error(reply)
	}
	if c := <-ended; c.Proxy != other {
		t.Errorf("%+v", c)
	}
}

func TestReload(t *testing.T) {
	s, ended := set(t)
	a, b, c := freeAddress(t), freeAddress(t), freeAddress(t)
	one, two := target(t, answers("one", 4)), target(t, answers("two", 4))
	const rule = "  - {name: %s, listen: %s, target: %s, replies: %s}\n"
	apply(t, s, "proxies:\n"+fmt.Sprintf(rule, "kept", a, one, "first:1(close:1)")+fmt.Sprintf(rule, "gone", b, one, `""`))
	if reply, how := ask(t, a); reply != "o" || how != "fin" {
		t.Errorf("%q, %s", reply, how)
	}
	<-ended
	added, err := s.Add(context.Background(), Spec{Listen: "127.0.0.1:0", Target: one})
	if err != nil || added.Name != added.Listen {
		t.Fatalf("%+v, %v", added, err)
	}
	open, err := net.Dial("tcp", b)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	io.WriteString(open, "pi")
	for s.Open() == 0 {
	}

	apply(t, s, "proxies:\n"+fmt.Sprintf(rule, "kept", a, one, "first:1(close:1)")+fmt.Sprintf(rule, "new", c, two, "corrupt:0"))
	if reply, how := ask(t, a); reply != "one" || how != "fin" {
		t.Errorf("an unchanged proxy began anew: %q, %s", reply, how)
	}
	if reply, _ := ask(t, c); reply != "uwo" {
		t.Errorf("the new proxy: %q", reply)
	}
	if reply, _ := ask(t, added.Listen); reply != "one" {
		t.Errorf("the one that was added: %q", reply)
	}
	if listensAt(b) {
		t.Error("a proxy that is gone from the rules listens")
	}
	io.WriteString(open, "ng")
	if reply, how := howItEnds(t, open); reply != "one" || how != "fin" {
		t.Errorf("its open connection: %q, %s", reply, how)
	}
	open.Close()
	if got := s.Proxies(); len(got) != 3 || got[0].Name != added.Name || got[1].Name != "kept" || got[2].Name != "new" || got[1].Connections != 2 {
		t.Errorf("%+v", got)
	}

	// Another name, target and fault at the same address: the listener stays.
	apply(t, s, "proxies:\n"+fmt.Sprintf(rule, "renamed", a, two, "corrupt:1"))
	if reply, _ := ask(t, a); reply != "tvo" {
		t.Errorf("%q", reply)
	}
	if _, err := s.Proxy("kept"); !errors.Is(err, ErrNoProxy) {
		t.Error(err)
	}
	apply(t, s, "proxies: []")
	if listensAt(a) || len(s.Proxies()) != 1 {
		t.Error("no rules, and proxies of rules")
	}
}

// A file with a mistake changes nothing, and leaves no listener behind.
func TestRefusedFileChangesNothing(t *testing.T) {
	s, _ := set(t)
	kept, fresh := freeAddress(t), freeAddress(t)
	to := target(t, answers("pong", 4))
	apply(t, s, "proxies:\n  - {listen: "+kept+", target: "+to+"}")
	added, err := s.Add(context.Background(), Spec{Name: "mine", Listen: "127.0.0.1:0", Target: to})
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for mistake, want := range map[string]string{
		"  - listen: " + taken.Addr().String() + "\n    target: " + to:    "rules.yaml:4: listen tcp " + taken.Addr().String() + ": bind: address already in use",
		"  - listen: " + added.Listen + "\n    target: " + to:             "rules.yaml:4: listen tcp " + added.Listen + ": bind: address already in use",
		"  - listen: 127.0.0.1:0\n    target: " + to + "\n    name: mine": "rules.yaml:6: mine: there is a proxy of that name",
		"  - listen: 192.0.2.1:7000\n    target: " + to:                   "rules.yaml:4: listen tcp 192.0.2.1:7000: bind: cannot assign requested address",
	} {
		text := "proxies:\n  - listen: " + fresh + "\n    target: " + to + "\n" + mistake
		r, err := ParseRules("rules.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(context.Background(), r); err == nil || err.Error() != want {
			t.Errorf("%s\n%v, want\n%s", text, err, want)
		}
		if listensAt(fresh) {
			t.Errorf("%s\nits listener stayed open", want)
		}
		if reply, _ := ask(t, kept); reply != "pong" || len(s.Proxies()) != 2 {
			t.Errorf("the old rules do not act: %q, %+v", reply, s.Proxies())
		}
	}
}

// A proxy that the file gives another address may be in its own way: from loopback to
// every address, at the same port.
func TestReloadTakesAnAddressFromWhatIsGone(t *testing.T) {
	for _, fault := range []string{"", "refuse"} {
		s, _ := set(t)
		narrow := freeAddress(t)
		_, port, _ := net.SplitHostPort(narrow)
		one, two := target(t, answers("one", 4)), target(t, answers("two", 4))
		apply(t, s, "proxies:\n  - {name: a, listen: '"+narrow+"', target: '"+one+"', connect: '"+fault+"'}")
		var open net.Conn
		if fault == "" {
			var err error
			if open, err = net.Dial("tcp", narrow); err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			for s.Open() == 0 {
			}
		}
		apply(t, s, "proxies:\n  - {name: a, listen: '0.0.0.0:"+port+"', target: '"+two+"'}")
		if reply, how := ask(t, narrow); reply != "two" || how != "fin" {
			t.Errorf("%q, %s", reply, how)
		}
		if open != nil {
			io.WriteString(open, "ping")
			if reply, how := howItEnds(t, open); reply != "one" || how != "fin" {
				t.Errorf("the open connection: %q, %s", reply, how)
			}
		}
	}
}

// Where somebody else has the address too, what stopped for it listens again.
func TestReloadGivesAnAddressBack(t *testing.T) {
	s, _ := set(t)
	narrow := freeAddress(t)
	_, port, _ := net.SplitHostPort(narrow)
	taken, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		need.Skip(t, "the address 127.0.0.2")
	}
	defer taken.Close()
	to := target(t, answers("pong", 4))
	apply(t, s, "proxies:\n  - {name: a, listen: '"+narrow+"', target: '"+to+"', replies: 'first:1(close:1)'}")
	r, err := ParseRules("rules.yaml", []byte("proxies:\n  - {listen: '0.0.0.0:"+port+"', target: '"+to+"'}\n  - {listen: '"+freeAddress(t)+"', target: '"+to+"'}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(context.Background(), r); !errno.AddrInUse.Has(err) || !strings.HasPrefix(err.Error(), "rules.yaml:2: listen tcp") || strings.Contains(err.Error(), "again") {
		t.Error(err)
	}
	for _, want := range []string{"p", "pong"} {
		if reply, how := ask(t, narrow); reply != want || how != "fin" {
			t.Errorf("%q, %s", reply, how)
		}
	}
	if got := s.Proxies(); len(got) != 1 || got[0].Name != "a" || got[0].Listen != narrow {
		t.Errorf("%+v", got)
	}
	if listensAt(r.rules[1].Listen) {
		t.Error("a listener of the refused rules stayed open")
	}
}

func TestRulesFileMistakes(t *testing.T) {
	const good = "proxies:\n  - listen: 127.0.0.1:7000\n    target: 127.0.0.1:6379\n"
	for _, c := range []struct{ text, want string }{
		{"", "1: an empty file; for no proxies say proxies: []"},
		{"# nothing\n", "1: no documents in stream"},
		{"- a\n", "1: want proxies: and so on"},
		{"proxies:\n", "1: proxies: want a list"},
		{"{}\n", "1: no proxies: in it"},
		{"\nproxy: []\n", `2: unknown key "proxy"; there are proxies`},
		{good + "more: 1\n", `4: unknown key "more"; there are proxies`},
		{good + "proxies: []\n", "4: proxies: a second time"},
		{good + "  - 7\n", "4: want name: and so on"},
		{good + "    reply: reset\n", `4: unknown key "reply"; there are name, listen, target, requests, replies, connect, seed, unreachable`},
		{good + "    target: a:1\n", "4: target: a second time"},
		{good + "    replies: [reset]\n", "4: replies: want one value"},
		{good + "    replies: rest:10\n", "4: replies: "},
		{good + "    seed: -1\n    connect: refuse\n", `4: seed: "-1": want a number from 0 to 18446744073709551615`},
		{good + "    seed: 1\n    connect: drip\n", "5: connect: "},
		{good + "    unreachable: rst\n", `4: unreachable: "rst": expected reset or fin`},
		{good + "    requests: hang\n", "4: requests: hang is a fault of connecting; on requests there are reset:0 and stall:0"},
		{good + "    name: a b\n", `4: name: "a b": want letters, digits and any of . _ : - [ ]`},
		{good + "    name: ..\n", `4: name: "..": want letters, digits and any of . _ : - [ ]`},
		{good + "  - target: a:1\n", "4: no listen in this rule"},
		{good + "  - listen: :1\n", "4: no target in this rule"},
		{good + "  - target: a:1\n    listen: 7000\n", `5: listen: "7000": want HOST:PORT or [IPv6]:PORT`},
		{good + "  - listen: :1\n    target: a:http\n", `5: target: "a:http": want a port from 0 to 65535`},
		{good + "  - listen: :1\n    target: a:0\n", "5: target: cannot connect to port 0"},
		{good + "  - listen: :1\n    target: :80\n", `5: target: ":80": want a host too`},
		{good + "  - listen: 127.0.0.1:7000\n    target: a:1\n    name: x\n", "4: listen: 127.0.0.1:7000 is that of line 2"},
		{good + "  - listen: :1\n    target: a:1\n    name: 127.0.0.1:7000\n", "6: name: 127.0.0.1:7000 is that of line 2"},
		{good + "  - listen: 127.0.0.1:7000\n    target: a:1\n", "4: name: 127.0.0.1:7000 is that of line 2"},
		{good + "  - listen: :1\n    target: x y:1\n", `5: target: "x y:1": want HOST:PORT or [IPv6]:PORT`},
		{good + "  - listen: :1\n    target: '[localhost]:1'\n", `5: target: "[localhost]:1": want HOST:PORT or [IPv6]:PORT`},
		{good + "  - listen: a/b:1\n    target: a:1\n", `4: listen: "a/b:1": want HOST:PORT or [IPv6]:PORT`},
		{good + "   - x\n", "4: "},
		{good + "\t- x\n", "4: "},
		{good + "---\nproxies: []\n", "1: expected single document, found multiple"},
		{"proxies:\n  - listen: \"127\n", "3: found unexpected end of stream"},
	} {
		_, err := ParseRules("f.yaml", []byte(c.text))
		var failed *RuleError
		if !errors.As(err, &failed) || !strings.HasPrefix(err.Error(), "f.yaml:"+c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q\n%v, want f.yaml:%s", c.text, err, c.want)
		}
	}
	if _, err := ReadRules("/no/such/file"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// The rules file has a limit, which the error states. Aliases are not expanded.
func TestRulesFileLimit(t *testing.T) {
	const want = "f.yaml:1: the file is larger than 1048576 octets (1 MiB)"
	if _, err := ParseRules("f.yaml", make([]byte, 1<<20+1)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		if _, err := ReadRules("/dev/zero"); err == nil || !strings.HasSuffix(err.Error(), want[len("f.yaml"):]) {
			t.Errorf("/dev/zero: %v", err)
		}
	}
	text := []byte("proxies:\n")
	for i := 1; len(text) < maxRules-100; i++ {
		text = fmt.Appendf(text, "  - {name: p%d, listen: '127.%d.%d.1:7000', target: 'a:1'}\n", i, i>>8, i&255)
	}
	if _, err := ParseRules("f.yaml", text); err != nil {
		t.Errorf("%d octets of rules: %v", len(text), err)
	}
	bomb := "a0: &a0 [x, x]\n"
	for i := range 60 {
		bomb += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	if _, err := ParseRules("f.yaml", []byte(bomb+"proxies: *a60\n")); err == nil {
		t.Error("a file of aliases was accepted")
	}
}

// A zone has a %, and some interfaces have stranger names.
func TestNameFromAnAddressWithAZone(t *testing.T) {
	r, err := ParseRules("f", []byte("proxies:\n  - {listen: '[::1%lo]:7434', target: '[fe80::1%eth@0]:1'}\n"))
	if err != nil || r.rules[0].Name != "[::1-lo]:7434" || r.rules[0].Listen != "[::1%lo]:7434" {
		t.Errorf("%+v, %v", r, err)
	}
	s, _ := set(t)
	added, err := s.Add(context.Background(), Spec{Listen: "[::1%lo]:0", Target: "127.0.0.1:1"})
	if errors.As(err, new(*SpecError)) {
		t.Fatal(err)
	} else if err != nil {
		need.Skip(t, "IPv6 on an interface lo")
	}
	seed := uint64(1)
	if _, err := s.Change(context.Background(), added.Name, Change{Seed: &seed}); err != nil || strings.Contains(added.Name, "%") {
		t.Errorf("%+v, %v", added, err)
	}
}

func TestAliasesInRules(t *testing.T) {
	r, err := ParseRules("f", []byte("proxies:\n  - {listen: ':1', target: &t 'a:1', name: one}\n  - {listen: ':2', target: *t, name: two, replies: }\n"))
	if err != nil || r.rules[1].Target != "a:1" || r.rules[1].Replies != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSetShutdown(t *testing.T) {
	s, ended := set(t)
	added, err := s.Add(context.Background(), Spec{Listen: "127.0.0.1:0", Target: target(t, answers("ok", 4))})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", added.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for s.Open() == 0 {
	}
	soon, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := s.Shutdown(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := s.Add(context.Background(), Spec{Listen: "127.0.0.1:0", Target: "127.0.0.1:1"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	io.WriteString(c, "ping")
	if reply, how := howItEnds(t, c); reply != "ok" || how != "fin" {
		t.Errorf("%q, %s", reply, how)
	}
	c.Close()
	if err := s.Shutdown(context.Background()); err != nil || len(ended) != 1 {
		t.Errorf("%v, %d reported", err, len(ended))
	}
}
