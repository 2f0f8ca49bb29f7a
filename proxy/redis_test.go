package proxy_test

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/bothends/bothends/fault"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/internal/need"
	"github.com/bothends/bothends/proxy"
)

// startRedis runs a Redis server until the test is over, and returns its address.
func startRedis(t *testing.T) (address string) {
	t.Helper()
	program := need.Program(t, "redis-server", "redis-server")
	socket := filepath.Join(t.TempDir(), "redis.sock")
	server := exec.Command(program, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	ready := time.NewTicker(5 * time.Millisecond)
	defer ready.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-ready.C {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return "unix:" + socket
		}
	}
	t.Fatal("the Redis server did not start")
	return ""
}

// redisClient returns a client without retries: what the proxy does is what a command gets.
// Commands one after the other use one connection of the pool.
func redisClient(t *testing.T, address string) *redis.Client {
	client := redis.NewClient(&redis.Options{
		Addr: address, PoolSize: 5, MaxRetries: -1, Protocol: 2, DisableIdentity: true,
		ReadTimeout: 5 * time.Second, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { client.Close() })
	return client
}

// The pooled connection of a Redis client meets six faults that are set, changed and
// cleared while it is open.
func TestRedisPoolMeetsFaults(t *testing.T) {
	p := &proxy.Proxy{Target: startRedis(t)}
	ln := listener(t)
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	t.Cleanup(func() { p.Close(); <-served })
	client, ctx := redisClient(t, ln.Addr().String()), context.Background()
	id := func() int64 {
		t.Helper()
		n, err := client.ClientID(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	set := func(on proxy.Direction, f fault.Fault) {
		if err := p.SetFault(on, f); err != nil {
			t.Error(err)
		}
	}
	first := id()

	const slow = 20 * time.Millisecond
	for name, f := range map[string]fault.Fault{"delay": fault.Delay(slow), "drip": fault.Drip(1, 5*time.Millisecond), "rate": fault.Rate(300)} {
		set(proxy.Replies, f)
		start := time.Now()
		if pong, err := client.Ping(ctx).Result(); pong != "PONG" || err != nil || time.Since(start) < slow {
			t.Errorf("%s: %q, %v after %v", name, pong, err, time.Since(start))
		}
	}
	set(proxy.Replies, fault.Fault{})

	set(proxy.Requests, fault.Stall(3))
	start := time.Now()
	time.AfterFunc(slow, func() { set(proxy.Requests, fault.Fault{}) })
	if pong, err := client.Ping(ctx).Result(); pong != "PONG" || err != nil || time.Since(start) < slow {
		t.Errorf("a stall that is taken away: %q, %v after %v", pong, err, time.Since(start))
	}
	if got := id(); got != first || p.Accepted() != 1 {
		t.Errorf("connection %d, the first one was %d; %d were accepted", got, first, p.Accepted())
	}

	set(proxy.Replies, fault.Corrupt(0))
	if pong, err := client.Ping(ctx).Result(); err == nil {
		t.Errorf("corrupt: %q", pong)
	}
	set(proxy.Replies, fault.Fault{})
	second := id()
	set(proxy.Replies, fault.Reset(3))
	if pong, err := client.Ping(ctx).Result(); !errno.Reset.Has(err) {
		t.Errorf("reset: %q, %v", pong, err)
	}
	set(proxy.Replies, fault.Fault{})
	if third := id(); third == second {
		t.Error("the connection that was reset is used again")
	}
	redisAndTheListener(t, p, client)
}

// redisAndTheListener closes the connections of a client, and then the listener.
func redisAndTheListener(t *testing.T, p *proxy.Proxy, client *redis.Client) {
	ctx := context.Background()
	accepted := p.Accepted()
	p.DropConns()
	client.Ping(ctx) // may fail, if the pool has not noticed
	if pong, err := client.Ping(ctx).Result(); pong != "PONG" || err != nil || p.Accepted() != accepted+1 {
		t.Errorf("after DropConns: %q, %v, %d accepted", pong, err, p.Accepted()-accepted)
	}
	if err := p.Disable(); err != nil {
		t.Fatal(err)
	}
	client.Ping(ctx)
	if pong, err := client.Ping(ctx).Result(); !errno.Refused.Has(err) {
		t.Errorf("disabled: %q, %v", pong, err)
	}
	if err := p.Enable(); err != nil {
		t.Fatal(err)
	}
	if pong, err := client.Ping(ctx).Result(); pong != "PONG" || err != nil {
		t.Errorf("enabled: %q, %v", pong, err)
	}
}
