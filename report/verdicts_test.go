package report_test

import (
	"context"
	"crypto/sha256"
	"flag"
	"io"
	"net"
	"testing"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/load"
	"github.com/bothends/bothends/report"
)

var pairs = flag.Int("pairs", 1, "how many pairs of runs BenchmarkVerdicts compares, of each kind")

// A pair is two runs that take turns: forty slices of a twentieth of a second each. What
// the machine does besides, in seconds and minutes, meets both of them alike.
const (
	turns = 40
	slice = 50 * time.Millisecond
)

// BenchmarkVerdicts counts the verdicts on real runs on loopback: of a server with
// itself, and with the same server that takes a tenth longer. It is run by
// test/compare-verdicts.sh, and takes 8 s a pair.
func BenchmarkVerdicts(b *testing.B) {
	plain := listen(b, rounds)
	calm := median(b, plain)
	more := rounds * int(calm/10) / int(calm-median(b, listen(b, 0)))
	slow := listen(b, rounds+more)
	b.Logf("median service time %v; injected: %d rounds of hashing besides %d, which makes it %v", calm, more, rounds, median(b, slow))
	wrong, found := make(map[report.Verdict]int), make(map[report.Verdict]int)
	b.ResetTimer()
	for n := range *pairs {
		same, tenth := compareTurns(b, plain, plain), compareTurns(b, plain, slow)
		wrong[same.Verdict]++
		found[tenth.Verdict]++
		if differs(same) || tenth.Verdict != report.Slower {
			b.Logf("pair %d:\n%s%s", n, same.Text(report.Style{}), tenth.Text(report.Style{}))
		}
	}
	b.Logf("with itself, of %d: %v", *pairs, wrong)
	b.Logf("10 %% slower, of %d: %v", *pairs, found)
	mistaken := wrong[report.Slower] + wrong[report.Faster]
	if *pairs >= 20 && (mistaken*100 > 5**pairs || found[report.Slower]*100 < 95**pairs) {
		b.Error("too many false verdicts, or too few found")
	}
	b.ReportMetric(float64(mistaken), "false")
	b.ReportMetric(float64(found[report.Slower]), "found")
}

// differs reports whether a comparison of a server with itself is wrong: that it cannot
// tell is not wrong.
func differs(c *report.Comparison) bool {
	return c.Verdict == report.Slower || c.Verdict == report.Faster
}

// rounds is the work of the server in an exchange, a quarter of a millisecond or so. An
// exchange of nothing but system calls takes 15 µs here, and one of two states of the
// scheduler decides over it, not the server.
const rounds = 3000

// listen starts a server that hashes so many times in each exchange. Sleeping would
// take as long as the timer likes, and spinning until a time would hide what else the
// machine does.
func listen(b *testing.B, rounds int) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &bothends.Server{Persistent: true, Reply: func(context.Context, *bothends.Request) ([]byte, error) {
		var sum [sha256.Size]byte
		for range rounds {
			sum = sha256.Sum256(sum[:])
		}
		return sum[:16], nil
	}}
	served := make(chan error)
	go func() { served <- s.Serve(ln) }()
	b.Cleanup(func() {
		s.Close()
		<-served
	})
	return ln.Addr().String()
}

// median is the median service time, of a second.
func median(b *testing.B, addr string) time.Duration {
	return load.Total(measure(b, addr, time.Second).Intervals).Service.Quantile(0.5)
}

func compareTurns(b *testing.B, x, y string) *report.Comparison {
	var runs [2][]report.Run
	for n := range turns {
		for turn := range 2 {
			which := (n + turn) % 2 // now one is first, now the other
			runs[which] = append(runs[which], report.Run{Name: [2]string{"A", "B"}[which], Record: measure(b, [2]string{x, y}[which], slice)})
		}
	}
	c, err := report.CompareTurns(runs[0], runs[1], 0)
	if err != nil {
		b.Fatal(err)
	}
	c.Warnings = nil // that the load comes from the server's own process
	return c
}

// measure makes exchanges on one connection, as fast as they go.
func measure(b *testing.B, addr string, duration time.Duration) *load.Record {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	reply := make([]byte, 16)
	r := load.Runner{Duration: duration, Do: func(context.Context) error {
		if _, err := io.WriteString(conn, bothends.DefaultRequest); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, reply)
		return err
	}}
	record := &load.Record{Started: time.Now(), Config: load.Config{Loop: "closed", Connections: 1, Seconds: duration.Seconds()}, Host: load.Host{CPUs: 2}}
	for i := range r.Run(b.Context()) {
		record.Intervals = append(record.Intervals, i)
	}
	return record
}
