package transcript

import (
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/bothends/bothends"
)

// A Tally counts the connections of a server and its exchanges, and how they ended. It
// counts as many exchanges as a JSON writes lines. The zero value is ready to use.
type Tally struct {
	mu          sync.Mutex
	open        int
	connections counts // that have ended
	exchanges   counts
}

// Trace is for the TraceConn of a bothends.Server.
func (t *Tally) Trace(net.Conn) *bothends.Trace {
	return &bothends.Trace{
		Accepted: func(bothends.Connection) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.open++
		},
		Exchanged: func(bothends.Exchange) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.exchanges.add(bothends.OK)
		},
		Done: func(err error) {
			outcome := bothends.Classify(err)
			t.mu.Lock()
			defer t.mu.Unlock()
			t.open--
			t.connections.add(outcome)
			if err != nil { // else it was closed after an exchange, which is counted
				t.exchanges.add(outcome)
			}
		},
	}
}

// Open returns the number of connections that have not ended.
func (t *Tally) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// Connections returns one line that adds up: 3 connections: 1 ok, 1 short, 1 open.
func (t *Tally) Connections() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.connections.line("connection", t.open)
}

// Exchanges returns one line that adds up: 5 exchanges: 4 ok, 1 short. A persistent
// connection has any number of exchanges. The last one of a connection that failed has
// that outcome. What has not ended is not counted.
func (t *Tally) Exchanges() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.exchanges.line("exchange", 0)
}

// counts is a number for each outcome.
type counts map[bothends.Outcome]int

func (c *counts) add(o bothends.Outcome) {
	if *c == nil {
		*c = make(counts)
	}
	(*c)[o]++
}

func (c counts) line(what string, open int) string {
	var parts []string
	sum := open
	for _, o := range bothends.Outcomes() {
		if n := c[o]; n > 0 {
			sum += n
			parts = append(parts, fmt.Sprintf("%d %v", n, o))
		}
	}
	if open > 0 {
		parts = append(parts, fmt.Sprintf("%d open", open))
	}
	if len(parts) == 0 {
		return plural(sum, what)
	}
	return plural(sum, what) + ": " + strings.Join(parts, ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
