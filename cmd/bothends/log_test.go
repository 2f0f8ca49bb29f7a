package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
)

// What a library logs has the form of every other message.
func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out)
	accept := &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	log.Warn("accept failed", "err", accept, "failures", 3)
	log.Warn("connection limit reached", slog.Group("of", "server", 1))
	log.With("proxy", "db").WithGroup("api").Info("changed", "by", "127.0.0.1", "text", "a\nb")
	log.Error("failed", "err", errors.New("no reason"))
	log.Debug("not shown")
	const want = `bothends: accept failed: too many open files (failures 3)
bothends: connection limit reached (of [server=1])
bothends: changed (proxy db, api.by 127.0.0.1, api.text "a\nb")
bothends: failed: no reason
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
}
