package proxy

import (
	"net"
	"os"
	"sync"

	"github.com/bothends/bothends/internal/errno"
)

// Spare returns ln with n descriptors of its own. When the process has no others left,
// Accept uses them. It is for an API that must answer when connections have used up the
// descriptors: then it shows which, and removes them.
func Spare(ln net.Listener, n int) net.Listener {
	s := &spare{Listener: ln, n: n}
	s.fill()
	return s
}

type spare struct {
	net.Listener
	n int

	mu     sync.Mutex
	files  []*os.File
	closed bool
}

// Accept gives up spare descriptors one by one: another goroutine may be faster.
func (s *spare) Accept() (net.Conn, error) {
	s.fill()
	for {
		c, err := s.Listener.Accept()
		if err == nil {
			return &sparing{Conn: c, fill: s.fill}, nil
		}
		if !errno.Exhausted.Has(err) || !s.take() {
			return nil, err
		}
	}
}

// fill opens what is missing, as far as there are descriptors.
func (s *spare) fill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && len(s.files) < s.n {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		s.files = append(s.files, f)
	}
}

func (s *spare) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == 0 {
		return false
	}
	last := len(s.files) - 1
	s.files[last].Close()
	s.files = s.files[:last]
	return true
}

// Close gives up all spare descriptors.
func (s *spare) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for s.take() {
	}
	return s.Listener.Close()
}

// A sparing connection gives its descriptor back when it is closed.
type sparing struct {
	net.Conn
	fill func()
}

func (c *sparing) Close() error {
	err := c.Conn.Close()
	c.fill()
	return err
}
