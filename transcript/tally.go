package transcript

import (
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/bothends/bothends"
)

// A Tally counts the connections of a server, its exchanges, and how the
// connections ended. The zero value is ready.
type Tally struct {
	mu        sync.Mutex
	accepted  int
	exchanges int
	ended     int
	outcomes  map[bothends.Outcome]int
}

// Trace is for the TraceConn of a bothends.Server.
func (t *Tally) Trace(net.Conn) *bothends.Trace {
	return &bothends.Trace{
		Accepted:  func(bothends.Connection) { t.count(func() { t.accepted++ }) },
		Exchanged: func(bothends.Exchange) { t.count(func() { t.exchanges++ }) },
		Done: func(err error) {
			t.count(func() {
				if t.outcomes == nil {
					t.outcomes = make(map[bothends.Outcome]int)
				}
				t.ended++
				t.outcomes[bothends.Classify(err)]++
			})
		},
	}
}

func (t *Tally) count(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

// Open is how many connections have not ended.
func (t *Tally) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.accepted - t.ended
}

// String is one line: 3 connections, 2 exchanges: 2 ok, 1 short.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	for _, o := range bothends.Outcomes() {
		if n := t.outcomes[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %v", n, o))
		}
	}
	if open := t.accepted - t.ended; open > 0 {
		parts = append(parts, fmt.Sprintf("%d open", open))
	}
	s := plural(t.accepted, "connection") + ", " + plural(t.exchanges, "exchange")
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
