package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/need"
	"github.com/bothends/bothends/internal/procgroup"
)

// The line is drawn only on a terminal, in one line, and erased before other output.
func TestCaseStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &caseStatus{to: &out, width: 30, cases: []string{"whole: one exchange", "many: many clients at once, and more"}}
		s.startDrawing()
		printed := func() error { out.WriteString("printed\n"); return nil }
		time.Sleep(90 * time.Millisecond)
		s.ended(printed) // too fast to be shown
		time.Sleep(220 * time.Millisecond)
		s.ended(printed)
		time.Sleep(time.Second) // there is no third case
		s.close()
		want := "printed\n" +
			"\r\x1b[K0.1s many: many clients at on" +
			"\r\x1b[K0.2s many: many clients at on" +
			"\r\x1b[Kprinted\n"
		if got := out.String(); got != want {
			t.Errorf("%q\nwant:\n%q", got, want)
		}
	})
	var out bytes.Buffer
	s := newCaseStatus(&out, []string{"whole: one exchange"})
	err := s.ended(func() error { return errors.New("broken") })
	s.close()
	if err == nil || out.Len() > 0 {
		t.Errorf("%v, and not on a terminal %q", err, &out)
	}
}

// awaited runs a command as a server, and returns the error of await.
func awaited(t *testing.T, addr string, exchange func(context.Context, string) error, script string) error {
	t.Helper()
	group := new(procgroup.Group)
	if err := group.Start(exec.Command(need.Program(t, "sh", "dash"), "-c", script)); err != nil {
		t.Fatal(err)
	}
	p := &process{
		addrs: []string{addr}, exchange: exchange, group: group,
		limit: 200 * time.Millisecond, answer: 50 * time.Millisecond,
	}
	defer p.stop()
	return p.await(t.Context(), group)
}

func TestAwait(t *testing.T) {
	t.Parallel()
	addr := "127.0.0.1:" + unusedPort()
	client := bothends.Client{Timeout: time.Second}
	exchange := func(ctx context.Context, addr string) error {
		_, err := client.Exchange(ctx, addr, []byte(bothends.DefaultRequest))
		return err
	}
	silent := func(context.Context, string) error {
		return &bothends.ExchangeError{Op: "receive", Peer: addr, Err: context.DeadlineExceeded}
	}
	err := awaited(t, addr, exchange, "echo at another port; echo oops >&2; exec sleep 60")
	if err == nil || !strings.HasPrefix(err.Error(), "COMMAND does not listen at "+addr+" after 200ms: connect to ") ||
		!strings.HasSuffix(err.Error(), "; it printed:\n  | at another port\n  | oops") {
		t.Errorf("%v", err)
	}
	err = awaited(t, addr, exchange, "kill -TERM $$")
	if err == nil || err.Error() != "COMMAND ended before it answered at "+addr+": signal: terminated; it printed nothing" {
		t.Errorf("%v", err)
	}
	if err := awaited(t, addr, silent, "exec sleep 60"); err != nil { // the cases find out what is wrong
		t.Errorf("%v", err)
	}
}
