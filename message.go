package bothends

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// A ShortError says that a message was cut: how many octets of it had been
// moved, how many there should have been, and what came instead of the rest.
type ShortError struct {
	Op   string // "read" or "write"
	Done int    // octets of the message that were read or written
	Want int    // octets of the whole message
	Err  error  // io.EOF at 0 octets, io.ErrUnexpectedEOF later, or the connection's own error
}

// Error is, for a peer that closed early, "socket closed 4 bytes into a 16-byte
// message"; for any other cause that cause stands in the place of "socket closed".
func (e *ShortError) Error() string {
	return fmt.Sprintf("%s %d bytes into a %d-byte message", Reason(e.Err), e.Done, e.Want)
}

// Unwrap returns the cause.
func (e *ShortError) Unwrap() error { return e.Err }

// ReadMessage reads from r until p is full, however the octets were cut on
// their way. It never asks for more than what is still missing.
//
// A message that does not become whole is a *[ShortError]: its cause is [io.EOF]
// when the stream ended before the first octet, [io.ErrUnexpectedEOF] when it
// ended later, and otherwise the error of r. An error that comes together with
// the last octet is left for the next read to return.
func ReadMessage(r io.Reader, p []byte) error {
	_, err := receive(r, p[:0:len(p)], len(p), nil)
	return err
}

// WriteMessage writes p to w, in as many pieces as w takes it.
// A message that is not taken whole is a *[ShortError] with the cause of w.
func WriteMessage(w io.Writer, p []byte) error {
	return send(w, p, nil)
}

const (
	// A message's buffer starts no larger than this, and grows with what has
	// arrived: a peer that only announces a huge message costs nothing.
	firstBuffer = 64 << 10
	// A reader that returns nothing and no error this often in a row is broken.
	maxEmptyReads = 100
)

// receive appends to buf until it holds want octets, and tells hook, which may
// be nil, of each read.
func receive(r io.Reader, buf []byte, want int, hook func(Transfer)) ([]byte, error) {
	empty := 0
	for len(buf) < want {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, min(want-len(buf), max(len(buf), firstBuffer)))
		}
		room := buf[len(buf):min(cap(buf), want)]
		start := now(hook)
		n, err := r.Read(room)
		end := now(hook)
		if n < 0 || n > len(room) {
			n, err = 0, errors.New("reader returned an impossible count")
		}
		buf = buf[:len(buf)+n]
		tell(hook, Transfer{start, end, len(room), n, buf, want, err})
		if n > 0 {
			empty = 0
		} else if empty++; err == nil && empty == maxEmptyReads {
			err = io.ErrNoProgress
		}
		if err != nil && len(buf) < want {
			return buf, &ShortError{"read", len(buf), want, atEnd(err, len(buf))}
		}
	}
	return buf, nil
}

// atEnd tells the two ends of a stream apart: before a message and inside one.
func atEnd(err error, done int) error {
	if done > 0 && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// send writes p to w, and tells hook, which may be nil, of each write.
func send(w io.Writer, p []byte, hook func(Transfer)) error {
	for done := 0; done < len(p); {
		asked := len(p) - done
		start := now(hook)
		n, err := w.Write(p[done:])
		end := now(hook)
		if n < 0 || n > asked {
			n, err = 0, errors.New("writer returned an impossible count")
		}
		done += n
		tell(hook, Transfer{start, end, asked, n, p[:done], len(p), err})
		if n == 0 && err == nil {
			err = io.ErrShortWrite
		}
		if err != nil && done < len(p) {
			return &ShortError{"write", done, len(p), err}
		}
	}
	return nil
}

// now is the time, if anybody wants to know it.
func now(hook func(Transfer)) (t time.Time) {
	if hook != nil {
		t = time.Now()
	}
	return t
}
