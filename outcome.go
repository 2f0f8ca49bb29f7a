package bothends

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/bothends/bothends/internal/errno"
)

// An Outcome is how an exchange ended. There are eleven. Transcripts, metrics, exit codes
// and reports all use them.
type Outcome uint8

// The outcomes. The zero value is OK.
const (
	OK          Outcome = iota // the request and the reply arrived completely
	Refused                    // connect was refused
	Unreachable                // no route, no such host, network down, or no local address or port available
	Timeout                    // a deadline passed, of this end or of the kernel
	Short                      // the peer closed inside a message
	Closed                     // the peer closed before the first octet of a message
	Reset                      // the peer reset the connection
	Mismatch                   // a complete reply arrived, but not the expected one
	TLS                        // TLS failed, in the handshake or later
	Denied                     // rejected by an allow list or a limit
	Canceled                   // this end stopped: by the user, by shutdown, by an error of Reply, or by an unknown error
)

var outcomeNames = [...]string{
	OK: "ok", Refused: "refused", Unreachable: "unreachable", Timeout: "timeout", Short: "short",
	Closed: "closed", Reset: "reset", Mismatch: "mismatch", TLS: "tls", Denied: "denied", Canceled: "canceled",
}

// Outcomes returns all outcomes, in the order of their declaration.
func Outcomes() []Outcome {
	all := make([]Outcome, len(outcomeNames))
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}

// String returns the outcome's name in lower case, as in JSON and metrics.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// MarshalText returns the outcome's name.
func (o Outcome) MarshalText() ([]byte, error) {
	if int(o) >= len(outcomeNames) {
		return nil, fmt.Errorf("no such outcome: %d", uint8(o))
	}
	return []byte(outcomeNames[o]), nil
}

// UnmarshalText sets o to the outcome with the name text. It returns an error if there is
// no such outcome.
func (o *Outcome) UnmarshalText(text []byte) error {
	i := slices.Index(outcomeNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("no such outcome: %q", text)
	}
	*o = Outcome(i)
	return nil
}

// Classify returns the outcome of an exchange that returned err.
//
// It knows the errors of this package, of net, crypto/tls, crypto/x509, context and the
// system. For an unknown error it returns [Unreachable] if connecting failed, [TLS] if a
// TLS handshake failed, and [Canceled] otherwise.
func Classify(err error) Outcome {
	if err == nil {
		return OK
	}
	// The order matters, because the error of a handshake or a read wraps its cause.
	for _, c := range [...]struct {
		is      func(error) bool
		outcome Outcome
	}{
		{isDenied, Denied},
		{isCanceled, Canceled},
		{isTimeout, Timeout},
		{inReply, Canceled}, // an error of Reply is not an error of this peer
		{is[*MismatchError], Mismatch},
		{errno.Refused.Has, Refused},
		{isReset, Reset},
		{isUnreachable, Unreachable},
		{isTLS, TLS},
		{isDial, Unreachable},
		{isShort, Short},
		{isEOF, Closed},
	} {
		if c.is(err) {
			return c.outcome
		}
	}
	return Canceled
}

func isDenied(err error) bool {
	return errors.Is(err, ErrDenied) && !is[*stoppedError](err)
}

func isCanceled(err error) bool {
	var stopped *stoppedError
	if errors.As(err, &stopped) { // its cause comes from the caller and may be any error
		return !errors.Is(stopped.ended, context.DeadlineExceeded)
	}
	return isAny(err, context.Canceled, ErrServerClosed, net.ErrClosed)
}

func isTimeout(err error) bool {
	if isAny(err, os.ErrDeadlineExceeded, context.DeadlineExceeded) {
		return true
	}
	var ne net.Error // of a resolver, or ETIMEDOUT of the kernel
	return errors.As(err, &ne) && ne.Timeout()
}

func inReply(err error) bool { return inStep(err, "reply") }

// isReset reports whether err is ECONNRESET or EPIPE, or the error of a write to a
// net.Pipe that the peer has closed. A read from a net.Pipe returns that error only after
// this end has closed.
func isReset(err error) bool {
	var short *ShortError
	return errno.Reset.Has(err) ||
		errors.Is(err, io.ErrClosedPipe) && !(errors.As(err, &short) && short.Op == "read")
}

func isUnreachable(err error) bool {
	return errno.Unreachable.Has(err) || is[*net.DNSError](err) || is[*net.AddrError](err)
}

func isTLS(err error) bool {
	if inStep(err, "secure") {
		return !isEOF(err) // a peer that closes during the handshake has the outcome Closed
	}
	// crypto/tls wraps alerts, whose type is not exported, in one of these.
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") ||
		is[tls.RecordHeaderError](err) || is[*tls.CertificateVerificationError](err) ||
		isPlainTLS(err)
}

// isPlainTLS reports whether err is or wraps an error of crypto/tls without an exported
// type, or an error of crypto/x509, which a VerifyConnection may return. It recognizes
// them by their text, which starts with the name of the package.
func isPlainTLS(err error) bool {
	if text := err.Error(); strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "x509: ") {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		inner := e.Unwrap()
		return inner != nil && isPlainTLS(inner)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(inner error) bool { return inner != nil && isPlainTLS(inner) })
	}
	return false
}

func isShort(err error) bool {
	var short *ShortError
	if errors.As(err, &short) {
		return short.Done > 0 && isEOF(err)
	}
	return errors.Is(err, io.ErrUnexpectedEOF) && !inStep(err, "secure")
}

func isEOF(err error) bool { return isAny(err, io.EOF, io.ErrUnexpectedEOF) }

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || inStep(err, "connect") || inStep(err, "resolve")
}

func inStep(err error, step string) bool {
	var e *ExchangeError
	return errors.As(err, &e) && e.Op == step
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}
