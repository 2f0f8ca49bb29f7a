package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A TestingT is what [Test] needs of a *testing.T. It keeps package testing out of
// programs that import check.
type TestingT[T any] interface {
	Context() context.Context
	Errorf(format string, args ...any)
	Helper()
	Logf(format string, args ...any)
	Run(name string, f func(T)) bool
	Skipf(format string, args ...any)
}

// A Suite is a *[Server] or a *[Client].
type Suite interface {
	// newRun starts a run.
	newRun(context.Context) run
}

// A run is a run of a Suite. Its functions are called one after another.
type run struct {
	names  []string // of all cases
	result func(ctx context.Context, n int) Result
	// end returns an error if the last case has broken something that only shows later.
	end func(context.Context) error
}

// Test runs the cases of a suite as subtests of t, which is a *testing.T. Each subtest has
// the name of its case. If names are given, Test runs only these cases.
//
// A subtest fails if its case fails, or could not be run because of this machine or
// because the server cannot be reached. It logs a warning and does not fail if the verdict
// is Warn. It is skipped if the verdict is Skip. If all subtests that ran were skipped, or
// if a server ends after its last case, t fails.
//
// A run of all cases of a Server takes about two seconds, and up to Silence longer if the
// server does not close silent connections earlier.
func Test[T TestingT[T]](t T, suite Suite, names ...string) {
	t.Helper()
	ctx := t.Context() // not that of a subtest, which ends before the next one starts
	run := suite.newRun(ctx)
	for _, name := range names {
		if !slices.Contains(run.names, name) {
			t.Errorf("there is no case %q, only: %s", name, strings.Join(run.names, " "))
			return
		}
	}
	var tally Tally
	for n, name := range run.names {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		t.Run(name, func(t T) {
			t.Helper()
			r := run.result(ctx, n)
			if ctx.Err() != nil {
				t.Errorf("stopped: %v", context.Cause(ctx))
				return
			}
			tally.Add(r)
			logResult(t, r)
		})
	}
	if tally.Total() == 0 {
		return // package testing says so
	}
	if err := run.end(ctx); err != nil {
		t.Errorf("%v", err)
	}
	if tally.Count(Skip) == tally.Total() {
		t.Errorf("no case was run, so there is no verdict")
	}
}

// logResult reports a result as that of the subtest t. It calls Skipf last, which does not
// return.
func logResult[T TestingT[T]](t T, r Result) {
	t.Helper()
	text := fmt.Sprintf("%s: %s", r.Title, r.Why)
	for line := range strings.Lines(r.Output) {
		text += "\n| " + strings.Map(printable, strings.TrimRight(line, "\r\n"))
	}
	switch {
	case r.Verdict == Fail || r.Err != nil:
		t.Errorf("%s", text)
	case r.Verdict == Warn:
		t.Logf("warning: %s", text)
	case r.Verdict == Skip:
		t.Skipf("%s", text)
	default:
		t.Logf("%s", strings.TrimSuffix(text, ": "))
	}
}

func (s *Server) newRun(ctx context.Context) run {
	suite, cases := newSuite(ctx, *s), ServerCases()
	return run{
		names: namesOf(cases, func(c ServerCase) string { return c.Name }),
		result: func(ctx context.Context, n int) Result {
			return timed(cases[n].Name, cases[n].Title, func() (finding, string) { return suite.judge(ctx, cases[n]), "" })
		},
		end: suite.later,
	}
}

func (c *Client) newRun(context.Context) run {
	suite, cases := newClientSuite(*c), ClientCases()
	return run{
		names: namesOf(cases, func(c ClientCase) string { return c.Name }),
		result: func(ctx context.Context, n int) Result {
			return timed(cases[n].Name, cases[n].Title, func() (finding, string) { return suite.judge(ctx, cases[n]) })
		},
		end: func(context.Context) error { return nil },
	}
}

func namesOf[C any](cases []C, name func(C) string) (names []string) {
	for _, c := range cases {
		names = append(names, name(c))
	}
	return names
}
