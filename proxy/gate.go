package proxy

import (
	"net"
	"sync"

	"github.com/bothends/bothends/fault"
)

// A gate is a proxy's listener under a fault on connecting. It can be closed without
// closing the listener, so that another fault takes its place.
type gate struct {
	net.Listener // what Accept is called on: sill, or a fault on it
	sill         *sill
}

// newGate returns a gate for ln; dropped is told of the connections that the fault
// does not let in.
func newGate(ln *net.TCPListener, i *fault.Injector, plain bool, dropped func(*side)) *gate {
	ln.SetDeadline(noDeadline)
	s := &sill{TCPListener: ln}
	if plain {
		return &gate{s, s}
	}
	s.dropped = dropped
	return &gate{i.Listen(s), s}
}

// accept returns the client's side, and the connection that holds the fault on it, if
// one is to strike before it is let in.
func (g *gate) accept() (client *side, admission net.Conn, err error) {
	c, err := g.Accept()
	if err != nil {
		return nil, nil, err
	}
	client, plain := c.(*side)
	if !plain {
		admission = c
		client = c.(interface{ NetConn() net.Conn }).NetConn().(*side)
	}
	client.dropped = nil
	return client, admission, nil
}

// A sill is the listener as the fault sees it.
type sill struct {
	*net.TCPListener
	dropped func(*side)
	closing sync.Once
}

func (s *sill) Accept() (net.Conn, error) {
	c, err := s.AcceptTCP()
	if err != nil {
		return nil, err
	}
	client := newSide(c)
	client.dropped = s.dropped
	return client, nil
}

// Close ends Accept, and leaves the listener as it was before the fault.
func (s *sill) Close() error {
	s.closing.Do(func() {
		s.SetDeadline(longAgo)
		listenAgain(s.TCPListener)
	})
	return nil
}
