package transcript_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
	"github.com/bothends/bothends/transcript"
)

// lines parses one JSON object per line, without the time, which differs.
func lines(t *testing.T, out *bytes.Buffer) (list []string) {
	t.Helper()
	for line := range strings.Lines(out.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		at, err := time.Parse(time.RFC3339Nano, object["time"].(string))
		if err != nil || at.IsZero() {
			t.Errorf("time %v: %v", object["time"], err)
		}
		before, after, _ := strings.Cut(line, `"time":"`)
		_, after, _ = strings.Cut(after, `",`)
		list = append(list, strings.TrimSuffix(before+after, "\n"))
	}
	return list
}

func checkLines(t *testing.T, out *bytes.Buffer, want ...string) {
	t.Helper()
	got := lines(t, out)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestJSONOfBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := memnet.Listen()
		var server, client bytes.Buffer
		j := &transcript.JSON{Out: &server, RequestSize: 16, ReplySize: 16}
		s := &bothends.Server{TraceConn: j.Server, Timeout: time.Minute}
		served := make(chan error)
		go func() { served <- s.Serve(ln) }()

		c := &bothends.Client{Dial: ln.Dial}
		cj := &transcript.JSON{Out: &client, RequestSize: 16, ReplySize: 16}
		if _, err := c.Exchange(bothends.WithTrace(t.Context(), cj.Client()), "localhost:1060", []byte(hello)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, text := range []string{"\xff\xfe<&>", "", "Hi there, serverXY"} {
			conn, _ := ln.Dial(t.Context(), "tcp", "")
			conn.Write([]byte(text))
			conn.(*memnet.Conn).CloseWrite()
			io.ReadAll(conn)
			conn.Close()
			synctest.Wait()
		}
		silent, _ := ln.Dial(t.Context(), "tcp", "")
		time.Sleep(time.Hour)
		silent.Close()
		s.Shutdown(t.Context())
		<-served

		const request = `"request":{"text":"Hi there, server","octets":16,"want":16},"reply":{"text":"Farewell, client","octets":16,"want":16}`
		checkLines(t, &client,
			`{"schema":"bothends.exchange/v1","role":"client","local":"127.0.0.1:50000","peer":"127.0.0.1:1060","outcome":"ok",`+
				request+`,"seconds":0,"phase_seconds":{"connect":0,"send":0,"wait":0,"receive":0,"close":0}}`)
		const head = `{"schema":"bothends.exchange/v1","role":"server","local":"127.0.0.1:1060","peer":"127.0.0.1:`
		const none = `"reply":{"text":"","octets":0,"want":16}`
		checkLines(t, &server,
			head+`50000","outcome":"ok",`+request+`,"seconds":0,"phase_seconds":{"wait":0,"receive":0,"reply":0,"send":0,"close":0}}`,
			head+`50001","outcome":"short","request":{"hex":"fffe3c263e","octets":5,"want":16},`+none+
				`,"seconds":0,"phase_seconds":{"wait":0,"receive":0,"close":0},"error":"receive from 127.0.0.1:50001: socket closed 5 bytes into a 16-byte message"}`,
			head+`50002","outcome":"closed","request":{"text":"","octets":0,"want":16},`+none+
				`,"seconds":0,"phase_seconds":{"wait":0,"close":0},"error":"receive from 127.0.0.1:50002: socket closed 0 bytes into a 16-byte message"}`,
			head+`50003","outcome":"ok",`+request+`,"surplus":2,"seconds":0,"phase_seconds":{"wait":0,"receive":0,"reply":0,"send":0,"close":0}}`,
			head+`50004","outcome":"timeout","request":{"text":"","octets":0,"want":16},`+none+
				`,"seconds":60,"phase_seconds":{"wait":60,"close":0},"error":"receive from 127.0.0.1:50004: timed out 0 bytes into a 16-byte message"}`)
	})
}

func TestJSONOfFailedConnect(t *testing.T) {
	ln := memnet.Listen()
	ln.Close()
	var out bytes.Buffer
	j := &transcript.JSON{Out: &out, RequestSize: 16, ReplySize: 16}
	c := &bothends.Client{Dial: ln.Dial}
	c.Exchange(bothends.WithTrace(t.Context(), j.Client()), "localhost:1060", []byte(hello))
	got := lines(t, &out)
	if len(got) != 1 || !strings.Contains(got[0], `"role":"client","peer":"127.0.0.1:1060","outcome":"refused","request":{"text":"","octets":0,"want":16}`) ||
		!strings.Contains(got[0], `"error":"connect to 127.0.0.1:1060: connection refused"`) {
		t.Errorf("%s", got)
	}
}

// There is one line per exchange, and one more only if the connection ends inside an
// exchange.
func TestJSONPersistent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			sends string
			want  string
		}{
			{"aaaabbbb", "aaaa ok, bbbb ok"},
			{"aaaabbbbcc", "aaaa ok, bbbb ok, cc short"},
			{"", " closed"},
		} {
			ln := memnet.Listen()
			var out bytes.Buffer
			j := &transcript.JSON{Out: &out, RequestSize: 4, ReplySize: 16, Persistent: true}
			s := &bothends.Server{MessageSize: 4, Persistent: true, TraceConn: func(c net.Conn) *bothends.Trace { return j.Server(c) }}
			served := make(chan error)
			go func() { served <- s.Serve(ln) }()
			conn, _ := ln.Dial(t.Context(), "tcp", "")
			conn.Write([]byte(c.sends))
			conn.(*memnet.Conn).CloseWrite()
			io.ReadAll(conn)
			conn.Close()
			s.Shutdown(t.Context())
			<-served
			var got []string
			for line := range strings.Lines(out.String()) {
				var x struct {
					Outcome string
					Request struct{ Text string }
				}
				if err := json.Unmarshal([]byte(line), &x); err != nil {
					t.Fatal(err)
				}
				got = append(got, x.Request.Text+" "+x.Outcome)
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("%q: %s, want %s", c.sends, s, c.want)
			}
		}
	})
}

func TestStatsLines(t *testing.T) {
	check := func(s bothends.Stats, connections, exchanges string) {
		t.Helper()
		if got := transcript.Connections(s); got != connections {
			t.Errorf("%s, want %s", got, connections)
		}
		if got := transcript.Exchanges(s); got != exchanges {
			t.Errorf("%s, want %s", got, exchanges)
		}
	}
	check(bothends.Stats{}, "0 connections", "0 exchanges")
	s := bothends.Stats{Accepted: 4, Open: 1}
	s.Ended[bothends.OK], s.Ended[bothends.Closed] = 2, 1
	s.Exchanges[bothends.OK] = 1
	check(s, "4 connections: 2 ok, 1 closed, 1 open", "1 exchange: 1 ok")
}

// The number of exchanges in Stats is the number of JSON lines, also on persistent
// connections.
func TestStatsCountLinesOfJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		j := &transcript.JSON{Out: &out, Persistent: true}
		s := &bothends.Server{Persistent: true, TraceConn: j.Server}
		ln := memnet.Listen()
		served := make(chan error)
		go func() { served <- s.Serve(ln) }()
		for _, end := range []string{"", "", "Hi"} {
			conn, err := ln.Dial(t.Context(), "tcp", "")
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				conn.Write([]byte(bothends.DefaultRequest))
				bothends.ReadMessage(conn, make([]byte, 16))
			}
			conn.Write([]byte(end))
			conn.Close()
		}
		synctest.Wait()
		stats := s.Stats()
		if got := transcript.Connections(stats); got != "3 connections: 2 ok, 1 short" {
			t.Error(got)
		}
		if got := transcript.Exchanges(stats); got != "7 exchanges: 6 ok, 1 short" {
			t.Error(got)
		}
		s.Close()
		<-served
		if lines := strings.Count(out.String(), "\n"); lines != 7 {
			t.Errorf("%d lines of JSON", lines)
		}
	})
}

// The first object of a server contains its address.
func TestJSONOfListening(t *testing.T) {
	var out bytes.Buffer
	(&transcript.JSON{Out: &out}).Listening(serverAddr)
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.RFC3339, fmt.Sprint(got["time"])); err != nil {
		t.Error(err)
	}
	delete(got, "time")
	want := map[string]any{"schema": "bothends.listening/v1", "local": "127.0.0.1:1060", "port": 1060.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The line of a peer that sends octet by octet has a limited length.
func TestJSONEventsAreBounded(t *testing.T) {
	var out bytes.Buffer
	trace := (&transcript.JSON{Out: &out, Events: true}).Server(nil)
	message := bytes.Repeat([]byte("x"), 5000)
	for n := range message {
		trace.Received(bothends.Transfer{Asked: 5000 - n, N: 1, Message: message[:n+1], Want: 5000})
	}
	trace.Done(nil)
	var x struct {
		Request struct{ Octets int }
		Events  []any
	}
	if err := json.Unmarshal(out.Bytes(), &x); err != nil || x.Request.Octets != 5000 || len(x.Events) != 1000 {
		t.Errorf("%v: %d octets, %d events", err, x.Request.Octets, len(x.Events))
	}
}
