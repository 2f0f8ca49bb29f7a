package proxy

import (
	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/proxytest"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// awaitFiles waits for a number of open files.
func awaitFiles(t *testing.T, when string, want int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); openFiles(t) != want; <-tick.C {
		if time.Since(start) > 2*time.Second {
			t.Fatalf("%s: %d open files, want %d", when, openFiles(t), want)
		}
	}
}

// A connection has two descriptors, four during a transfer, and none after its end.
func TestDescriptors(t *testing.T) {
	const connections, much = 20, 16 << 20
	p := launch(t, &Proxy{Target: proxytest.Target(t, echo)})
	p.dial().Close() // opens what is opened once
	p.want(EndedFIN, 0, 0)
	before := openFiles(t)
	var clients []*net.TCPConn
	for range connections {
		c := p.dial()
		for range 3 {
			c.Write([]byte("Hi there, server"))
			if _, err := io.ReadFull(c, make([]byte, 16)); err != nil {
				t.Fatal(err)
			}
		}
		clients = append(clients, c)
	}
	const idle = connections * (2 + 2) // the test has two for each as well
	awaitFiles(t, "idle", before+idle)

	received := make(chan int)
	go func() {
		n, most := 0, 0
		for p := make([]byte, 1<<20); n < much; {
			got, err := clients[0].Read(p)
			if err != nil {
				break
			}
			n += got
			most = max(most, openFiles(t))
		}
		received <- most
	}()
	clients[0].Write(make([]byte, much))
	if most := <-received; most > before+idle+3 { // and the directory that is read
		t.Errorf("%d open files in a transfer, %d when idle", most-before, idle)
	}
	awaitFiles(t, "after a transfer", before+idle)

	// Many small messages in a row are not worth a pipe.
	clients[0].Write(make([]byte, 1<<20))
	if _, err := io.ReadFull(clients[0], make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	for range 4 * fewReads {
		clients[0].Write([]byte("Hi there, server"))
		if _, err := io.ReadFull(clients[0], make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
	}
	if n := openFiles(t); n != before+idle {
		t.Errorf("small messages: %d open files, want %d", n, before+idle)
	}
	for _, c := range clients {
		c.Close()
	}
	for range clients {
		p.next()
	}
}

// Octets that are in the pipe of a transfer when a fault is set pass it.
func TestPipeIsDrainedThroughFaults(t *testing.T) {
	p := launch(t, &Proxy{Target: proxytest.Target(t, echo), Replies: fault.Corrupt(0)})
	c := p.dial()
	awaitOpen(p)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	w.WriteString("ping")
	s := p.openSessions()[0]
	if err := s.drainThroughFaults(&s.replies, int(r.Fd()), 4); err != errChanged {
		t.Error(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(c, got); string(got) != "qing" {
		t.Errorf("%q, %v", got, err)
	}
}
