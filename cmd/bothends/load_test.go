package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/load/exchange"
	"github.com/bothends/bothends/memnet"
)

func TestLimits(t *testing.T) {
	total := &load.Interval{End: 11 * time.Second, Wait: time.Second, Outcomes: map[string]int64{"ok": 990, "reset": 8, "canceled": 2}, Succeeded: 990, Unsent: 1000}
	for n := range 1000 {
		total.Latency.Record(time.Duration(n+1) * time.Millisecond)
		total.Service.Record(time.Millisecond)
	}
	for text, want := range map[string]string{
		"p99>5ms":          "p99>5ms: it is 990",
		"p99>2s":           "",
		" p50 > 400ms ":    "p50 > 400ms: it is 500",
		"p99.9<5s":         "p99.9<5s: it is ",
		"max>999ms":        "max>999ms: it is 1",
		"mean>1s":          "",
		"service.p99>2ms":  "",
		"service.max>10µs": "service.max>10µs: it is 1",
		"errors>7":         "errors>7: it is 8",
		"errors>8":         "",
		"errors>0.7%":      "errors>0.7%: it is 0.8%",
		"errors>0.8%":      "",
		"unsent>10%":       "unsent>10%: it is 50%",
		"rate<101":         "rate<101: it is 100.0/s",
		"rate<100":         "",
		"throughput<100":   "throughput<100: it is 90.0/s",
		"throughput<90":    "",
	} {
		l, err := parseLimit(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		broken, instead := l.brokenBy(total)
		got := ""
		if broken {
			got = l.text + ": " + instead
		}
		if broken != (want != "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	failed := &load.Interval{End: time.Second, Outcomes: map[string]int64{"refused": 50}}
	for _, text := range []string{"p99<1s", "service.mean<1s"} {
		l, _ := parseLimit(text)
		if broken, instead := l.brokenBy(failed); !broken || instead != "there is none, no exchange was measured" {
			t.Errorf("%s of nothing: %v, %s", text, broken, instead)
		}
	}
	for _, text := range []string{"", "p99", "p99>", "p99>5", "p99>5%", "p100>1s", "p99=5ms", "errors>5ms", "rate>5%", "p99>5ms x", "latency>1s", "errors>1..2", "throughput>5%"} {
		if l, err := parseLimit(text); err == nil {
			t.Errorf("%q is taken for %+v", text, l)
		}
	}
}

func TestSources(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1":                   "127.0.0.1:0 127.0.0.1:0 127.0.0.1:0",
		"127.0.0.1-127.0.0.3":         "127.0.0.1:0 127.0.0.2:0 127.0.0.3:0 127.0.0.1:0",
		":20000-20001":                ":20000 :20001 :20000",
		":20000":                      ":20000 :20000",
		"127.0.0.1-127.0.0.2:700-701": "127.0.0.1:700 127.0.0.2:700 127.0.0.1:701 127.0.0.2:701 127.0.0.1:700",
		"::1-::2":                     "[::1]:0 [::2]:0 [::1]:0",
		"[::1]:700-701":               "[::1]:700 [::1]:701",
	} {
		var f sourceFlag
		if err := f.Set(text); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for n := range strings.Fields(want) {
			got = append(got, f.at(uint64(n)).String())
		}
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for _, text := range []string{"", "here", "127.0.0.2-127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", ":5-4", ":70000", "10.0.0.0-10.255.255.255", "127.0.0.1-::1", "127.0.0.1-"} {
		var f sourceFlag
		if err := f.Set(text); err == nil {
			t.Errorf("%q is taken for %v, ports %d to %d", text, f.addrs, f.low, f.high)
		}
	}
}

// An address, or a port, that is used up is passed over, and each is tried once.
func TestSourcesThatAreUsedUp(t *testing.T) {
	t.Parallel()
	server := accepting(t, func(net.Conn) {})
	taken, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for text, want := range map[string]string{"127.0.0.2-127.0.0.3:" + port + "-" + port: "127.0.0.3", "127.0.0.2:" + port + "-" + port: ""} {
		var f sourceFlag
		if err := f.Set(text); err != nil {
			t.Fatal(err)
		}
		conn, err := f.dial(t.Context(), "tcp", server)
		got := ""
		if err == nil {
			got, _, _ = net.SplitHostPort(conn.LocalAddr().String())
			conn.Close()
		}
		if tried := f.next.Load(); got != want || tried > uint64(len(f.addrs)) {
			t.Errorf("%s: from %q, %v, with %d tries", text, got, err, tried)
		}
	}
	for call, want := range map[string]bool{"connect": true, "bind": false} {
		err := &net.OpError{Op: "dial", Err: os.NewSyscallError(call, syscall.EADDRNOTAVAIL)}
		if isUsedUp(err) != want {
			t.Errorf("%v is used up: %v", err, !want)
		}
	}
}

func TestStartAt(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"15:30:01":             now.Add(time.Second),
		"15:29":                now.Add(24*time.Hour - time.Minute),
		"2026-11-22T15:31:00Z": now.Add(time.Minute),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	if got, err := parseTime("15:30:00", now.Add(time.Millisecond)); err != nil || !got.Equal(now) {
		t.Errorf("the second that it is: %v, %v", got, err)
	}
	if _, err := parseTime("2026-11-22T15:29:00Z", now); err == nil {
		t.Error("a time that is over is no time to begin")
	}
	if _, err := parseTime("noon", now); err == nil {
		t.Error("noon is no time")
	}
}

// Nothing is sent before --start-at.
func TestLoadWaitsForStart(t *testing.T) {
	t.Parallel()
	accepted := make(chan time.Time, 2)
	addr := accepting(t, func(net.Conn) { accepted <- time.Now() })
	startAt := time.Now().Add(300 * time.Millisecond)
	if _, errs, _ := loaded(t, addr, "-n", "2", "-q", "--start-at", startAt.Format(time.RFC3339Nano)); len(accepted) != 2 {
		t.Fatalf("%d connections: %s", len(accepted), errs)
	}
	if first := <-accepted; first.Before(startAt) {
		t.Errorf("it began %v early", startAt.Sub(first))
	}
}

// What the flags say of the schedule is what the run has.
func TestLoadSchedule(t *testing.T) {
	second := time.Second
	for args, want := range map[string]load.Pacer{
		"-r 50":                               load.Constant(50),
		"-r 50 --arrival poisson":             load.Poisson(50, 0),
		"-r 50 --arrival poisson --seed 7":    load.Poisson(50, 7),
		"-r 50 --arrival constant --ramp 10s": load.Ramp(0, 50, 10*second),
		"-c 5 --ramp 10s":                     nil,
	} {
		r := loadFlagsOf(t, args).runner(new(exchange.Exchanges))
		if (r.Pacer == nil) != (want == nil) || r.Ramp != 10*second && strings.Contains(args, "ramp") {
			t.Errorf("%s: schedule %v, ramp %v", args, r.Pacer, r.Ramp)
			continue
		}
		last := time.Duration(0)
		for n := uint64(0); want != nil && n < 100; n++ {
			got, want := r.Pacer.Due(n, last), want.Due(n, last)
			if got != want {
				t.Errorf("%s: exchange %d is due at %v, want %v", args, n, got, want)
				break
			}
			last = got
		}
	}
}

// The time that a run will take is known by -d, and by -n at a rate.
func TestLoadLasts(t *testing.T) {
	for args, want := range map[string]time.Duration{
		"-d 7s --warmup 2s":                       5 * time.Second,
		"-n 100":                                  0,
		"-n 250 -r 100":                           2500 * time.Millisecond,
		"-n 250 -r 100 -d 2s":                     2 * time.Second,
		"-n 250 -r 100 -d 9s":                     2500 * time.Millisecond,
		"-n 250 -r 100 --warmup 3s":               2500 * time.Millisecond,
		"-n 250 -r 100 --ramp 1s":                 3 * time.Second,
		"-n 250 -r 100 --ramp 1s --warmup 3s":     2500 * time.Millisecond,
		"-n 350 -r 100 --ramp 4s --warmup 2s":     4 * time.Second, // 50 in the warm-up, 200 by 4 s
		"-n 250 -r 100 --arrival poisson -d 100s": 2500 * time.Millisecond,
	} {
		f := loadFlagsOf(t, args)
		if strings.HasPrefix(args, "-n") && !strings.Contains(args, "-d") {
			f.duration = 0 // as check has it
		}
		if got := f.lasts(); (got - want).Abs() > time.Microsecond {
			t.Errorf("%s: %v, want %v", args, got, want)
		}
	}
}

// The line that is shown while it runs, and the line of JSON.
func TestLoadProgress(t *testing.T) {
	var line, lines bytes.Buffer
	p := progress{line: &line, json: &lines, ends: 3 * time.Second}
	p.begin(0)
	p.begin(2 * time.Second)
	for n := range 3 {
		i := &load.Interval{Start: time.Duration(n) * time.Second, End: time.Duration(n+1) * time.Second, Outcomes: map[string]int64{"ok": 98, "reset": 2}, Succeeded: 98}
		if n == 2 {
			i.End = i.Start + time.Second/2
			i.Wait = time.Second / 4
		}
		for k := range 98 {
			i.Latency.Record(time.Millisecond)
			if k >= 90 {
				i.Latency.Record(time.Second)
			}
		}
		p.tell(i)
	}
	p.flush()
	var empty bytes.Buffer
	(&progress{json: &empty}).tell(&load.Interval{End: time.Second, Outcomes: map[string]int64{}})
	if o := valid(t, empty.Bytes()); len(o) != 1 || o[0]["p50"] != nil || o[0]["p99"] != nil || o[0]["max"] != nil {
		t.Errorf("nothing ended: %s", &empty)
	}
	const clear = "\r\x1b[K"
	want := clear + "warming up for 2s" +
		clear + "98/s, p99 1s, 2 errors, 2s left" + clear + "98/s, p99 1s, 2 errors, 1s left" + clear + "196/s, p99 1s, 2 errors, 1s left"
	if diff := cmp.Diff(want, line.String()); diff != "" {
		t.Error(diff)
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 999: "999ns", 1234: "1.23µs", 38_843_210: "38.8ms", 3_884_032_000: "3.88s", 59_990_000_000: "1m0s", 725_400_000_000: "12m5s",
	} {
		if got := threeDigits(d).String(); got != want {
			t.Errorf("%d ns is %s, want %s", d, got, want)
		}
	}
	type told struct {
		At, Seconds, Rate float64
		Throughput        float64
	}
	var got []told
	for text := range strings.Lines(lines.String()) {
		var one told
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			t.Fatal(err)
		}
		got = append(got, one)
	}
	if diff := cmp.Diff([]told{{1, 1, 100, 98}, {2, 1, 100, 98}, {2.5, 0.5, 200, 196}}, got); diff != "" {
		t.Error(diff)
	}
}

// After its time a run says what it waits for, and for how long at most; without a
// terminal once.
func TestLoadWaits(t *testing.T) {
	second := func(n int, pending int64) *load.Interval {
		return &load.Interval{Start: time.Duration(n-1) * time.Second, End: time.Duration(n) * time.Second, Pending: pending}
	}
	var line, plain bytes.Buffer
	p := progress{line: &line, plain: &plain, ends: 2 * time.Second, connections: 10, timeout: 5 * time.Second}
	for n, pending := range []int64{10, 30, 4, 1, 0} {
		p.tell(second(n+1, pending))
	}
	got := strings.Split(line.String(), "\r\x1b[K0/s, p99 0s, 0 errors")[1:]
	want := []string{", 1s left", ", waiting for 30 exchanges, at most 15s", ", waiting for 4 exchanges, at most 4s", ", waiting for 1 exchange, at most 3s", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	p.draw(strings.Repeat("µ", 200))
	if last := line.String()[strings.LastIndex(line.String(), "K")+1:]; last != strings.Repeat("µ", 79) {
		t.Errorf("%d columns of 80", utf8.RuneCountInString(last))
	}
	if plain.String() != "bothends: waiting for 30 exchanges, at most 15s\n" {
		t.Errorf("%q", plain.String())
	}
	p.timeout = 0
	if got := p.waits(second(9, 1)); got != "waiting for 1 exchange, without a time limit (--timeout 0)" {
		t.Errorf("%q", got)
	}
}

// A server that keeps the request for a time, and the reply's second half for another.
func TestLoadPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		var server sync.WaitGroup
		server.Go(func() {
			for range 5 {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				io.ReadFull(conn, make([]byte, 16))
				time.Sleep(30 * time.Millisecond)
				conn.Write([]byte("Farewell"))
				time.Sleep(70 * time.Millisecond)
				conn.Write([]byte(", client"))
				conn.Close()
			}
		})
		f := loadFlagsOf(t, "-n 4 -c 1 --warmup 50ms")
		x := f.exchanges("localhost:1060")
		x.Client.Dial = ln.Dial
		var line bytes.Buffer
		record, err := f.measure(t.Context(), x, "", &progress{line: &line})
		if err != nil {
			t.Fatal(err)
		}
		total := load.Total(record.Intervals)
		ln.Close()
		server.Wait()
		if !strings.HasPrefix(line.String(), "\r\x1b[Kwarming up for 50ms\r\x1b[K") {
			t.Errorf("progress: %q", line.String())
		}
		for name, want := range map[string]time.Duration{"connect": 0, "send": 0, "wait": 30 * time.Millisecond, "receive": 70 * time.Millisecond} {
			h := total.Phases[name]
			if h == nil || h.Count() != 4 || (h.Quantile(0.01)-want).Abs() > want/500 || (h.Max()-want).Abs() > want/500 {
				t.Errorf("%s: %+v, want four times %v", name, h, want)
			}
		}
	})
}

// A run that never began changes no file.
func TestOutFile(t *testing.T) {
	dir := t.TempDir()
	old, fresh := filepath.Join(dir, "old"), filepath.Join(dir, "fresh")
	if err := os.WriteFile(old, []byte("the run before"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{old, fresh} {
		f, err := create("--save", name)
		if err != nil {
			t.Fatal(err)
		}
		f.discard()
	}
	if text, err := os.ReadFile(old); err != nil || string(text) != "the run before" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Stat(fresh); !os.IsNotExist(err) {
		t.Errorf("a file of nothing: %v", err)
	}
	f, err := create("--save", old)
	if err != nil {
		t.Fatal(err)
	}
	err = f.write(t.Context(), func(w io.Writer) error { _, err := io.WriteString(w, "a run"); return err })
	f.discard()
	if text, _ := os.ReadFile(old); err != nil || string(text) != "a run" {
		t.Errorf("%q, %v", text, err)
	}
	(*outFile)(nil).discard() // and nothing happens
}

// The last line of -o json is the run's, in the form that scripts read.
func TestLoadJSON(t *testing.T) {
	t.Parallel()
	out, errs, code := loaded(t, "-n", "50", "-c", "2", "-o", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	type times struct{ Mean, P50, Max float64 }
	var sum struct {
		Schema, Loop  string
		Connections   int
		Exchanges     int64
		RateRequested *float64 `json:"rate_requested"`
		Rate          float64
		Seconds       float64
		Outcomes      map[string]int64
		Latency       times
		Service       times
		Phases        map[string]times
		Generator     map[string]any
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil || code != 0 {
		t.Fatalf("exit %d, %v\n%s%s", code, err, out, errs)
	}
	if sum.Schema != "bothends.load/v2" || sum.Loop != "closed" || sum.Connections != 2 || sum.Exchanges != 50 || sum.Outcomes["ok"] != 50 ||
		sum.RateRequested == nil || sum.Rate <= 0 || sum.Seconds <= 0 || sum.Latency.P50 <= 0 || sum.Service.Max < sum.Service.P50 ||
		sum.Phases["connect"].P50 <= 0 || sum.Phases["wait"].Mean <= 0 || len(sum.Generator) == 0 {
		t.Errorf("%+v", sum)
	}
}

// What is asked of a run is what it does.
func TestLoadModes(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]func(*load.Record) bool{
		"-n 40 -c 4":                         func(r *load.Record) bool { return r.Kernel.Connections == 40 },
		"-n 40 -c 4 --persistent":            func(r *load.Record) bool { return r.Kernel.Connections <= 4 },
		"-n 40 -c 4 --per-connection 5":      func(r *load.Record) bool { return r.Kernel.Connections >= 8 && r.Kernel.Connections <= 12 },
		"-n 40 -r 1000 --arrival poisson":    func(r *load.Record) bool { return r.Config.Loop == "open" && r.Config.Arrival == "poisson" },
		"-n 40 --hold 20":                    func(r *load.Record) bool { return r.Config.Hold == 20 },
		"-n 40 --source 127.0.0.2-127.0.0.9": func(r *load.Record) bool { return r.Config.Loop == "closed" },
		"-n 40 -r 1000 --warmup 100ms":       func(r *load.Record) bool { return r.Kernel.Connections >= 40 && r.Kernel.Connections <= 42 },
	} {
		record := saved(t, strings.Fields(args)...)
		if record == nil {
			continue
		}
		if total := load.Total(record.Intervals); total.Outcomes["ok"] != 40 || !want(record) {
			t.Errorf("%s: %v, %+v, %+v", args, total.Outcomes, record.Config, record.Kernel)
		}
	}
}

// A share of the connections is disturbed: that is counted, and neither timed nor an
// error.
func TestLoadFaults(t *testing.T) {
	t.Parallel()
	record := saved(t, "-n", "400", "--fault", "close:4", "--fault-share", "25%", "--seed", "1")
	total := load.Total(record.Intervals)
	if canceled := total.Outcomes["canceled"]; canceled < 60 || canceled > 140 || total.Outcomes["ok"]+canceled != 400 || total.Latency.Count() != total.Outcomes["ok"] {
		t.Errorf("%v, %d of them timed", total.Outcomes, total.Latency.Count())
	}
}

// What fails because of a limit of this machine makes the run fail too, with a hint.
func TestLoadLocalLimits(t *testing.T) {
	for _, err := range []error{os.NewSyscallError("socket", syscall.EMFILE), os.NewSyscallError("connect", syscall.EADDRNOTAVAIL), os.NewSyscallError("bind", syscall.EADDRINUSE)} {
		total := &load.Interval{Outcomes: map[string]int64{load.Local: 2, "ok": 8}, Succeeded: 8}
		l, _ := parseLimit("errors>0")
		for _, limits := range [][]limit{nil, {l}} {
			var failed *failure
			if err := new(loadFlags).verdict(total, limits, &exchange.Stats{Local: err}); !errors.As(err, &failed) || failed.code != 1 || !strings.HasPrefix(failed.err.Error(), "2 of 10 exchanges failed on this machine; the first: ") || failed.hint == "" {
				t.Errorf("verdict: %v", err)
			}
		}
	}
	connect := func(call string, n syscall.Errno) error {
		return &net.OpError{Op: "dial", Err: os.NewSyscallError(call, n)}
	}
	// Both kinds are named, each with its own first error, and so they are in the progress.
	stats := &exchange.Stats{First: connect("read", syscall.ECONNRESET), Local: connect("socket", syscall.EMFILE)}
	total := &load.Interval{End: time.Second, Outcomes: map[string]int64{"local": 2, "reset": 1, "ok": 7}, Succeeded: 7}
	want := "1 of 10 exchanges failed; the first: dial: read: connection reset by peer; 2 failed on this machine; the first: dial: socket: too many open files"
	if err := new(loadFlags).verdict(total, nil, stats); !strings.Contains(err.Error(), want) {
		t.Errorf("verdict: %v", err)
	}
	total.Outcomes, total.Succeeded = map[string]int64{"reset": 1}, 0
	if err := new(loadFlags).verdict(total, nil, new(exchange.Stats)); !strings.HasPrefix(err.Error(), "bothends: 1 of 1 exchanges failed") {
		t.Errorf("verdict without the first error: %v", err)
	}
	var line bytes.Buffer
	p := progress{line: &line}
	p.tell(&load.Interval{End: time.Second, Outcomes: map[string]int64{"local": 3}})
	if !strings.HasSuffix(line.String(), "0/s, p99 0s, 0 errors, 3 local") {
		t.Errorf("progress: %q", line.String())
	}
}

// Where nothing listens, a closed loop does not spin, and says that it waited.
func TestLoadBacksOff(t *testing.T) {
	t.Parallel()
	out, _, code := loaded(t, refusing(t), "-c", "2", "-d", "400ms", "-o", "json")
	var sum struct {
		Exchanges  int64
		Rate       float64
		Throughput *float64
		BackOffs   int64   `json:"back_offs"`
		BackedOff  float64 `json:"backed_off"`
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil || code != 1 {
		t.Fatalf("exit %d, %v", code, err)
	}
	// 1, 2, 4 and so on up to 64 ms, and then 100 ms.
	if sum.Exchanges > 22 || sum.Exchanges < 2 || sum.BackOffs != sum.Exchanges || sum.BackedOff < 0.1 || sum.BackedOff > 0.8 || sum.Throughput == nil || *sum.Throughput != 0 {
		t.Errorf("%+v", sum)
	}
}

// A server that closes the connection after each exchange, or after five, is named with
// what to do.
func TestLoadOfClosedConnections(t *testing.T) {
	t.Parallel()
	for exchanges, want := range map[int]string{1: "after 1 exchange\nhint: use --per-connection 1, ", 5: "after 5 exchanges\nhint: use --per-connection 5, "} {
		addr := accepting(t, func(conn net.Conn) {
			for range exchanges {
				if _, err := io.ReadFull(conn, make([]byte, 16)); err != nil {
					return
				}
				io.WriteString(conn, "Farewell, client")
			}
		})
		_, errs, code := loaded(t, addr, "-n", "36", "-c", "1", "--persistent", "-q")
		if code != 1 || strings.Count(errs, "the server had closed the connection") != 1 || !strings.Contains(errs, want) {
			t.Errorf("%d exchanges: exit %d: %s", exchanges, code, errs)
		}
		if _, errs, code = loaded(t, addr, "-n", "36", "-c", "1", "--per-connection", strconv.Itoa(exchanges), "-q"); code != 0 || errs != "" {
			t.Errorf("%d exchanges, as the hint says: exit %d: %s", exchanges, code, errs)
		}
	}
}

// An address keeps its zone, and is not looked up; nor do the addresses of a name lose
// theirs.
func TestLookupKeepsZones(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel() // whoever looks up fails
	for _, host := range []string{"fe80::1%eth0", "::1", "127.0.0.1"} {
		if ips, err := lookup(ended, "tcp", host); err != nil || len(ips) != 1 || ips[0].String() != host {
			t.Errorf("%s: %v, %v", host, ips, err)
		}
	}
	if addr, _, err := loadFlagsOf(t, "").target(ended, new(cobra.Command), []string{"[fe80::1%eth0]:1060"}); addr != "[fe80::1%eth0]:1060" || err != nil {
		t.Errorf("%s, %v", addr, err)
	}
	found := []net.IPAddr{{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, {IP: net.ParseIP("192.0.2.1")}, {IP: net.ParseIP("2001:db8::1")}}
	for network, want := range map[string]string{"tcp": "[fe80::1%eth0 192.0.2.1 2001:db8::1]", "tcp4": "[192.0.2.1]", "tcp6": "[fe80::1%eth0 2001:db8::1]"} {
		if got := fmt.Sprint(ofNetwork(network, found)); got != want {
			t.Errorf("%s: %s, want %s", network, got, want)
		}
	}
}

// What is due and never sent makes it fail too.
func TestLoadUnsent(t *testing.T) {
	total := &load.Interval{Outcomes: map[string]int64{"ok": 4}, Succeeded: 4, Unsent: 96}
	err := new(loadFlags).verdict(total, nil, new(exchange.Stats))
	if err == nil || err.Error() != "bothends: 96 of 100 exchanges were due and never sent" {
		t.Errorf("%v", err)
	}
	l, _ := parseLimit("unsent>96%")
	if err := new(loadFlags).verdict(total, []limit{l}, new(exchange.Stats)); err != nil {
		t.Errorf("the user allows them: %v", err)
	}
}

// Replies with an octet too many look right, and are not.
func TestLoadSurplus(t *testing.T) {
	t.Parallel()
	addr := accepting(t, func(conn net.Conn) {
		for request := make([]byte, 16); ; {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			conn.Write([]byte("Farewell, client!"))
		}
	})
	_, errs, code := loaded(t, addr, "-n", "10", "-c", "1", "-q", "--persistent")
	if code != 0 || !strings.HasPrefix(errs, "bothends: on 1 of 1 connections octets followed the 16 of the last reply\nhint: with --expect, ") {
		t.Errorf("exit %d: %s", code, errs)
	}
	_, errs, code = loaded(t, addr, "-n", "10", "-c", "1", "-q", "--persistent", "--expect", "Farewell, client")
	if code != 1 || !strings.Contains(errs, "exchanges failed; the first: ") {
		t.Errorf("with --expect: exit %d: %s", code, errs)
	}
}

// A server that fails is not excused by a fault of ours that only slows.
func TestLoadFaultsThatSlow(t *testing.T) {
	t.Parallel()
	addr := accepting(t, func(conn net.Conn) {
		conn.Write([]byte("short"))
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
	})
	_, errs, code := loaded(t, addr, "-n", "10", "-q", "--fault", "drip:8/1ms")
	if code != 1 || !strings.Contains(errs, "10 of 10 exchanges failed; the first: ") || !strings.Contains(errs, "5 bytes into a 16-byte message") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// Errors make it fail, and the first one is told.
func TestLoadErrors(t *testing.T) {
	t.Parallel()
	addr := refusing(t)
	out, errs, code := loaded(t, addr, "-n", "5", "-q")
	if code != 1 || !strings.HasPrefix(errs, "bothends: 5 of 5 exchanges failed; the first: connect to 127.0.0.1:") || out != "" {
		t.Errorf("exit %d: %s%s", code, errs, out)
	}
	if _, errs, code = loaded(t, addr, "-n", "5", "-q", "--fail-if", "errors>100%"); code != 0 {
		t.Errorf("the user allows all errors: exit %d: %s", code, errs)
	}
	if _, errs, code = loaded(t, addr, "-n", "5", "-q", "--fail-if", "errors>10%"); code != 1 || !strings.HasPrefix(errs, "bothends: --fail-if 'errors>10%': it is 100%; the first error: connect to 127.0.0.1:") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, errs, code = loaded(t, addr, "-n", "5", "-q", "--fail-if", "errors>100%", "--fail-if", "throughput<1"); code != 1 || !strings.HasPrefix(errs, "bothends: --fail-if 'throughput<1': it is 0.0/s") {
		t.Errorf("a rate of failures alone: exit %d: %s", code, errs)
	}
	if _, errs, code = loaded(t, "-n", "5", "-q", "--fail-if", "p50>1ns"); code != 1 || !strings.HasPrefix(errs, "bothends: --fail-if 'p50>1ns': it is ") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if out, errs, code = loaded(t, "-n", "5", "--save", "/no/such/folder/x"); code != 1 || errs != "bothends: --save: open /no/such/folder/x: no such file or directory\n" || out != "" {
		t.Errorf("a file that cannot be written, known before the run: exit %d: %s%s", code, errs, out)
	}
	if out, errs, code = loaded(t, "-n", "5", "--save", "/dev/full"); code != 1 || !strings.Contains(errs, "--save: ") || !strings.Contains(out, "outcomes    ok") {
		t.Errorf("a full disk, and the summary all the same: exit %d: %s%s", code, errs, out)
	}
	// At a rate: on a busy machine a closed loop may not begin within its time.
	if _, errs, code = loaded(t, "-n", "0", "-d", "50ms", "-r", "100", "-q"); code != 0 {
		t.Errorf("-n 0: exit %d: %s", code, errs)
	}
	if _, errs, code = loaded(t, "-n", "3", "-q", "--source", "192.0.2.1"); code != 1 || !strings.Contains(errs, "hint: use addresses of this machine with --source") {
		t.Errorf("exit %d: %s", code, errs)
	}
	for args, want := range map[string]string{
		"-d 0":                            "--duration 0 requires --count",
		"-4 -6":                           "-4 and -6 cannot be used together",
		"-c 0":                            "must be a whole number from 1 to 1000000",
		"--start-at 2001-01-01T00:00:00Z": "is in the past",
		"--persistent --per-connection 2": "cannot be used together",
		"-r -1":                           "--rate \"-1\": must be a number from 0 to 1000000000",
		"-r 5 --fail-if p99":              "--fail-if \"p99\": must be a condition",
		"--arrival poisson":               "--arrival requires --rate",
		"--arrival poisson -r 1000001":    "--arrival poisson needs a --rate of at most 1000000",
		"-d 1s --warmup 2s":               "--warmup must be shorter",
		"--start-at noon":                 "--start-at \"noon\"",
		"--fault-share 5":                 "must be a percentage",
		"--source here":                   "is not an IP address",
		"--expect abc --reply-size 4":     "--expect has 3 octets",
	} {
		if _, errs, code := loaded(t, strings.Fields(args)...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("load %s: exit %d: %s", args, code, errs)
		}
	}
}

// loadFlagsOf reads a command line.
func loadFlagsOf(t *testing.T, args string) *loadFlags {
	t.Helper()
	f, cmd := newLoadFlags(), new(cobra.Command)
	f.add(cmd)
	if err := cmd.ParseFlags(strings.Fields(args)); err != nil {
		t.Fatal(err)
	}
	return f
}

// accepting is the address of a server that serves each connection so, and closes it.
func accepting(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); conns.Wait() })
	return ln.Addr().String()
}

// refusing is an address where nobody listens, nor will while the test runs: a client
// has the port.
func refusing(t *testing.T) (addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", accepting(t, func(conn net.Conn) { io.Copy(io.Discard, conn) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

func loaded(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(append([]string{"load"}, args...), &o, &e)
	return o.String(), e.String(), code
}

// saved makes a run and reads what it saved.
func saved(t *testing.T, args ...string) *load.Record {
	t.Helper()
	file := filepath.Join(t.TempDir(), "run.json")
	if _, errs, code := loaded(t, append(args, "--save", file, "-q")...); code != 0 {
		t.Errorf("load %q: exit %d: %s", args, code, errs)
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	record, err := load.ReadRecord(f)
	if err != nil {
		t.Fatal(err)
	}
	return record
}
