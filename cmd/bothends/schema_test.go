package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/docs"
	"github.com/bothends/bothends/explain"
	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/transcript"
)

// valid parses objects, each of which may be on a line of its own, and validates each
// against the schema that it names.
func valid(t *testing.T, lines []byte) (objects []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		object, ok := value.(map[string]any)
		if err != nil || !ok {
			t.Errorf("not an object: %v: %s", err, line)
			continue
		}
		id, _ := object["schema"].(string)
		name, _, _ := strings.Cut(strings.TrimPrefix(id, "bothends."), "/")
		if !slices.Contains(docs.Schemas(), name) || id != idOf(t, name) {
			t.Errorf("there is no schema of %q: %s", id, line)
			continue
		}
		if err := schemaOf(t, name).Validate(object); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
		objects = append(objects, object)
	}
	return objects
}

// idOf returns the name of a schema with its version.
func idOf(t *testing.T, schema string) string {
	t.Helper()
	var s struct {
		Properties struct{ Schema struct{ Const string } }
	}
	if err := json.Unmarshal([]byte(docs.Page(schema+"-schema")), &s); err != nil {
		t.Fatal(err)
	}
	return s.Properties.Schema.Const
}

func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(docs.Page(name + "-schema")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat() // date-time
	if err := c.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// A seen collects the properties and the words of the objects of each schema.
type seen struct {
	mu    sync.Mutex
	names map[string]map[string]bool // by schema
	words map[string]map[string]bool // by property
}

func (s *seen) add(t *testing.T, lines []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, object := range valid(t, lines) {
		id := object["schema"].(string)
		if s.names[id] == nil {
			s.names[id] = make(map[string]bool)
		}
		s.walk(id, object)
	}
}

func (s *seen) walk(id string, value any) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			s.walk(id, element)
		}
	case map[string]any:
		for name, property := range v {
			s.names[id][name] = true
			if word, ok := property.(string); ok {
				if s.words[name] == nil {
					s.words[name] = make(map[string]bool)
				}
				s.words[name][word] = true
			}
			s.walk(id, property)
		}
	}
}

// What the commands print follows the schemas, whatever happened; and together it has
// each property and each outcome that the schemas have.
func TestOutputsFollowTheSchemas(t *testing.T) {
	t.Parallel()
	s := &seen{names: make(map[string]map[string]bool), words: make(map[string]map[string]bool)}
	t.Run("commands", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *seen){
			"client": printsClient, "server": printsServer, "server persistent": printsPersistent, "library": printsLibrary,
			"check": printsCheck, "load": printsLoad, "explain": printsExplain, "proxy": printsProxy,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
			})
		}
	})
	if t.Failed() || runtime.GOOS != "linux" { // elsewhere kernels report less
		return
	}
	for _, name := range docs.Schemas() {
		want := propertiesOf(t, name)
		for _, rare := range []string{
			"unlike",                     // a lesson on another system
			"phases", "kernel", "events", // have names of their own
		} {
			delete(want, rare)
		}
		for property := range want {
			if !s.names[idOf(t, name)][property] {
				t.Errorf("%s: nothing printed has %q", name, property)
			}
		}
	}
	var outcomes []string
	for _, o := range bothends.Outcomes() {
		outcomes = append(outcomes, o.String())
	}
	slices.Sort(outcomes)
	if diff := cmp.Diff(outcomes, slices.Sorted(maps.Keys(s.words["outcome"]))); diff != "" {
		t.Error("outcomes:", diff)
	}
	events := []string{"accepted", "closed", "connected", "received", "resolved", "secured", "sent"}
	if diff := cmp.Diff(events, slices.Sorted(maps.Keys(s.words["event"]))); diff != "" {
		t.Error("events:", diff)
	}
}

// propertiesOf returns the names of all properties in a schema.
func propertiesOf(t *testing.T, schema string) map[string]bool {
	t.Helper()
	type object struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	var o object
	if err := json.Unmarshal([]byte(docs.Page(schema+"-schema")), &o); err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for name := range o.Properties {
		names[name] = true
	}
	for _, def := range o.Defs {
		for name := range def.Properties {
			names[name] = true
		}
	}
	return names
}

// answeringWith returns the address of a server that reads a request and calls reply.
func answeringWith(t *testing.T, reply func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				io.ReadFull(conn, make([]byte, len(bothends.DefaultRequest)))
				reply(conn.(*net.TCPConn))
			})
		}
	})
	return ln.Addr().String()
}

func printsClient(t *testing.T, s *seen) {
	send := func(reply string) func(*net.TCPConn) {
		return func(conn *net.TCPConn) { io.WriteString(conn, reply) }
	}
	ok := answeringWith(t, send(bothends.DefaultReply))
	_, port, _ := net.SplitHostPort(ok)
	for _, args := range []string{
		ok,
		ok + " --trace",
		"localhost:" + port + " --trace -4",
		ok + " --expect Farewell,_client",
		answeringWith(t, send(strings.Repeat("\xff", 16))),
		answeringWith(t, func(conn *net.TCPConn) { send(bothends.DefaultReply + "more")(conn); io.Copy(io.Discard, conn) }),
		answeringWith(t, send("Fare")),
		answeringWith(t, send("")) + " --trace",
		answeringWith(t, func(conn *net.TCPConn) { conn.SetLinger(0) }) + " --trace",
		answeringWith(t, func(conn *net.TCPConn) { io.Copy(io.Discard, conn) }) + " --timeout 50ms --trace",
		"127.0.0.1:" + unusedPort() + " --trace",
		"no.such.host.invalid --trace",
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"client", "-o", "json"}, strings.Fields(args)...), &out, &errs)
		s.add(t, out.Bytes())
		s.add(t, errs.Bytes())
		if lines := bytes.Count(errs.Bytes(), []byte("\n")); bytes.Count(out.Bytes(), []byte("\n")) != 1 || lines != min(code, 1) {
			t.Errorf("client %s: exit %d\n%s%s", args, code, &out, &errs)
		}
	}
}

// startProgram starts this program as another process and returns the address at which it
// says that it listens. The function stops it and returns its standard output.
func startProgram(t *testing.T, args ...string) (addr string, stop func(os.Signal) []byte) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	errs := &output{changed: make(chan struct{})}
	p := &exec.Cmd{Path: self, Args: append([]string{"bothends"}, args...), Env: append(os.Environ(), "GORACE=atexit_sleep_ms=0"), Stdout: &out, Stderr: errs}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			p.Process.Kill()
			p.Wait()
		}
	})
	giveUp := time.After(20 * time.Second)
	for {
		text, changed := errs.text()
		if found := regexp.MustCompile(`listening at ([^\s,]+)`).FindStringSubmatch(text); found != nil {
			return found[1], func(sig os.Signal) []byte {
				p.Process.Signal(sig)
				p.Wait()
				return out.Bytes()
			}
		}
		select {
		case <-changed:
		case <-giveUp:
			t.Fatalf("%q does not listen: %s", args, text)
		}
	}
}

// peer connects to addr, sends text, and ends the connection as end says.
func peer(t *testing.T, addr, text string, end func(*net.TCPConn)) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	end(conn.(*net.TCPConn))
}

func printsServer(t *testing.T, s *seen) {
	addr, stop := startProgram(t, "server", "127.0.0.1:0", "-o", "json", "--trace", "--timeout", "100ms")
	wait := func(conn *net.TCPConn) { conn.CloseWrite(); io.Copy(io.Discard, conn) }
	peer(t, addr, bothends.DefaultRequest, wait)
	peer(t, addr, strings.Repeat("\xff", 16), wait)
	peer(t, addr, bothends.DefaultRequest+"more", wait)
	peer(t, addr, "abc", wait)
	peer(t, addr, "", wait)
	peer(t, addr, "abc", func(conn *net.TCPConn) { conn.SetLinger(0) })
	peer(t, addr, "abc", func(conn *net.TCPConn) { io.Copy(io.Discard, conn) }) // until the timeout
	s.add(t, stop(syscall.SIGTERM))
}

func printsPersistent(t *testing.T, s *seen) {
	addr, stop := startProgram(t, "server", "127.0.0.1:0", "-o", "json", "--persistent", "--trace")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		io.WriteString(conn, bothends.DefaultRequest)
		if _, err := io.ReadFull(conn, make([]byte, len(bothends.DefaultReply))); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(conn, "abc")
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn)
	s.add(t, stop(syscall.SIGINT))
}

// What no flag of a command produces yet, TLS and connections that are denied; and an
// exchange that is canceled.
func printsLibrary(t *testing.T, s *seen) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	roots := certified.Client().Transport.(*http.Transport).TLSClientConfig
	var out output
	out.changed = make(chan struct{})
	j := &transcript.JSON{Out: &out, Events: true}
	for _, deny := range []error{nil, bothends.ErrDenied} {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", certified.TLS)
		if err != nil {
			t.Fatal(err)
		}
		server := &bothends.Server{TraceConn: j.Server, Admit: func(net.Conn) error { return deny }}
		served := make(chan error, 1)
		go func() { served <- server.Serve(ln) }()
		for _, config := range []*tls.Config{{RootCAs: roots.RootCAs, ServerName: "example.com"}, {}} {
			client := &bothends.Client{TLS: config}
			client.Exchange(bothends.WithTrace(t.Context(), j.Client()), ln.Addr().String(), []byte(bothends.DefaultRequest))
		}
		server.Shutdown(t.Context())
		<-served
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	new(bothends.Client).Exchange(bothends.WithTrace(canceled, j.Client()), "127.0.0.1:1060", nil)
	text, _ := out.text()
	s.add(t, []byte(text))
}

func printsCheck(t *testing.T, s *seen) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ok := answeringWith(t, func(conn *net.TCPConn) { io.WriteString(conn, bothends.DefaultReply) })
	for _, args := range [][]string{
		{ok, "--only", "whole"},
		{ok, "--only", "whole", "--expect", "Farewell, server"},
		{"127.0.0.1:" + unusedPort(), "--only", "whole"},
		{"client", "--only", "whole,reset", "--", "true"},
		{"client", "--only", "whole,reset", "--", "sh", "-c", "echo no; false"},
		{"client", "--only", "refused", "--", "false"}, // no verdict
	} {
		var out, errs bytes.Buffer
		at := slices.Index(args, "--")
		if at < 0 {
			at = len(args)
		}
		p := &exec.Cmd{
			Path: self, Args: slices.Concat([]string{"bothends", "check"}, slices.Insert(slices.Clone(args), at, "-o", "json")),
			Env: append(os.Environ(), "GORACE=atexit_sleep_ms=0"), Stdout: &out, Stderr: &errs,
		}
		if err := p.Run(); err != nil && p.ProcessState == nil {
			t.Fatal(err)
		}
		s.add(t, out.Bytes())
		s.add(t, errs.Bytes())
	}
}

func printsLoad(t *testing.T, s *seen) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	refused := "127.0.0.1:" + unusedPort()
	writeRun(t, file("slow.json"), 2*time.Millisecond)
	writeRun(t, file("fast.json"), time.Millisecond)
	for _, args := range [][]string{
		{"load", "-n", "20", "-c", "2", "--save", file("closed.json"), "--label", "one"},
		{"load", "-r", "400", "-d", "100ms", "--warmup", "20ms", "--ramp", "20ms", "--hold", "1", "--save", file("open.json")},
		{"load", "-n", "5", "--persistent", "--fault", "reset:4", "--fault-share", "50%", "--save", file("fault.json")},
		{"load", "-n", "5", "--message", "short", "--timeout", "20ms", "--reply-size", "17", "--expect", "Farewell, clients"},
		{"load", refused, "-n", "5", "--save", file("refused.json")},
		{"load", "-n", "5", "--fail-if", "p50>1ns"},
		{"report", "show", file("closed.json"), file("open.json"), file("slow.json")},
		{"report", "compare", file("closed.json"), file("closed.json")}, // too short
		{"report", "compare", file("slow.json"), file("fast.json")},
	} {
		var out, errs bytes.Buffer
		run(append(args, "-o", "json"), &out, &errs)
		s.add(t, out.Bytes())
		s.add(t, errs.Bytes())
	}
	var merged, errs bytes.Buffer
	run([]string{"report", "merge", file("slow.json"), file("fast.json")}, &merged, &errs)
	s.add(t, merged.Bytes())
	if merged.Len() == 0 {
		t.Errorf("merge: %s", &errs)
	}
	for _, name := range []string{"closed.json", "open.json", "fault.json", "refused.json", "slow.json"} {
		text, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		s.add(t, text)
	}
}

// writeRun writes a run of eight seconds whose exchanges took about as long.
func writeRun(t *testing.T, name string, took time.Duration) {
	t.Helper()
	r := &load.Record{Started: time.Unix(1, 0), Config: load.Config{Target: "192.0.2.1:1060", Loop: "closed", Success: []string{"ok"}}, Host: load.Host{OS: "linux", Arch: "amd64"}}
	for n := range 8 {
		i := &load.Interval{
			Start: time.Duration(n) * time.Second, End: time.Duration(n+1) * time.Second, Wait: time.Duration(n/7) * time.Millisecond,
			Outcomes: map[string]int64{"ok": 200}, Succeeded: 200, Queued: 1, Unsent: 1, BackOffs: 1, BackedOff: time.Millisecond,
			Health: load.Health{CPU: time.Millisecond, GCs: 1, GCPause: time.Microsecond},
		}
		for k := range 200 {
			i.Latency.Record(took + time.Duration(n*k)*time.Microsecond)
			i.Service.Record(took + time.Duration(n*k)*time.Microsecond)
		}
		r.Intervals = append(r.Intervals, i)
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

func printsExplain(t *testing.T, s *seen) {
	var out, errs bytes.Buffer
	run([]string{"explain", "exchange", "-o", "json"}, &out, &errs)
	run([]string{"explain", "recv", "-o", "json"}, &out, &errs)
	lesson, _ := explain.Find("send")
	if err := lesson.JSON(&out, time.Now(), nil, errors.New("no ports")); err != nil {
		t.Fatal(err)
	}
	s.add(t, out.Bytes())
	s.add(t, errs.Bytes())
}

func printsProxy(t *testing.T, s *seen) {
	wait := func(conn *net.TCPConn) { conn.CloseWrite(); io.Copy(io.Discard, conn) }
	ok := answeringWith(t, func(conn *net.TCPConn) { io.WriteString(conn, bothends.DefaultReply) })
	for _, args := range [][]string{
		{ok},
		{ok, "--fault-replies", "reset:4"},
		{"127.0.0.1:" + unusedPort()},
	} {
		addr, stop := startProgram(t, slices.Concat([]string{"proxy", "--listen", "127.0.0.1:0"}, args)...)
		peer(t, addr, bothends.DefaultRequest, wait)
		peer(t, addr, "abc", func(conn *net.TCPConn) { conn.SetLinger(0) })
		s.add(t, stop(syscall.SIGTERM))
	}
}

// Each schema has an example, which follows it, and a row in the table.
func TestSchemaExamples(t *testing.T) {
	page := docs.Page("schema")
	lines, err := os.ReadFile("../../docs/schema/examples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	examples := make(map[string]bool)
	for _, object := range valid(t, lines) {
		examples[object["schema"].(string)] = true
	}
	for _, name := range docs.Schemas() {
		if id := idOf(t, name); !examples[id] {
			t.Errorf("there is no example of %s", id)
		}
		if row := fmt.Sprintf("[%s](%s.schema.json)", name, name); !strings.Contains(page, row) {
			t.Errorf("the table does not have %s", row)
		}
	}
}
