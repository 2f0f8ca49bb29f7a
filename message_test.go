package bothends_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/memnet"
)

const sixteen = "Hi there, server"

// The test splits 16 octets into three parts in every way, on a network that keeps the
// parts.
func TestReadMessageWhateverTheCuts(t *testing.T) {
	for i := 0; i <= 16; i++ {
		for j := i; j <= 16; j++ {
			a, b := memnet.Pipe()
			for _, piece := range []string{sixteen[:i], sixteen[i:j], sixteen[j:], "next"} {
				a.Write([]byte(piece))
			}
			got := make([]byte, 16)
			if err := bothends.ReadMessage(b, got); err != nil || string(got) != sixteen {
				t.Fatalf("cut at %d and %d: %q, %v", i, j, got, err)
			}
			rest := make([]byte, 4)
			if err := bothends.ReadMessage(b, rest); err != nil || string(rest) != "next" {
				t.Fatalf("after it: %q, %v", rest, err)
			}
		}
	}
}

func TestReadMessageOctetByOctet(t *testing.T) {
	got := make([]byte, 16)
	err := bothends.ReadMessage(iotest.OneByteReader(strings.NewReader(sixteen)), got)
	if err != nil || string(got) != sixteen {
		t.Errorf("%q, %v", got, err)
	}
	// One read returns the last octet and io.EOF.
	err = bothends.ReadMessage(iotest.DataErrReader(strings.NewReader(sixteen)), got)
	if err != nil {
		t.Error(err)
	}
	if err := bothends.ReadMessage(strings.NewReader(""), nil); err != nil {
		t.Errorf("a message of no octets: %v", err)
	}
}

func TestReadMessageShort(t *testing.T) {
	for n := range 16 {
		for _, end := range []struct {
			err, is error
			text    string
		}{
			{io.EOF, map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[n == 0], "socket closed"},
			{syscall.ECONNRESET, syscall.ECONNRESET, "connection reset by peer"},
			{os.ErrDeadlineExceeded, os.ErrDeadlineExceeded, "timed out"},
		} {
			p := make([]byte, 16)
			err := bothends.ReadMessage(io.MultiReader(strings.NewReader(sixteen[:n]), iotest.ErrReader(end.err)), p)
			var short *bothends.ShortError
			if !errors.As(err, &short) || short.Op != "read" || short.Done != n || short.Want != 16 || !errors.Is(err, end.is) {
				t.Errorf("%v after %d octets: %#v", end.err, n, err)
			}
			if want := fmt.Sprintf("%s %d bytes into a 16-byte message", end.text, n); err.Error() != want {
				t.Errorf("text %q, want %q", err, want)
			}
			if string(p[:n]) != sixteen[:n] {
				t.Errorf("octets before the end: %q", p[:n])
			}
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBrokenReadersAndWriters(t *testing.T) {
	p := make([]byte, 16)
	err := bothends.ReadMessage(readerFunc(func([]byte) (int, error) { return 0, nil }), p)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that never returns anything: %v", err)
	}
	for _, n := range []int{-1, 17} {
		if err := bothends.ReadMessage(readerFunc(func([]byte) (int, error) { return n, nil }), p); err == nil {
			t.Errorf("a reader that returns %d of 16: no error", n)
		}
		if err := bothends.WriteMessage(writerFunc(func([]byte) (int, error) { return n, nil }), p); err == nil {
			t.Errorf("a writer that returns %d of 16: no error", n)
		}
	}
	err = bothends.WriteMessage(writerFunc(func([]byte) (int, error) { return 0, nil }), p)
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a writer that takes nothing: %v", err)
	}
}

func TestWriteMessage(t *testing.T) {
	var got bytes.Buffer
	sevens := writerFunc(func(p []byte) (int, error) { return got.Write(p[:min(7, len(p))]) })
	if err := bothends.WriteMessage(sevens, []byte(sixteen)); err != nil || got.String() != sixteen {
		t.Errorf("%q, %v", &got, err)
	}
	err := bothends.WriteMessage(writerFunc(func([]byte) (int, error) { return 3, syscall.EPIPE }), []byte(sixteen))
	var short *bothends.ShortError
	if !errors.As(err, &short) || short.Op != "write" || short.Done != 3 || short.Want != 16 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("cut write: %#v", err)
	}
	if want := "broken pipe 3 bytes into a 16-byte message"; err.Error() != want {
		t.Errorf("text %q, want %q", err, want)
	}
}

// FuzzReadMessage varies a stream, the sizes of the pieces in which it arrives, and the
// message size. The message is the start of the stream, or the error contains the number
// of octets.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte(sixteen), []byte{7, 9}, uint16(16), true)
	f.Add([]byte(sixteen), []byte{0, 1}, uint16(17), false)
	f.Add([]byte{}, []byte{}, uint16(0), true)
	f.Fuzz(func(t *testing.T, stream, cuts []byte, size uint16, withLast bool) {
		rest, reads := stream, 0
		r := readerFunc(func(p []byte) (int, error) {
			n := min(len(rest), len(p))
			if len(cuts) > 0 {
				n = min(n, max(1, int(cuts[reads%len(cuts)])))
				reads++
			}
			copy(p, rest[:n])
			rest = rest[n:]
			if len(rest) == 0 && (n == 0 || withLast) {
				return n, io.EOF
			}
			return n, nil
		})
		p := make([]byte, size)
		err := bothends.ReadMessage(r, p)
		if len(stream) >= int(size) {
			if err != nil || !bytes.Equal(p, stream[:size]) || len(rest) != len(stream)-int(size) {
				t.Fatalf("%d of %d octets: %v, %d left", size, len(stream), err, len(rest))
			}
			return
		}
		var short *bothends.ShortError
		if !errors.As(err, &short) || short.Done != len(stream) || short.Want != int(size) {
			t.Fatalf("%d of %d octets: %v", size, len(stream), err)
		}
		want := bothends.Short
		if len(stream) == 0 {
			want = bothends.Closed
		}
		if got := bothends.Classify(err); got != want {
			t.Fatalf("%v is %v, want %v", err, got, want)
		}
	})
}
