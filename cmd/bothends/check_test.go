package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/internal/need"
)

// checked runs check with -o json. It returns "case: verdict" for each line, and the exit
// status. Check is a separate process, which ends everything that it has started.
func checked(t *testing.T, args ...string) (verdicts []string, why map[string]string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Cmd{
		Path: self, Args: slices.Concat([]string{"bothends", "check", args[0], "-o", "json"}, args[1:]),
		Env: append(os.Environ(), "GORACE=atexit_sleep_ms=0"), Stdout: &out, Stderr: &errs,
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if text := waiting.ReplaceAllString(errs.String(), ""); text != "" {
		t.Errorf("check %q: %s", args, text)
	}
	why = make(map[string]string)
	for line := range strings.Lines(out.String()) {
		var r struct{ Schema, Case, Verdict, Why string }
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Schema != "bothends.check/v1" {
			t.Fatalf("%v: %s", err, line)
		}
		verdicts = append(verdicts, r.Case+": "+r.Verdict)
		why[r.Case] = r.Why
	}
	return verdicts, why, cmd.ProcessState.ExitCode()
}

var waiting = regexp.MustCompile(`bothends: waiting for \S+, for up to 30s\n`)

// unusedPort returns a port below those that systems give to clients and for port 0, so
// that no other program takes it before it is used.
func unusedPort() string {
	for {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		if ln, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			ln.Close()
			return port
		}
	}
}

// all returns the verdict of each server case: pass, except for those given.
func all(but map[string]string) (verdicts []string) {
	for _, c := range check.ServerCases() {
		verdict := "pass"
		if v, ok := but[c.Name]; ok {
			verdict = v
		}
		verdicts = append(verdicts, c.Name+": "+verdict)
	}
	return verdicts
}

// A server that handles one client after another, and no errors, ends at a short message
// and stops for a silent client.
func TestCheckSequentialServer(t *testing.T) {
	t.Parallel()
	python := need.Program(t, "python3", "python3")
	port := unusedPort()
	got, why, code := checked(t, "127.0.0.1:"+port, "--limit", "2s", "--silence", "1s", "--",
		python, filepath.Join("..", "..", "testdata", "sequential.py"), port)
	want := all(map[string]string{"surplus": "warn", "fin": "fail", "reset": "fail", "connect-close": "fail", "silence": "fail"})
	if diff := cmp.Diff(want, got); diff != "" || code != 1 {
		t.Errorf("exit %d\n%s\n%q", code, diff, why)
	}
}

// started runs a program that listens on a port until the test ends.
func started(t *testing.T, port string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatalf("%s does not listen", args[0])
}

// Servers from Debian's packages. Their results are in docs/check/real-servers.md.
func TestCheckRedis(t *testing.T) {
	t.Parallel()
	redis := need.Program(t, "redis-server", "redis-server")
	port := unusedPort()
	started(t, port, redis, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	got, why, code := checked(t, "127.0.0.1:"+port, "--message", `PING\r\n`, "--expect", `+PONG\r\n`, "--silence", "1s")
	if diff := cmp.Diff(all(map[string]string{"silence": "warn"}), got); diff != "" || code != 0 {
		t.Errorf("exit %d\n%s\n%q", code, diff, why)
	}
}

func TestCheckNginx(t *testing.T) {
	t.Parallel()
	nginx := need.Program(t, "nginx", "nginx-light")
	port, dir := unusedPort(), t.TempDir()
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr crit;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server { listen 127.0.0.1:%[2]s; return 200 "hello\n"; }
}`, dir, port)
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	started(t, port, nginx, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	got, why, code := checked(t, "127.0.0.1:"+port, "--message", `GET / HTTP/1.0\r\n\r\n`, "--expect", `HTTP/1.1 200 OK\r\n`, "--silence", "1s")
	if diff := cmp.Diff(all(map[string]string{"silence": "warn"}), got); diff != "" || code != 0 {
		t.Errorf("exit %d\n%s\n%q", code, diff, why)
	}
}

// Our client passes every case if it knows the correct reply.
func TestCheckOurClient(t *testing.T) {
	t.Parallel()
	got, why, code := checked(t, "client", "--", "bothends", "client", "{host}:{port}", "--expect", "Farewell, client", "--timeout", "1s")
	var want []string
	for _, c := range check.ClientCases() {
		want = append(want, c.Name+": pass")
	}
	if diff := cmp.Diff(want, got); diff != "" || code != 0 {
		t.Errorf("exit %d\n%s\n%q", code, diff, why)
	}
}
