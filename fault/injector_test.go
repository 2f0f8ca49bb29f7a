package fault

import (
	"math"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bothends/bothends/memnet"
)

// struck is which faults the Injector's next connections get.
func struck(i *Injector, connections int) []string {
	all := make([]string, connections)
	for n := range all {
		all[n] = Fault{i.next().sends}.String()
	}
	return all
}

func TestFailFirst(t *testing.T) {
	f := Join(FailFirst(2, Close(8)), FailFirst(3, FailFirst(1, Reset(0))), FailFirst(1, FailFirst(3, Stall(0))))
	want := []string{"close:8+reset:0+stall:0", "close:8", "", ""}
	if got := struck(New(f, 0), 4); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// All connections count, not those alone that the condition around it lets by.
	all := New(Sometimes(0.5, FailFirst(100, Close(0))), 7)
	if n := strings.Count(strings.Join(struck(all, 1000), " "), "close"); n < 30 || n > 70 {
		t.Errorf("%d of the first 100, at 50 %%", n)
	}
}

func TestConditionsThatHoldForNobody(t *testing.T) {
	a, _ := memnet.Pipe()
	i := New(FailFirst(1, Close(8)), 0)
	if c := i.Conn(a); c == net.Conn(a) {
		t.Error("the first connection has no fault")
	}
	if c := i.Conn(a); c != net.Conn(a) {
		t.Errorf("the second is a %T", c)
	}
}

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New(For(5*time.Second, Close(8)), 0)
		time.Sleep(5*time.Second - 1)
		if got := struck(i, 1); got[0] != "close:8" {
			t.Errorf("in time: %q", got)
		}
		time.Sleep(time.Nanosecond)
		if got := struck(i, 1); got[0] != "" {
			t.Errorf("after it: %q", got)
		}
	})
}

func TestSometimes(t *testing.T) {
	const n = 10_000
	f := Join(Sometimes(0.2, Close(8)), Sometimes(0.5, Join(Stall(1), Sometimes(0.5, Reset(0)))))
	all := struck(New(f, 1), n)
	for what, want := range map[string]float64{
		"close:8": 0.2, "stall:1": 0.5, "reset:0": 0.25, "close:8+stall:1": 0.1, "stall:1+reset:0": 0.25,
	} {
		hits := 0
		for _, s := range all {
			if strings.Contains(s, what) {
				hits++
			}
		}
		if got, off := float64(hits)/n, 4*math.Sqrt(want*(1-want)/n); math.Abs(got-want) > off {
			t.Errorf("%s struck %.3f of the connections, want %.3f", what, got, want)
		}
	}
	if !reflect.DeepEqual(all, struck(New(f, 1), n)) {
		t.Error("the same seed gave another run")
	}
	if reflect.DeepEqual(all, struck(New(f, 2), n)) {
		t.Error("two seeds gave the same run")
	}
}

// The numbers that a seed gives are kept from version to version: people note seeds.
func TestSeedIsKept(t *testing.T) {
	var got strings.Builder
	for _, s := range struck(New(Sometimes(0.5, Close(8)), 42), 32) {
		got.WriteByte("-x"[len(s)/7])
	}
	if want := "-x----x-xx-x-x-----xxxxxxx-x-x--"; got.String() != want {
		t.Errorf("seed 42: %s, want %s", &got, want)
	}
}

// Another fault beside it, or connections at the same time, change no decision.
func TestSometimesDependsOnNothingElse(t *testing.T) {
	const n = 1000
	f := Sometimes(0.3, Close(8))
	want := strings.Count(strings.Join(struck(New(f, 9), n), " "), "close")
	synctest.Test(t, func(t *testing.T) {
		i := New(Join(f, For(time.Second, Delay(1)), FailFirst(3, Stall(0))), 9)
		all := make([]string, n)
		var conns sync.WaitGroup
		for k := range all {
			conns.Go(func() {
				time.Sleep(time.Duration(k*7919%n) * time.Millisecond * 2)
				all[k] = (Fault{i.next().sends}).String()
			})
		}
		conns.Wait()
		if got := strings.Count(strings.Join(all, " "), "close"); got != want {
			t.Errorf("%d connections struck, %d alone", got, want)
		}
	})
}
