package bothends

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// ErrServerClosed is returned by [Server.Serve] after Shutdown or Close.
var ErrServerClosed = errors.New("bothends: server closed")

// ErrDenied is the error for a peer that an allow list or a limit rejected. A
// [Server.Reply] may return it or wrap it.
var ErrDenied = errors.New("denied")

// A MismatchError is returned if a complete reply is not the expected one.
type MismatchError struct {
	Got, Want []byte
}

// Error returns a text with the first 64 octets of both replies.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("the reply %s is not the expected %s", excerpt(e.Got), excerpt(e.Want))
}

func excerpt(p []byte) string {
	const most = 64
	if len(p) <= most {
		return fmt.Sprintf("%q", p)
	}
	return fmt.Sprintf("%q... (%d octets)", bytes.ToValidUTF8(p[:most], nil), len(p))
}

// An ExchangeError contains the step in which an exchange failed, the peer, and the
// cause.
type ExchangeError struct {
	Op   string // "resolve", "bind", "connect", "admit", "secure", "send", "receive" or "reply"
	Peer string // the peer as host:port, the name for "resolve", the local address for "bind"
	Err  error
}

// Error returns the step, the peer and the reason, such as "receive from
// 127.0.0.1:1060: connection reset by peer 10 bytes into a 16-byte message".
func (e *ExchangeError) Error() string {
	phrase, ok := map[string]string{
		"bind": "bind to", "connect": "connect to", "secure": "TLS handshake with", "send": "send to",
		"receive": "receive from", "reply": "reply to",
	}[e.Op]
	if !ok {
		phrase = e.Op
	}
	return fmt.Sprintf("%s %s: %s", phrase, e.Peer, Reason(e.Err))
}

// Unwrap returns the cause.
func (e *ExchangeError) Unwrap() error { return e.Err }

// failedIn returns the ExchangeError of a step on conn. If ctx ended the step, the error
// wraps the cause of ctx.
func failedIn(ctx context.Context, op string, conn net.Conn, err error) error {
	return &ExchangeError{op, peerOf(conn), withCause(ctx, err)}
}

// withCause adds the cause of ctx to err if ctx has ended the operation. Without it, err
// contains only the deadline in the past that stopped the operation.
func withCause(ctx context.Context, err error) error {
	if ctx.Err() == nil || !isTimeout(err) && !errors.Is(err, context.Canceled) {
		return err
	}
	if short, ok := err.(*ShortError); ok {
		return &ShortError{short.Op, short.Done, short.Want, withCause(ctx, short.Err)}
	}
	return &stoppedError{err, ctx.Err(), context.Cause(ctx)}
}

// A stoppedError is the error of an operation whose context has ended.
type stoppedError struct{ err, ended, cause error }

func (e *stoppedError) Error() string { return e.cause.Error() }

func (e *stoppedError) Unwrap() []error { return []error{e.err, e.ended, e.cause} }

// Reason returns the cause of an error as text, such as "connection refused" or "timed
// out". The text does not contain the operation and the address.
func Reason(err error) string {
	if short, ok := err.(*ShortError); ok {
		return short.Error()
	}
	var stopped *stoppedError
	switch {
	case err == nil:
		return "no reason given"
	case errors.Is(err, ErrServerClosed):
		return "stopped by shutdown"
	case errors.As(err, &stopped) && isCanceled(err) && stopped.cause != stopped.ended:
		return stopped.cause.Error()
	case isCanceled(err) && errors.Is(err, context.Canceled):
		return "canceled"
	case is[*net.DNSError](err) || !isTimeout(err):
		return innermost(err)
	}
	return "timed out"
}

func innermost(err error) string {
	switch e := err.(type) {
	case *net.OpError:
		return innermost(e.Err)
	case *os.SyscallError:
		return innermost(e.Err)
	case *net.DNSError:
		return e.Err
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return "socket closed"
	}
	// crypto/tls wraps errors in a type with the same text.
	if inner := errors.Unwrap(err); inner != nil && inner.Error() == err.Error() {
		return innermost(inner)
	}
	return err.Error()
}
