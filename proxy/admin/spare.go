package admin

import (
	"net"
	"os"
	"sync"

	"github.com/bothends/bothends/internal/errno"
)

// Spare returns ln with n spare descriptors. If the process has no others left, Accept uses
// them. With it, an API can list and remove proxies when their connections have used up
// the descriptors.
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

// Accept releases spare descriptors one by one, because another goroutine may take one.
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

// fill opens the spare descriptors that are missing, as far as the limit allows.
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

// Close closes all spare descriptors too.
func (s *spare) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for s.take() {
	}
	return s.Listener.Close()
}

// A sparing connection refills the spare descriptors when it is closed.
type sparing struct {
	net.Conn
	fill func()
}

func (c *sparing) Close() error {
	err := c.Conn.Close()
	c.fill()
	return err
}
