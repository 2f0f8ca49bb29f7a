package procgroup_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bothends/bothends/internal/procgroup"
)

// A helper is a process that has a group, as adopting is of a whole process. It starts
// the script, prints "started", ends the group when its input ends, and prints what End
// returned and how many of its children have ended and were not waited for.
const helper = "BOTHENDS_TEST_GROUP"

func TestMain(m *testing.M) {
	if script := os.Getenv(helper); script != "" {
		help(script)
		return
	}
	goleak.VerifyTestMain(m)
}

func help(script string) {
	os.Unsetenv(helper)
	g := procgroup.Group{Adopt: true}
	if err := g.Start(exec.Command("sh", "-c", script)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("started")
	bufio.NewReader(os.Stdin).ReadByte()
	fmt.Println(g.End(), zombies(os.Getpid()))
}

// zombies counts the children of a process that nothing has waited for.
func zombies(parent int) (n int) {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		stat, _ := os.ReadFile(path)
		if strings.Contains(string(stat), fmt.Sprintf(") Z %d ", parent)) {
			n++
		}
	}
	return n
}

// asleep waits until n processes run sleep for that many seconds.
func asleep(t *testing.T, seconds string, n int) {
	t.Helper()
	found := 0
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); <-time.After(5 * time.Millisecond) {
		found = 0
		paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range paths {
			line, _ := os.ReadFile(path)
			if string(line) == "sleep\x00"+seconds+"\x00" {
				found++
			}
		}
		if found == n {
			return
		}
	}
	t.Errorf("%d processes sleep for %s s, want %d", found, seconds, n)
}

// unique is a number of seconds that no other process sleeps for.
func unique(n int) string { return strconv.Itoa(1_000_000 + 10*os.Getpid() + n) }

// started is a helper with a script.
func started(t *testing.T, script string) (cmd *exec.Cmd, end func() string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self)
	cmd.Env = append(os.Environ(), helper+"="+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "started\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd, func() string {
		in.Close()
		line, _ := lines.ReadString('\n')
		cmd.Wait()
		return line
	}
}

// Nothing leaves a group that is adopted: not the background, not another session, not
// a parent that ends.
func TestAdopt(t *testing.T) {
	t.Parallel()
	s := unique(1)
	_, end := started(t, fmt.Sprintf("sleep %s & setsid sleep %[1]s & (setsid sh -c 'sleep %[1]s & exit' &) ; wait", s))
	asleep(t, s, 3)
	if got := end(); got != "<nil> 0\n" {
		t.Errorf("End: %q", got)
	}
	asleep(t, s, 0)
}

// A process that is adopted after the command itself has ended is in the group too.
func TestAdoptDaemon(t *testing.T) {
	t.Parallel()
	s := unique(2)
	_, end := started(t, fmt.Sprintf("setsid sh -c 'sleep %s & exit' & exit", s))
	asleep(t, s, 1)
	if got := end(); got != "<nil> 0\n" {
		t.Errorf("End: %q", got)
	}
	asleep(t, s, 0)
}

// Those that end by themselves are waited for, while the group runs.
func TestReap(t *testing.T) {
	t.Parallel()
	s := unique(3)
	cmd, end := started(t, fmt.Sprintf("for i in 1 2 3 4 5 6 7 8; do (true &); done; sleep %s", s))
	asleep(t, s, 1)
	for until := time.Now().Add(5 * time.Second); zombies(cmd.Process.Pid) > 0; <-time.After(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d processes were not waited for", zombies(cmd.Process.Pid))
		}
	}
	end()
}

// The command does not outlive a process that is killed.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := unique(4)
	cmd, end := started(t, "exec sleep "+s)
	asleep(t, s, 1)
	cmd.Process.Kill()
	end()
	asleep(t, s, 0)
}

// Without adopting, the group has what is in the command's process group, and what
// still has its parent.
func TestGroup(t *testing.T) {
	t.Parallel()
	s := unique(5)
	var g procgroup.Group
	if err := g.Start(exec.Command("sh", "-c", fmt.Sprintf("echo one; echo two >&2; sleep %s & setsid sleep %[1]s & wait", s))); err != nil {
		t.Fatal(err)
	}
	asleep(t, s, 2)
	if err := g.End(); err != nil {
		t.Error(err)
	}
	asleep(t, s, 0)
	<-g.Exited()
	if g.Err() == nil || g.Output() != "one\ntwo\n" {
		t.Errorf("%v, output %q", g.Err(), g.Output())
	}
}

func TestLongOutput(t *testing.T) {
	t.Parallel()
	var g procgroup.Group
	if err := g.Start(exec.Command("sh", "-c", "yes | head -c 100000; printf end")); err != nil {
		t.Fatal(err)
	}
	<-g.Exited()
	if err := g.End(); err != nil || g.Err() != nil {
		t.Error(err, g.Err())
	}
	if got := g.Output(); len(got) != 2000 || !bytes.HasSuffix([]byte(got), []byte("y\nend")) {
		t.Errorf("%d octets: ...%.20q", len(got), got[max(0, len(got)-10):])
	}
}

func TestNoCommand(t *testing.T) {
	t.Parallel()
	var g procgroup.Group
	if err := g.Start(exec.Command("/no/such/program")); err == nil {
		t.Error("started a program that does not exist")
	}
	if err := g.End(); err != nil {
		t.Error(err)
	}
}
