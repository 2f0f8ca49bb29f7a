package main

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bothends/bothends/proxy"
	"github.com/bothends/bothends/proxy/admin"
)

// withProxy adds the scripts' commands for a proxy, which runs beside the server:
//
//	proxy ARG...        start: bothends proxy ARG..., wait until it is ready
//	proxy-signal NAME   send it SIGINT, SIGTERM or SIGHUP
//	proxy-saw TEXT      wait until it has printed TEXT
//	proxied N           wait until it has reported N connections
//	proxy-ends CODE     wait for its end and check its exit status; what it printed
//	                    is in the files proxy.out and proxy.err
//	put NAME ON FAULT   set a fault by the API of proxy --admin
//	expand FILE...      replace $NAME in the files
func withProxy(cmds map[string]func(*testscript.TestScript, bool, []string)) map[string]func(*testscript.TestScript, bool, []string) {
	maps.Copy(cmds, map[string]func(*testscript.TestScript, bool, []string){
		"proxy": startProxy, "proxy-signal": signalProxy, "proxy-saw": proxySaw, "proxied": proxied, "proxy-ends": proxyEnds,
		"put": putFault, "expand": expand,
	})
	return cmds
}

func proxyOf(ts *testscript.TestScript) *session { return ts.Value("proxy").(*session) }

func startProxy(ts *testscript.TestScript, neg bool, args []string) {
	s := proxyOf(ts)
	self, err := os.Executable()
	ts.Check(err)
	s.out, s.err = &output{changed: make(chan struct{})}, &output{changed: make(chan struct{})}
	s.server = &exec.Cmd{
		Path: self, Args: append([]string{"bothends", "proxy"}, args...),
		Dir: ts.MkAbs("."), Stdout: s.out, Stderr: s.err,
	}
	ts.Check(s.server.Start())
	running := s.server
	ts.Defer(func() {
		if running.ProcessState == nil {
			running.Process.Kill()
			running.Wait()
		}
	})
	s.await(ts, `listening at|the API answers`)
}

func signalProxy(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP}
	ts.Check(proxyOf(ts).server.Process.Signal(signals[args[0]]))
}

func proxySaw(ts *testscript.TestScript, neg bool, args []string) {
	proxyOf(ts).await(ts, regexp.QuoteMeta(args[0]))
}

func proxied(ts *testscript.TestScript, neg bool, args []string) {
	proxyOf(ts).await(ts, `(?s)(bothends\.proxy/v1.*){`+args[0]+`}`)
}

func proxyEnds(ts *testscript.TestScript, neg bool, args []string) {
	ended(ts, proxyOf(ts), "proxy", args[0])
}

func putFault(ts *testscript.TestScript, neg bool, args []string) {
	client := admin.Client{URL: proxyOf(ts).await(ts, `the API answers at (http://.*)/v1/proxies`)[1]}
	_, err := client.SetFault(context.Background(), args[0], proxy.Direction(args[1]), args[2])
	ts.Check(err)
}

func expand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o666))
	}
}

func TestProxyErrorLines(t *testing.T) {
	const usage = "usage: bothends proxy [TARGET] [flags]\n"
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "bothends: expected TARGET with --listen, --rules or --admin\n" + usage},
		{"a:1", 2, "bothends: --listen ADDR is missing\n" + usage},
		{"--listen :0", 2, "bothends: no TARGET given\n" + usage},
		{"a:1 b:2 --listen :0", 2, "bothends: expected one TARGET, got 2\n" + usage},
		{"a:1 --rules f", 2, "bothends: --rules cannot be used with TARGET or the flags of one proxy\n" + usage},
		{"--rules f --fault-replies reset", 2, "bothends: --rules cannot be used with TARGET or the flags of one proxy\n" + usage},
		{"--rules f --seed 7", 2, "bothends: --rules cannot be used with TARGET or the flags of one proxy\n" + usage},
		{"--admin 0 --seed 7", 2, "bothends: no TARGET given\n" + usage},
		{"--rules /no/such/file", 2, "bothends: --rules: open /no/such/file: no such file or directory\n" + usage},
		{"a --listen 127.0.0.1:0", 2, "bothends: TARGET: \"a\": expected HOST:PORT, [IPv6]:PORT or unix:PATH\n" + usage},
		{"a:1 --listen 7000", 2, "bothends: --listen: \"7000\": expected HOST:PORT, [IPv6]:PORT or unix:PATH\n" + usage},
		{"a:1 --listen 127.0.0.1:0 --fault-replies hang", 2, "bothends: --fault-replies: hang is a fault of connecting; for replies, use reset:0 or stall:0\n" + usage},
		{"a:1 --listen 127.0.0.1:0 --fault-connect reset:1", 2, "bothends: --fault-connect: reset is not a fault of connecting; use refuse, hang or delay\n" + usage},
		{"a:1 --listen 192.0.2.1:7000", 3, "bothends: listen at 192.0.2.1:7000: cannot assign requested address\nhint: use an address of this machine, or no HOST to listen on all interfaces\n"},
		{"a:1 --listen bad..name:1", 3, "bothends: listen at bad..name:1: no such host\n"},
		{"--admin 192.0.2.1:7000", 3, "bothends: listen at 192.0.2.1:7000: cannot assign requested address\nhint: use an address of this machine, or no HOST to listen on all interfaces\n"},
		{"--admin x", 2, "bothends: --admin \"x\": must be a port or HOST:PORT\n" + usage},
		{"--admin ::1:8474", 2, "bothends: --admin \"::1:8474\": must be a port or HOST:PORT\n" + usage},
		{"--admin-host box a --listen :1", 2, "bothends: --admin-host requires --admin\n" + usage},
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"proxy"}, strings.Fields(c.args)...), &out, &errs)
		if code != c.code || c.want != "" && errs.String() != c.want || out.Len() > 0 {
			t.Errorf("bothends proxy %s: exit %d, want %d\nstdout: %s\nstderr: %swant:   %s", c.args, code, c.code, &out, &errs, c.want)
		}
	}
}
