package check_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/internal/need"
)

// clientVerdicts runs the cases. It returns "name: verdict" for each case, and the results.
// Four runs share the cases, because they wait more than they work.
func clientVerdicts(t *testing.T, c *check.Client, only ...string) (all []string, results map[string]check.Result) {
	t.Helper()
	results = make(map[string]check.Result)
	chosen := slices.DeleteFunc(check.ClientCases(), func(of check.ClientCase) bool {
		return len(only) > 0 && !slices.Contains(only, of.Name)
	})
	const most = 4
	shares := make([][]check.ClientCase, min(most, len(chosen)))
	for n, of := range chosen {
		shares[n%most] = append(shares[n%most], of)
	}
	var runs sync.WaitGroup
	var mu sync.Mutex
	for _, share := range shares {
		runs.Go(func() {
			for r := range c.Run(t.Context(), share) {
				mu.Lock()
				results[r.Case] = r
				mu.Unlock()
			}
		})
	}
	runs.Wait()
	for _, of := range chosen {
		all = append(all, of.Name+": "+results[of.Name].Verdict.String())
	}
	return all, results
}

// A client that takes one recv() for the reply, and has no deadline, fails in the cases for
// these bugs only.
func TestNaiveClient(t *testing.T) {
	t.Parallel()
	python := need.Program(t, "python3", "python3")
	c := &check.Client{Command: []string{python, "-I", "-S", "../testdata/naive_client.py", "{host}", "{port}"}, Limit: 3 * time.Second}
	got, results := clientVerdicts(t, c)
	want := []string{
		"whole: pass", "pieces: fail", "octets: fail", "slow: pass", "surplus: pass",
		"wrong: fail", "closed: fail", "cut-fin: fail", "reset: pass", "cut-reset: fail",
		"silence: fail", "cut-silence: fail", "refused: pass", "hang: fail",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%v", diff, results)
	}
	for name, why := range map[string]string{
		"pieces":  "it closed the connection before the whole reply had arrived",
		"closed":  "it took this for a success",
		"silence": "it had not ended after 3",
		"whole":   "exit 0",
		"reset":   "exit 1",
	} {
		if !strings.Contains(results[name].Why, why) {
			t.Errorf("%s: %q does not say %q", name, results[name].Why, why)
		}
	}
	if !strings.Contains(results["reset"].Output, "ConnectionResetError") {
		t.Errorf("the output of the command: %q", results["reset"].Output)
	}
}

// Commands that end in all possible ways, after an exchange that works or without one.
func TestCommands(t *testing.T) {
	t.Parallel()
	sh := need.Program(t, "sh", "dash")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const or = `"$2" >/dev/null && exit 0; ` // a client that works, and then:
	for _, c := range []struct {
		script, name, why string
		verdict           check.Verdict
	}{
		{"exit 0", "whole", "exit 0 after ", check.Fail},
		{"exit 3", "whole", "exit 3 after ", check.Fail},
		{or + "exit 3", "refused", "exit 3", check.Pass},
		{or + "kill -SEGV $$", "refused", "it crashed", check.Fail},
		{"kill -SEGV $$", "whole", "it crashed", check.Fail},
		{or + "sleep 60", "refused", "it had not ended after ", check.Fail},
		{or + "sleep 60 & wait", "refused", "it had not ended after ", check.Fail}, // and its child is killed too
		{or + "sleep 60 & exit 4", "refused", "exit 4", check.Pass},                // whose child is left behind
		{or + `test "$BOTHENDS_HOST:$BOTHENDS_PORT $BOTHENDS_ADDR" = "$0:$1 $3" && exit 7`, "refused", "exit 7", check.Pass},
		{"exit 3", "refused", "not run: the client does not work with a correct reply (case whole): exit 3 after ", check.Skip},
		{"exit 0", "hang", "not run: the client does not work with a correct reply (case whole): exit 0 after ", check.Skip},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			client := &check.Client{Command: []string{sh, "-c", c.script, "{host}", "{port}", self, "{addr}"}, Limit: time.Second}
			_, results := clientVerdicts(t, client, c.name)
			if r := results[c.name]; r.Verdict != c.verdict || !strings.HasPrefix(r.Why, c.why) && !strings.HasSuffix(r.Why, c.why) {
				t.Errorf("case %s: %v, %s", c.name, r.Verdict, r.Why)
			}
		})
	}
}

// A command that cannot be started has no verdict.
func TestNoCommand(t *testing.T) {
	t.Parallel()
	client := &check.Client{Command: []string{"/no/such/program"}}
	_, results := clientVerdicts(t, client, "whole", "refused")
	for name, r := range results {
		if notRun := new(check.NotRunError); r.Verdict != check.Skip || !errors.As(r.Err, &notRun) || !strings.Contains(r.Why, "the command could not be started: ") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A reply of one octet cannot be cut.
func TestShortReply(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	client := &check.Client{Command: []string{self, "1"}, Reply: []byte("X")}
	got, results := clientVerdicts(t, client, "cut-fin", "cut-reset", "cut-silence", "refused")
	if want := []string{"cut-fin: skip", "cut-reset: skip", "cut-silence: skip", "refused: pass"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q: %v", got, want, results)
	}
}

func TestClientStops(t *testing.T) {
	sh := need.Program(t, "sh", "dash")
	client := &check.Client{Command: []string{sh, "-c", "sleep 60"}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	for r := range client.Run(ctx, check.ClientCases()) {
		t.Errorf("%+v", r)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("stopped after %v", took)
	}
	for range client.Run(t.Context(), nil) {
		t.Error("a result without a case")
	}
}
