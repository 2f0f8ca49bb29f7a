package admin

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
)

// An exhausted listener has only the spare descriptors.
type exhausted struct {
	net.Listener
	*spare
}

func (e *exhausted) Accept() (net.Conn, error) {
	if len(e.spare.files) > 1 { // another goroutine takes the first one
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	near, far := net.Pipe()
	far.Close()
	return near, nil
}

func (e *exhausted) Close() error   { return nil }
func (e *exhausted) Addr() net.Addr { return nil }

func TestSpareDescriptors(t *testing.T) {
	inner := new(exhausted)
	ln := Spare(inner, 3)
	inner.spare = ln.(*spare)
	c, err := ln.Accept()
	if err != nil || len(inner.files) != 1 {
		t.Fatalf("%v, %d spare", err, len(inner.files))
	}
	c.Close()
	if len(inner.files) != 3 {
		t.Errorf("%d spare after Close", len(inner.files))
	}
	inner.spare.n = 0
	inner.spare = &spare{files: make([]*os.File, 2)}
	for ln.(*spare).take() {
	}
	if _, err := ln.Accept(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("with none left: %v", err)
	}
	ln.Close()
}
