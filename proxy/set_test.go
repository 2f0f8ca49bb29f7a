package proxy

import (
	"context"
	"errors"
	"github.com/bothends/bothends/internal/proxytest"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bothends/bothends/internal/need"
)

// set returns a Set that is closed with the test, and the reports of its connections.
func set(t testing.TB) (*Set, chan Connection) {
	ended := make(chan Connection, 100)
	s := &Set{Done: func(c Connection) { ended <- c }}
	t.Cleanup(func() { s.Close() })
	return s, ended
}

// A zone starts with %, and the name of an interface may contain other characters.
func TestNameFromAnAddressWithAZone(t *testing.T) {
	specs := []Spec{{Listen: "[::1%lo]:7434", Target: "[fe80::1%eth@0]:1"}}
	if err := CheckSpecs(specs); err != nil || specs[0].Name != "[::1-lo]:7434" || specs[0].Listen != "[::1%lo]:7434" {
		t.Errorf("%+v, %v", specs, err)
	}
	s, _ := set(t)
	added, err := s.Add(context.Background(), Spec{Listen: "[::1%lo]:0", Target: "127.0.0.1:1"})
	if errors.As(err, new(*SpecError)) {
		t.Fatal(err)
	} else if err != nil {
		need.Skip(t, "IPv6 on an interface lo")
	}
	seed := uint64(1)
	if _, err := s.Change(context.Background(), added.Name, Change{Seed: &seed}); err != nil || strings.Contains(added.Name, "%") {
		t.Errorf("%+v, %v", added, err)
	}
}

func TestSetShutdown(t *testing.T) {
	s, ended := set(t)
	added, err := s.Add(context.Background(), Spec{Listen: "127.0.0.1:0", Target: proxytest.Target(t, proxytest.Answers("ok", 4))})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", added.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for s.Open() == 0 {
	}
	soon, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := s.Shutdown(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := s.Add(context.Background(), Spec{Listen: "127.0.0.1:0", Target: "127.0.0.1:1"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	io.WriteString(c, "ping")
	if reply, how := proxytest.HowItEnds(t, c); reply != "ok" || how != "fin" {
		t.Errorf("%q, %s", reply, how)
	}
	c.Close()
	if err := s.Shutdown(context.Background()); err != nil || len(ended) != 1 {
		t.Errorf("%v, %d reported", err, len(ended))
	}
}
