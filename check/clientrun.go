package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/bothends/bothends/internal/procgroup"
)

// How a case runs the client.

// An ending is how a client has ended.
type ending struct {
	how     string // "exit 0", "no error"
	failed  bool   // the client reports that the exchange failed
	crashed bool   // by a signal
	late    bool   // not within the limit
	took    time.Duration
	output  string
	left    error // processes that could not be ended
}

// A running is a client under way.
type running interface {
	end() (ending, error) // waits for the end, at most for the limit
	wait()                // waits until nothing of the client is left; the server has closed
}

func (s *clientSuite) start(ctx context.Context, addr net.Addr) running {
	if s.Exchange != nil {
		return s.call(ctx, addr.String())
	}
	return &command{suite: s, ctx: ctx, addr: addr.String()}
}

// A call is a call of Client.Exchange.
type call struct {
	ctx      context.Context // of the run
	limit    time.Duration
	start    time.Time
	cancel   context.CancelFunc
	returned chan error // has one error, which is also that of wait
	ended    bool
}

func (s *clientSuite) call(ctx context.Context, addr string) *call {
	c := &call{ctx: ctx, limit: s.Limit, start: time.Now(), returned: make(chan error, 1)}
	ctx, c.cancel = context.WithCancel(ctx)
	go func() { c.returned <- s.Exchange(ctx, addr) }()
	return c
}

func (c *call) end() (e ending, _ error) {
	timer := time.NewTimer(c.limit)
	defer timer.Stop()
	select {
	case err := <-c.returned:
		c.ended = true
		e.how, e.failed = "no error", err != nil
		if e.failed {
			e.how = fmt.Sprintf("error %q", err)
		}
	case <-timer.C:
		e.late = true
	case <-c.ctx.Done():
	}
	e.took = time.Since(c.start)
	return e, nil
}

func (c *call) wait() {
	c.cancel()
	if !c.ended {
		<-c.returned
	}
}

// A command is a run of Client.Command.
type command struct {
	suite *clientSuite
	ctx   context.Context
	addr  string
}

func (c *command) end() (e ending, err error) {
	if len(c.suite.Command) == 0 {
		return e, errors.New("the client has neither Command nor Exchange")
	}
	cmd := c.cmd()
	group := procgroup.Group{Adopt: c.suite.Adopt}
	start := time.Now()
	if err := group.Start(cmd); err != nil {
		return e, fmt.Errorf("the command could not be started: %w", err)
	}
	timer := time.NewTimer(c.suite.Limit)
	defer timer.Stop()
	select {
	case <-group.Exited():
	case <-timer.C:
		e.late = true
	case <-c.ctx.Done():
	}
	e.took = time.Since(start)
	e.left = group.End() // and what it has left behind
	e.output = group.Output()
	e.failed, e.crashed = true, true
	select {
	case <-group.Exited():
		status := cmd.ProcessState.ExitCode() // -1 if a signal ended it
		e.how, e.failed, e.crashed = fmt.Sprintf("exit %d", status), status != 0, status == -1
	default: // it could not be ended
	}
	return e, nil
}

// wait does nothing: end has ended the command.
func (c *command) wait() {}

// cmd returns the command with the address of the server.
func (c *command) cmd() *exec.Cmd {
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		host, port = c.addr, ""
	}
	replacer := strings.NewReplacer("{addr}", c.addr, "{host}", host, "{port}", port)
	args := make([]string, len(c.suite.Command))
	for i, a := range c.suite.Command {
		args[i] = replacer.Replace(a)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "BOTHENDS_ADDR="+c.addr, "BOTHENDS_HOST="+host, "BOTHENDS_PORT="+port)
	return cmd
}
