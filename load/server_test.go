package load_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/memnet"
)

// The generator's own truth: against a server with a known distribution of delays,
// each percentile is the injected one, within the histogram's precision. The server,
// the client and the clock are all here, so nothing else takes time.
func TestServerOfKnownDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(3, 4))
		var mu sync.Mutex
		var delays []time.Duration
		ln := memnet.Listen()
		s := &bothends.Server{Reply: func(context.Context, *bothends.Request) ([]byte, error) {
			mu.Lock()
			d := time.Duration(math.Exp(random.NormFloat64()) * 5e6) // log-normal, about 5 ms
			delays = append(delays, d)
			mu.Unlock()
			time.Sleep(d)
			return []byte(bothends.DefaultReply), nil
		}}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		client := &bothends.Client{Dial: ln.Dial}
		total, _ := run(t, &load.Runner{
			Pacer: load.Poisson(500, 1), Duration: 20 * time.Second, Workers: 500,
			Do: func(ctx context.Context) error {
				_, err := client.Exchange(ctx, "localhost:1060", []byte(bothends.DefaultRequest))
				return err
			},
		})
		s.Close()
		<-served
		slices.Sort(delays)
		if n := total.Outcomes["ok"]; n != int64(len(delays)) || n < 9000 {
			t.Fatalf("%v, and the server made %d", total.Outcomes, len(delays))
		}
		for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
			k := int(math.Ceil(q * float64(len(delays))))
			low, high := delays[max(k-2, 0)], delays[min(k, len(delays)-1)] // its neighbours, for the rank is rounded
			for name, h := range map[string]*load.Histogram{"from the due time": &total.Latency, "of the service time": &total.Service} {
				if got := h.Quantile(q); got < low-low/1000 || got > high+high/1000 {
					t.Errorf("p%v %s: %v, want %v to %v", 100*q, name, got, low, high)
				}
			}
		}
	})
}
