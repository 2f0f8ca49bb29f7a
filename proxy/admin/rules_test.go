package admin

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

	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/need"
	"github.com/bothends/bothends/internal/proxytest"
	"github.com/bothends/bothends/proxy"
)

func apply(t testing.TB, s *proxy.Set, text string) {
	t.Helper()
	r, err := ParseRules("rules.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

// The faults in the file act. toxiproxy ignores those in its configuration file (its issues
// 281 and 447).
func TestFaultsInTheFileAct(t *testing.T) {
	s, ended := set(t)
	redis, other := proxytest.FreeAddress(t), proxytest.FreeAddress(t)
	to := proxytest.Target(t, proxytest.Answers("pong, pong, pong", 4))
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
	if err := r.Apply(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"pong, pong reset", "pong, pong reset", "pong, pong, pong fin"} {
		reply, how := proxytest.Ask(t, redis)
		if reply+" "+how != want {
			t.Errorf("%d: %q and %s, want %s", i, reply, how, want)
		}
		if c := <-ended; c.Proxy != "redis" || !strings.Contains(fmt.Sprint(c.Faults), "{connect delay:1ms} {requests drip:1/1ms}") {
			t.Errorf("%+v", c)
		}
	}
	if reply, _ := proxytest.Ask(t, other); reply != "ponf, pong, pong" {
		t.Error(reply)
	}
	if c := <-ended; c.Proxy != other {
		t.Errorf("%+v", c)
	}
}

func TestReload(t *testing.T) {
	s, ended := set(t)
	a, b, c := proxytest.FreeAddress(t), proxytest.FreeAddress(t), proxytest.FreeAddress(t)
	one, two := proxytest.Target(t, proxytest.Answers("one", 4)), proxytest.Target(t, proxytest.Answers("two", 4))
	const rule = "  - {name: %s, listen: %s, target: %s, replies: %s}\n"
	apply(t, s, "proxies:\n"+fmt.Sprintf(rule, "kept", a, one, "first:1(close:1)")+fmt.Sprintf(rule, "gone", b, one, `""`))
	if reply, how := proxytest.Ask(t, a); reply != "o" || how != "fin" {
		t.Errorf("%q, %s", reply, how)
	}
	<-ended
	added, err := s.Add(context.Background(), proxy.Spec{Listen: "127.0.0.1:0", Target: one})
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
	if reply, how := proxytest.Ask(t, a); reply != "one" || how != "fin" {
		t.Errorf("an unchanged proxy started anew: %q, %s", reply, how)
	}
	if reply, _ := proxytest.Ask(t, c); reply != "uwo" {
		t.Errorf("the new proxy: %q", reply)
	}
	if reply, _ := proxytest.Ask(t, added.Listen); reply != "one" {
		t.Errorf("the proxy that was added: %q", reply)
	}
	if proxytest.ListensAt(b) {
		t.Error("a proxy that is not in the rules any more listens")
	}
	io.WriteString(open, "ng")
	if reply, how := proxytest.HowItEnds(t, open); reply != "one" || how != "fin" {
		t.Errorf("its open connection: %q, %s", reply, how)
	}
	open.Close()
	if got := s.Proxies(); len(got) != 3 || got[0].Name != added.Name || got[1].Name != "kept" || got[2].Name != "new" || got[1].Connections != 2 {
		t.Errorf("%+v", got)
	}

	// Another name, target and fault at the same address: the listener stays.
	apply(t, s, "proxies:\n"+fmt.Sprintf(rule, "renamed", a, two, "corrupt:1"))
	if reply, _ := proxytest.Ask(t, a); reply != "tvo" {
		t.Errorf("%q", reply)
	}
	if _, err := s.Proxy("kept"); !errors.Is(err, proxy.ErrNoProxy) {
		t.Error(err)
	}
	apply(t, s, "proxies: []")
	if proxytest.ListensAt(a) || len(s.Proxies()) != 1 {
		t.Error("there are proxies without rules")
	}
}

// A file with a mistake changes nothing, and no listener stays open.
func TestRejectedFileChangesNothing(t *testing.T) {
	s, _ := set(t)
	kept, fresh := proxytest.FreeAddress(t), proxytest.FreeAddress(t)
	to := proxytest.Target(t, proxytest.Answers("pong", 4))
	apply(t, s, "proxies:\n  - {listen: "+kept+", target: "+to+"}")
	added, err := s.Add(context.Background(), proxy.Spec{Name: "mine", Listen: "127.0.0.1:0", Target: to})
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
		"  - listen: 127.0.0.1:0\n    target: " + to + "\n    name: mine": "rules.yaml:6: mine: the name is in use",
		"  - listen: 192.0.2.1:7000\n    target: " + to:                   "rules.yaml:4: listen tcp 192.0.2.1:7000: bind: cannot assign requested address",
	} {
		text := "proxies:\n  - listen: " + fresh + "\n    target: " + to + "\n" + mistake
		r, err := ParseRules("rules.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(context.Background(), s); err == nil || err.Error() != want {
			t.Errorf("%s\n%v, want\n%s", text, err, want)
		}
		if proxytest.ListensAt(fresh) {
			t.Errorf("%s\nits listener stayed open", want)
		}
		if reply, _ := proxytest.Ask(t, kept); reply != "pong" || len(s.Proxies()) != 2 {
			t.Errorf("the old rules do not act: %q, %+v", reply, s.Proxies())
		}
	}
}

// A new listen address may be in use by the proxy itself: from loopback to every address,
// at the same port.
func TestReloadTakesAnAddressFromWhatIsGone(t *testing.T) {
	for _, fault := range []string{"", "refuse"} {
		s, _ := set(t)
		narrow := proxytest.FreeAddress(t)
		_, port, _ := net.SplitHostPort(narrow)
		one, two := proxytest.Target(t, proxytest.Answers("one", 4)), proxytest.Target(t, proxytest.Answers("two", 4))
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
		if reply, how := proxytest.Ask(t, narrow); reply != "two" || how != "fin" {
			t.Errorf("%q, %s", reply, how)
		}
		if open != nil {
			io.WriteString(open, "ping")
			if reply, how := proxytest.HowItEnds(t, open); reply != "one" || how != "fin" {
				t.Errorf("the open connection: %q, %s", reply, how)
			}
		}
	}
}

// If another program has the address too, the proxy that stopped for it listens again.
func TestReloadGivesAnAddressBack(t *testing.T) {
	s, _ := set(t)
	narrow := proxytest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(narrow)
	taken, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		need.Skip(t, "the address 127.0.0.2")
	}
	defer taken.Close()
	to := proxytest.Target(t, proxytest.Answers("pong", 4))
	apply(t, s, "proxies:\n  - {name: a, listen: '"+narrow+"', target: '"+to+"', replies: 'first:1(close:1)'}")
	r, err := ParseRules("rules.yaml", []byte("proxies:\n  - {listen: '0.0.0.0:"+port+"', target: '"+to+"'}\n  - {listen: '"+proxytest.FreeAddress(t)+"', target: '"+to+"'}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(context.Background(), s); !errno.AddrInUse.Has(err) || !strings.HasPrefix(err.Error(), "rules.yaml:2: listen tcp") || strings.Contains(err.Error(), "again") {
		t.Error(err)
	}
	for _, want := range []string{"p", "pong"} {
		if reply, how := proxytest.Ask(t, narrow); reply != want || how != "fin" {
			t.Errorf("%q, %s", reply, how)
		}
	}
	if got := s.Proxies(); len(got) != 1 || got[0].Name != "a" || got[0].Listen != narrow {
		t.Errorf("%+v", got)
	}
	if proxytest.ListensAt(r.Specs[1].Listen) {
		t.Error("a listener of the rejected rules stayed open")
	}
}

func TestRulesFileMistakes(t *testing.T) {
	const good = "proxies:\n  - listen: 127.0.0.1:7000\n    target: 127.0.0.1:6379\n"
	for _, c := range []struct{ text, want string }{
		{"", "1: the file is empty; for no proxies, write proxies: []"},
		{"# nothing\n", "1: no documents in stream"},
		{"- a\n", "1: expected a mapping with the key proxies"},
		{"proxies:\n", "1: proxies: expected a list"},
		{"{}\n", "1: proxies: is missing"},
		{"\nproxy: []\n", `2: unknown key "proxy"; the keys are proxies`},
		{good + "more: 1\n", `4: unknown key "more"; the keys are proxies`},
		{good + "proxies: []\n", "4: proxies: the key is repeated"},
		{good + "  - 7\n", "4: expected a mapping with the key name"},
		{good + "    reply: reset\n", `4: unknown key "reply"; the keys are name, listen, target, requests, replies, connect, seed, unreachable`},
		{good + "    target: a:1\n", "4: target: the key is repeated"},
		{good + "    replies: [reset]\n", "4: replies: expected one value"},
		{good + "    replies: rest:10\n", "4: replies: "},
		{good + "    seed: -1\n    connect: refuse\n", `4: seed: "-1": expected a number from 0 to 18446744073709551615`},
		{good + "    seed: 1\n    connect: drip\n", "5: connect: "},
		{good + "    unreachable: rst\n", `4: unreachable: "rst": expected reset or fin`},
		{good + "    requests: hang\n", "4: requests: hang is a fault of connecting; for requests, use reset:0 or stall:0"},
		{good + "    name: a b\n", `4: name: "a b": expected letters, digits and any of . _ : - [ ]`},
		{good + "    name: ..\n", `4: name: "..": expected letters, digits and any of . _ : - [ ]`},
		{good + "  - target: a:1\n", "4: listen is missing in this rule"},
		{good + "  - listen: :1\n", "4: target is missing in this rule"},
		{good + "  - target: a:1\n    listen: 7000\n", `5: listen: "7000": expected HOST:PORT, [IPv6]:PORT or unix:PATH`},
		{good + "  - listen: :1\n    target: a:http\n", `5: target: "a:http": the port must be a number from 0 to 65535`},
		{good + "  - listen: :1\n    target: a:0\n", "5: target: cannot connect to port 0"},
		{good + "  - listen: :1\n    target: :80\n", `5: target: ":80": the host is missing`},
		{good + "  - listen: 127.0.0.1:7000\n    target: a:1\n    name: x\n", "4: listen: 127.0.0.1:7000 is used in line 2"},
		{good + "  - listen: :1\n    target: a:1\n    name: 127.0.0.1:7000\n", "6: name: 127.0.0.1:7000 is used in line 2"},
		{good + "  - listen: 127.0.0.1:7000\n    target: a:1\n", "4: name: 127.0.0.1:7000 is used in line 2"},
		{good + "  - listen: :1\n    target: x y:1\n", `5: target: "x y:1": expected HOST:PORT, [IPv6]:PORT or unix:PATH`},
		{good + "  - listen: :1\n    target: '[localhost]:1'\n", `5: target: "[localhost]:1": expected HOST:PORT, [IPv6]:PORT or unix:PATH`},
		{good + "  - listen: a/b:1\n    target: a:1\n", `4: listen: "a/b:1": expected HOST:PORT, [IPv6]:PORT or unix:PATH`},
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

func TestAliasesInRules(t *testing.T) {
	r, err := ParseRules("f", []byte("proxies:\n  - {listen: ':1', target: &t 'a:1', name: one}\n  - {listen: ':2', target: *t, name: two, replies: }\n"))
	if err != nil || r.Specs[1].Target != "a:1" || r.Specs[1].Replies != "" {
		t.Errorf("%+v, %v", r, err)
	}
}
