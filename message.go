package bothends

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// A ShortError is returned if a message was not read or written completely.
type ShortError struct {
	Op   string // "read" or "write"
	Done int    // number of octets that were read or written
	Want int    // length of the message in octets
	Err  error  // io.EOF at 0 octets, io.ErrUnexpectedEOF later, or the error of the connection
}

// Error returns "socket closed 4 bytes into a 16-byte message" if the peer closed the
// connection. For other errors, the text starts with the reason of Err.
func (e *ShortError) Error() string {
	return fmt.Sprintf("%s %d bytes into a %d-byte message", Reason(e.Err), e.Done, e.Want)
}

// Unwrap returns the cause.
func (e *ShortError) Unwrap() error { return e.Err }

// ReadMessage reads from r until p is full, with as many reads as necessary. It does not
// read past the end of the message.
//
// If the message is not complete, the error is a *[ShortError]. It wraps [io.EOF] if the
// stream ended before the first octet, [io.ErrUnexpectedEOF] if it ended later, and the
// error of r otherwise. An error that r returns together with the last octet is ignored;
// the next read returns it.
func ReadMessage(r io.Reader, p []byte) error {
	_, err := receive(r, p[:0:len(p)], len(p), nil)
	return err
}

// WriteMessage writes p to w, with as many writes as necessary. If the message is not
// written completely, the error is a *[ShortError] that wraps the error of w.
func WriteMessage(w io.Writer, p []byte) error {
	return send(w, p, nil)
}

const (
	// firstBuffer is the maximum initial size of a message's buffer. The buffer grows
	// with the octets that arrive, so a long message that does not arrive needs little
	// memory.
	firstBuffer = 64 << 10
	// maxEmptyReads is the number of successive reads that may return neither octets
	// nor an error.
	maxEmptyReads = 100
)

// receive appends to buf until it holds want octets. It calls hook, which may be nil,
// after each read.
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

// atEnd returns io.ErrUnexpectedEOF if the stream ended inside a message, and err
// otherwise.
func atEnd(err error, done int) error {
	if done > 0 && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// send writes p to w. It calls hook, which may be nil, after each write.
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

// now returns the current time if hook is not nil, and the zero time otherwise.
func now(hook func(Transfer)) (t time.Time) {
	if hook != nil {
		t = time.Now()
	}
	return t
}
