package proxy_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/proxy"
)

// ways measures without a proxy, and with one in this process. For bench/proxy.sh it
// measures the proxy of another process at BENCH_PROXY, whose target is BENCH_TARGET, where
// the benchmark listens.
func ways(b *testing.B, measure func(*testing.B, string)) {
	if through := os.Getenv("BENCH_PROXY"); through != "" {
		benchTarget(b, os.Getenv("BENCH_TARGET"))
		measure(b, through)
		return
	}
	direct := benchTarget(b, "127.0.0.1:0")
	b.Run("direct", func(b *testing.B) { measure(b, direct) })
	b.Run("proxy", func(b *testing.B) { measure(b, benchProxy(b, direct, fault.Fault{})) })
	never := fault.Corrupt(1 << 60)
	b.Run("proxy-copying", func(b *testing.B) { measure(b, benchProxy(b, direct, never)) })
}

func benchProxy(b *testing.B, target string, f fault.Fault) (address string) {
	p := &proxy.Proxy{Target: target, Requests: f, Replies: f}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	b.Cleanup(func() { p.Close(); <-served })
	return ln.Addr().String()
}

// benchTarget sends the requested number of octets on each connection.
func benchTarget(b *testing.B, address string) string {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answerBench(c)
			}()
		}
	}()
	b.Cleanup(func() { ln.Close(); <-served })
	return ln.Addr().String()
}

func answerBench(c net.Conn) {
	request, piece := make([]byte, 16), make([]byte, 256<<10)
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		for left := binary.BigEndian.Uint64(request); left > 0; {
			n, err := c.Write(piece[:min(left, uint64(len(piece)))])
			if err != nil {
				return
			}
			left -= uint64(n)
		}
	}
}

func benchDial(b *testing.B, address string) net.Conn {
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

func benchAsk(b *testing.B, c net.Conn, octets int, into []byte) {
	request := make([]byte, 16)
	binary.BigEndian.PutUint64(request, uint64(octets))
	if _, err := c.Write(request); err != nil {
		b.Fatal(err)
	}
	for got := 0; got < octets; {
		n, err := c.Read(into[:min(len(into), octets-got)])
		if got += n; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkThroughput sends a mebibyte on one connection.
func BenchmarkThroughput(b *testing.B) {
	ways(b, func(b *testing.B, address string) {
		c := benchDial(b, address)
		defer c.Close()
		into := make([]byte, 256<<10)
		benchAsk(b, c, 16<<20, into) // the buffers have grown
		b.SetBytes(1 << 20)
		b.ResetTimer()
		benchAsk(b, c, b.N<<20, into)
	})
}

// BenchmarkRoundTrip sends 16 octets each way on an open connection.
func BenchmarkRoundTrip(b *testing.B) {
	ways(b, func(b *testing.B, address string) {
		c := benchDial(b, address)
		defer c.Close()
		into := make([]byte, 16)
		benchAsk(b, c, 16, into)
		b.ResetTimer()
		for range b.N {
			benchAsk(b, c, 16, into)
		}
	})
}

// BenchmarkConnection does the same on a new connection, and closes it.
func BenchmarkConnection(b *testing.B) {
	ways(b, func(b *testing.B, address string) {
		into := make([]byte, 16)
		for range b.N {
			c := benchDial(b, address)
			benchAsk(b, c, 16, into)
			c.Close()
		}
	})
}
