package explain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/bothends/bothends/explain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func lesson(t *testing.T, name string) explain.Lesson {
	t.Helper()
	l, ok := explain.Find(name)
	if !ok {
		t.Fatalf("no lesson %s", name)
	}
	return l
}

var number = regexp.MustCompile(`\d+`)

// The lesson's lines are both transcripts, in the only possible order. Its
// times do not decrease, and the numbers of sends and receives add up.
func TestExchange(t *testing.T) {
	for range 5 {
		steps, err := lesson(t, "exchange").Run(t.Context(), explain.Setting{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		last := steps[0].At
		for _, s := range steps {
			got = append(got, s.End+": "+s.Line)
			if s.At < last || s.Why == "" {
				t.Errorf("at %v, after %v: %q says %q", s.At, last, s.Line, s.Why)
			}
			last = s.At
		}
		server := number.FindAllString(got[0], -1)[4]
		client := number.FindAllString(got[1], -1)[4]
		here, there := fmt.Sprintf("('127.0.0.1', %s)", server), fmt.Sprintf("('127.0.0.1', %s)", client)
		want := []string{
			"server: Listening at " + here,
			"client: Client has been assigned socket name " + there,
			"server: We have accepted a connection from " + there,
			"server: Socket connects " + here + " and " + there,
			"server: The incoming sixteen-octet message says 'Hi there, server'",
			"client: The server said 'Farewell, client'",
			"server: Reply sent, socket closed",
			"server: Listening at " + here,
			"client: the same exchange as a ladder",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		rungs := regexp.MustCompile(`(?m)^ +\d+\.\d+ ms `).ReplaceAllString(steps[8].Block, "")
		if want := fmt.Sprintf(`             client                                  server
             %s%*s
│─── SYN ───────────────────────────────────▶│
│◀────────────────────────────── SYN, ACK ───│
│─── 16 octets ─────────────────────────────▶│
│◀───────────────────────────── 16 octets ───│
│  closed                                    │
`, "127.0.0.1:"+client, 46-len("127.0.0.1:"+client), "127.0.0.1:"+server); rungs != want {
			t.Errorf("the ladder:\n%s", cmp.Diff(want, rungs))
		}
		for i, says := range map[int]string{
			1: "The client did not choose port " + client,
			3: "the server's port, " + server,
			4: "passed 16 octets to the kernel and returned after ",
			6: "received the client's FIN",
			5: "requested 16 octets and returned 16",
		} {
			if !strings.Contains(steps[i].Why, says) {
				t.Errorf("%q does not say %q: %s", steps[i].Line, says, steps[i].Why)
			}
		}
	}
}

func TestPortThatIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().(*net.TCPAddr).Port
	steps, err := lesson(t, "exchange").Run(t.Context(), explain.Setting{Port: uint16(taken)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(steps[0].Why, "The requested port was in use") || strings.HasSuffix(steps[0].Line, strconv.Itoa(taken)+")") {
		t.Errorf("%q: %s", steps[0].Line, steps[0].Why)
	}
}

// A connection of another program is served, but neither shown nor waited for.
func TestStrangers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	stop := make(chan struct{})
	var strangers sync.WaitGroup
	for range 4 {
		strangers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					continue
				}
				conn.Write([]byte("who are you"))
				conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		})
	}
	defer strangers.Wait()
	defer close(stop)
	for range 3 {
		steps, err := lesson(t, "exchange").Run(t.Context(), explain.Setting{Port: uint16(port)})
		if err != nil || len(steps) != 9 {
			t.Fatalf("%d steps, %v", len(steps), err)
		}
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	steps, err := lesson(t, "exchange").Run(ctx, explain.Setting{})
	if err == nil || len(steps) != 1 || !strings.HasPrefix(steps[0].Line, "Listening at") {
		t.Errorf("%v, %v", steps, err)
	}
}

func TestPrint(t *testing.T) {
	l := lesson(t, "exchange")
	steps, err := l.Run(t.Context(), explain.Setting{})
	if err != nil {
		t.Fatal(err)
	}
	for _, style := range []explain.Style{{}, {Width: 60}, {Width: 100}, {Color: true}, {Width: 1}} {
		var out bytes.Buffer
		if err := l.Print(&out, steps, true, style); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "\x1b") != style.Color {
			t.Errorf("%+v: colors", style)
		}
		plain := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(out.String(), "")
		for line := range strings.Lines(plain) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); style.Width == 0 && n > 80 {
				t.Errorf("%+v: %d columns: %s", style, n, line)
			}
		}
		joined := strings.Join(strings.Fields(plain), " ")
		for _, s := range steps {
			if !strings.Contains(joined, s.Why) || !strings.Contains(joined, s.Line) {
				t.Errorf("%+v lacks %q or what it says", style, s.Line)
			}
		}
		if !strings.HasSuffix(joined, "Remember: "+l.Remember+" In the chapter: "+l.Function+".") {
			t.Errorf("%+v lacks the sentence to remember, or what it is about", style)
		}
	}
}

// Between is called between two steps, after the earlier output was written.
func TestPrintStopsBetweenSteps(t *testing.T) {
	l := lesson(t, "exchange")
	steps := []explain.Step{{Line: "one"}, {Line: "two"}, {Line: "three"}}
	var out bytes.Buffer
	enough := errors.New("enough")
	err := l.Print(&out, steps, true, explain.Style{Between: func() error {
		if strings.Contains(out.String(), "two") {
			return enough
		}
		return nil
	}})
	if err != enough || !strings.Contains(out.String(), "two\n") || strings.Contains(out.String(), "three") {
		t.Errorf("%v, after\n%s", err, &out)
	}
}

func TestJSON(t *testing.T) {
	l := lesson(t, "exchange")
	steps := []explain.Step{{At: 1500 * time.Microsecond, End: "client", Line: "<one>", Why: "why", Block: "b\n"}, {Unlike: "other"}}
	var out bytes.Buffer
	if err := l.JSON(&out, time.Unix(0, 0).UTC(), steps, errors.New("failed")); err != nil {
		t.Fatal(err)
	}
	title, _ := json.Marshal(l.Title)
	remember, _ := json.Marshal(l.Remember)
	want := `{"schema":"bothends.lesson/v1","lesson":"exchange","title":` + string(title) + `,"time":"1970-01-01T00:00:00Z","steps":[` +
		`{"at":0.0015,"actor":"client","line":"<one>","block":"b\n","why":"why"},{"at":0,"actor":"","line":"","unlike":"other"}],` +
		`"remember":` + string(remember) + `,"function":"` + l.Function + `","error":"failed"}` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// A lesson fits its columns, even if socket names are long.
func TestLessonsFitTheirWidth(t *testing.T) {
	t.Parallel()
	for _, l := range explain.Lessons() {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			steps, err := l.Run(t.Context(), explain.Setting{Width: 40})
			if err != nil {
				t.Fatal(err)
			}
			for _, width := range []int{80, 40} {
				var out bytes.Buffer
				l.Print(&out, steps, true, explain.Style{Width: width})
				for line := range strings.Lines(out.String()) {
					if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
						t.Errorf("%d columns have %d: %s", width, n, line)
					}
				}
			}
		})
	}
}

// Long lines and tables in a narrow terminal.
func TestPrintFolds(t *testing.T) {
	step := explain.Step{
		At: 1234567 * time.Microsecond, End: "client",
		Line:  "connect(('127.0.0.1', 65535)): refused after 0.123 ms",
		Block: strings.Repeat(" ", 18) + "server ('127.0.0.1', 65535) ('127.0.0.1', 65534) ESTABLISHED\n",
	}
	for width, want := range map[int]string{
		80: "1234.567 ms client connect(('127.0.0.1', 65535)): refused after 0.123 ms\n" + step.Block,
		40: "1234.567 ms client\n    connect(('127.0.0.1', 65535)):\n    refused after 0.123 ms\n" +
			"    server ('127.0.0.1', 65535)\n      ('127.0.0.1', 65534) ESTABLISHED\n",
	} {
		var out bytes.Buffer
		explain.Lesson{}.Print(&out, []explain.Step{step}, false, explain.Style{Width: width})
		if got := strings.TrimLeft(out.String(), "\n"); got != want {
			t.Errorf("in %d columns:\n%s\nwant:\n%s", width, got, want)
		}
	}
}
