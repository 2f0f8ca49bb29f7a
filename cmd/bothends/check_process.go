package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/bothends/bothends/check"
	"github.com/bothends/bothends/internal/procgroup"
)

// startLimit is the time limit for a server to listen after its start.
const startLimit = 30 * time.Second

// A process is a server that check starts and restarts.
type process struct {
	args     []string
	addrs    []string // where it may listen; only one after it has been found
	network  string
	exchange func(ctx context.Context, addr string) error
	limit    time.Duration // to listen
	answer   time.Duration // to answer after that

	mu    sync.Mutex
	group *procgroup.Group // nil if it does not run
	left  error            // processes that could not be ended
	fresh bool             // started, and not yet used
}

func newProcess(s *check.Server, addrs, args []string) *process {
	client := exchangesWith(s)
	return &process{
		args: args, addrs: addrs, network: s.Network,
		exchange: func(ctx context.Context, addr string) error {
			_, err := client.Exchange(ctx, addr, s.Request)
			return err
		},
		limit: startLimit, answer: s.Limit,
	}
}

// first starts the process for the first time, and returns where it listens. It returns an
// error if another program listens there already.
func (p *process) first(ctx context.Context, cmd *cobra.Command) (addr string, err error) {
	if err := isProgram(p.args[0]); err != nil {
		return "", usageError(cmd, err)
	}
	for _, addr := range p.addrs {
		if p.listens(ctx, addr) {
			return "", usageError(cmd, fmt.Errorf("another program already listens at %s, the address of COMMAND", addr))
		}
	}
	group, err := p.launch(ctx)
	if err != nil {
		return "", &failure{code: exitUsage, err: fmt.Errorf("COMMAND %s: %w", printable(p.args[0]), reasonOf(err)), hint: checkHint(err)}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "bothends: waiting for %s, for up to %v\n", strings.Join(p.addrs, " or "), p.limit)
	if err := p.await(ctx, group); err != nil {
		return "", &failure{code: exitNetwork, err: err}
	}
	p.fresh = true
	return p.addrs[0], nil
}

// listens reports whether a program listens at addr. It makes no exchange.
func (p *process) listens(ctx context.Context, addr string) bool {
	limited, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(limited, p.network, addr)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// isProgram returns an error if COMMAND cannot be run.
func isProgram(name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("COMMAND %s: %w", printable(name), reasonOf(errors.Unwrap(err)))
	}
	return nil
}

// restart is the Restart of a check.Server, which is called before the first case too. It
// ends the process, starts a new one, and waits until it listens.
func (p *process) restart(ctx context.Context) error {
	if p.fresh {
		p.fresh = false
		return nil
	}
	p.stop()
	if p.exchange(ctx, p.addrs[0]) == nil {
		return errors.New("another program already answers there")
	}
	group, err := p.launch(ctx)
	if err != nil {
		return err
	}
	return p.await(ctx, group)
}

func (p *process) launch(ctx context.Context) (*procgroup.Group, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil { // stop has been called for the last time
		return nil, context.Cause(ctx)
	}
	group := &procgroup.Group{Adopt: true} // this program starts no other commands
	if err := group.Start(exec.Command(p.args[0], p.args[1:]...)); err != nil {
		return nil, err
	}
	p.group = group
	return group, nil
}

// await waits until the process answers, or until it listens and has had enough time to
// answer. The cases then find out why it does not.
func (p *process) await(ctx context.Context, group *procgroup.Group) error {
	limit := time.NewTimer(p.limit)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var since time.Time // when it was first seen to listen
	for {
		addr, err := p.try(ctx)
		listens := !isUnreached(err)
		if listens && since.IsZero() {
			since = time.Now()
		}
		if err == nil || listens && time.Since(since) >= p.answer {
			p.addrs = []string{addr}
			return nil
		}
		select {
		case <-group.Exited():
			p.stop()
			return fmt.Errorf("COMMAND ended before it answered at %s: %s%s", addr, exitText(group.Err()), printed(group))
		case <-limit.C:
			p.stop()
			return fmt.Errorf("COMMAND does not listen at %s after %v: %w%s", addr, p.limit, err, printed(group))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// try makes an exchange at the first address where the process listens. If it listens at
// none, try returns the first address and its error.
func (p *process) try(ctx context.Context) (addr string, err error) {
	if len(p.addrs) == 1 {
		return p.addrs[0], p.exchange(ctx, p.addrs[0])
	}
	for _, a := range p.addrs {
		limited, cancel := context.WithTimeout(ctx, tryLimit)
		e := p.exchange(limited, a)
		cancel()
		if !isUnreached(e) {
			return a, e
		}
		if addr == "" {
			addr, err = a, e
		}
	}
	return addr, err
}

// printed returns the end of a group's output, for the text of an error.
func printed(group *procgroup.Group) string {
	lines := strings.Split(strings.TrimSpace(group.Output()), "\n")
	if lines[0] == "" {
		return "; it printed nothing"
	}
	const most = 5
	text := "; it printed:"
	for _, line := range lines[max(0, len(lines)-most):] {
		text += "\n  | " + printable(strings.TrimRight(line, "\r"))
	}
	return text
}

func exitText(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0"
	case errors.As(err, &exit):
		return exit.Error()
	}
	return err.Error()
}

// stop ends the process.
func (p *process) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.group == nil {
		return
	}
	p.left = errors.Join(p.left, p.group.End())
	p.group = nil
}

// endWith ends the process as soon as ctx ends. The function that it returns ends the
// process in any case, and prints what could not be ended.
func (p *process) endWith(ctx context.Context, errs io.Writer) (end func()) {
	unwatch := context.AfterFunc(ctx, p.stop)
	return func() {
		unwatch()
		p.stop()
		if p.left != nil {
			fmt.Fprintf(errs, "bothends: %v\n", p.left)
		}
	}
}
