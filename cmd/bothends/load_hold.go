package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bothends/bothends"
)

// idleConns are connections that are open during the load, without exchanges.
type idleConns struct {
	conns []net.Conn
	gone  atomic.Int64
	ended sync.WaitGroup
}

func holdIdle(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), addr string, n int) (*idleConns, error) {
	held := new(idleConns)
	for range n {
		limited, cancel := context.WithTimeout(ctx, bothends.DefaultTimeout)
		conn, err := dial(limited, "tcp", addr)
		cancel()
		if err != nil {
			held.close()
			return nil, fmt.Errorf("idle connection %d of %d: %w", len(held.conns)+1, n, err)
		}
		held.conns = append(held.conns, conn)
		held.ended.Go(func() {
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				held.gone.Add(1)
			}
		})
	}
	return held, nil
}

// lost returns the number of connections that the server has ended.
func (h *idleConns) lost() int64 { return h.gone.Load() }

func (h *idleConns) close() {
	for _, c := range h.conns {
		c.Close()
	}
	h.ended.Wait()
}

// sleepUnless waits for d, or until ctx ends.
func sleepUnless(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
