package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/bothends/bothends/internal/need"
)

// Without a network no lesson works: each is tried, and has a line that says why.
func TestExplainAllGoesOn(t *testing.T) {
	unshare := need.Program(t, "unshare", "util-linux")
	if err := exec.Command(unshare, "-rn", "true").Run(); err != nil {
		need.Skip(t, "the right to make a network namespace")
	}
	cmd := exec.Command(unshare, "-rn", "bothends", "explain", "all")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Run()
	lines := strings.Split(strings.TrimSuffix(errs.String(), "\n"), "\n")
	lessons := len(lessonNames()) - 1 // without all
	if cmd.ProcessState.ExitCode() != 1 || len(lines) != lessons+1 || strings.Count(errs.String(), "bothends: lesson ") != lessons ||
		!strings.HasPrefix(lines[lessons], "hint: check that the loopback interface is up") {
		t.Errorf("%v\n%s", cmd.ProcessState, &errs)
	}

	// As JSON, each lesson has its error, and standard error has the first of them.
	out.Reset()
	errs.Reset()
	cmd = exec.Command(unshare, "-rn", "bothends", "explain", "all", "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Run()
	first := valid(t, out.Bytes())
	failed := valid(t, errs.Bytes())
	if len(first) != lessons || len(failed) != 1 || failed[0]["error"] != fmt.Sprintf("lesson exchange: %s", first[0]["error"]) || failed[0]["hint"] == nil {
		t.Errorf("%s%s", &out, &errs)
	}
}

// Too few files may be opened: that is no matter of the system, and the lesson fails at
// once, however far it gets.
func TestExplainWithFewFiles(t *testing.T) {
	for _, lesson := range []string{"sockets", "exchange"} {
		failed := 0
		for _, limit := range strings.Fields("8 9 10 11 12 13 14") {
			cmd := exec.Command("sh", "-c", `ulimit -n "$0"; exec bothends explain -p 0 "$1"`, limit, lesson)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			err := cmd.Run()
			if strings.Contains(errs.String(), "netpollinit") {
				continue // too few for Go itself
			}
			if err != nil {
				failed++
			}
			if (err != nil) != strings.Contains(errs.String(), "too many open files\nhint: ") || strings.Contains(errs.String(), "not available") {
				t.Errorf("%s with %s files: %v\n%s", lesson, limit, err, &errs)
			}
		}
		if failed == 0 {
			t.Errorf("%s needs very few files; the test has to try fewer", lesson)
		}
	}
}
