package explain

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/bothends/bothends/internal/need"
	"github.com/bothends/bothends/internal/socktable"
)

// timeWait finds the end that closed first.
func TestTimeWait(t *testing.T) {
	if _, err := socktable.OnPort(1); errors.Is(err, socktable.ErrNotAvailable) {
		need.Skip(t, "the kernel's sock_diag")
	}
	for _, serverFirst := range []bool{true, false} {
		ln, err := listen(0)
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		first, second := server, client
		if !serverFirst {
			first, second = client, server
		}
		first.Close()
		io.Copy(io.Discard, second)
		second.Close()
		// The last ACK is on its way when close returns.
		var serverWaits, clientWaits bool
		for end := time.Now().Add(5 * time.Second); !serverWaits && !clientWaits && time.Now().Before(end); {
			serverWaits, clientWaits, err = timeWait(client.RemoteAddr(), client.LocalAddr())
		}
		if err != nil || serverWaits != serverFirst || clientWaits == serverFirst {
			t.Errorf("server first %v: server waits %v, client waits %v, %v", serverFirst, serverWaits, clientWaits, err)
		}
	}
}
