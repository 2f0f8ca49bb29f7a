package explain

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/errno"
	"github.com/bothends/bothends/transcript"
)

var closing = Lesson{
	Name:     "close",
	Title:    "Who closes first, what close() can destroy, and why SO_REUSEADDR",
	Remember: "Each end closes its own direction with FIN. The end that closes first stays in TIME_WAIT. An end that closes with unread octets resets the connection.",
	Function: "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), and the close() that it does not call",
	run:      runClose,
}

func runClose(ctx context.Context, set Setting) ([]Step, error) {
	return newStage(set).perform(ctx,
		connected(serverFirst), connected(clientFirst), connected(halfClose), connected(closeOnUnread), reuse)
}

func serverFirst(ctx context.Context, s *stage) error {
	return s.closeInTurn(ctx, "server", s.server, s.client, "The client's recv() returned 0, because of the server's FIN. Then the client closed too.")
}

func clientFirst(ctx context.Context, s *stage) error {
	return s.closeInTurn(ctx, "client", s.client, s.server, "The same with the ends exchanged. A client that makes many connections and closes first "+
		"has one port in TIME_WAIT for each of them, and can run out of ports. This is one reason to let the server close first.")
}

// closeInTurn closes one end, and then the other end after it has received the FIN.
func (s *stage) closeInTurn(ctx context.Context, end string, first, second *net.TCPConn, why string) error {
	server, client := first.LocalAddr(), second.LocalAddr()
	if end == "client" {
		server, client = client, server
	}
	if err := first.Close(); err != nil {
		return err
	}
	n, err := second.Read(make([]byte, 1))
	if n != 0 || err != io.EOF {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the second end read %d octets before its close: %s", n, bothends.Reason(err))
	}
	if err := second.Close(); err != nil {
		return err
	}
	s.step(end, "close(), and then the other end", why)
	serverWaits, clientWaits, err := s.timeWaits(ctx, server, client)
	if err != nil {
		return err
	}
	kept := map[[2]bool]string{
		{true, false}: "the server's end", {false, true}: "the client's end", {true, true}: "both ends", {}: "neither end",
	}[[2]bool{serverWaits, clientWaits}]
	s.step("kernel", fmt.Sprintf("in TIME_WAIT: %s", kept),
		"The end that closed first stays in TIME_WAIT, so that late segments cannot get into a new connection with the same addresses and ports. RFC 9293, section 3.6, requires twice the maximum lifetime of a segment. On Linux it is one minute.")
	s.claim(kept == "the "+end+"'s end", "it would be the %s's end", end)
	return nil
}

// timeWaits is timeWait, repeated for up to 1 s, because the last acknowledgment may be
// on its way.
func (s *stage) timeWaits(ctx context.Context, server, client net.Addr) (atServer, atClient bool, err error) {
	_, err = s.awaitTable(ctx, func() (_ bool, err error) {
		atServer, atClient, err = timeWait(server, client)
		return atServer || atClient, err
	})
	return atServer, atClient, err
}

func halfClose(ctx context.Context, s *stage) error {
	if err := bothends.WriteMessage(s.client, []byte(bothends.DefaultRequest)); err != nil {
		return err
	}
	if err := s.client.CloseWrite(); err != nil {
		return err
	}
	s.step("client", "send(16), shutdown(SHUT_WR)", "A half-close: with FIN, the client will not send more, but it can still receive.")
	request, err := io.ReadAll(s.server)
	if err != nil {
		return err
	}
	s.step("server", fmt.Sprintf("recv() to the end: %s", transcript.Quote(request)), "The FIN shows the server that the request is complete, without a length that both ends agree on.")
	s.claim(string(request) == bothends.DefaultRequest, "it would be %q", bothends.DefaultRequest)
	if err := bothends.WriteMessage(s.server, []byte(bothends.DefaultReply)); err != nil {
		return err
	}
	if err := s.server.Close(); err != nil {
		return err
	}
	reply, err := io.ReadAll(s.client)
	if err != nil {
		return err
	}
	s.step("client", fmt.Sprintf("recv() to the end: %s", transcript.Quote(reply)), "The other direction was still open, and the reply arrived. A program or proxy that treats FIN as the end of the connection loses the reply.")
	s.claim(string(reply) == bothends.DefaultReply, "it would be %q", bothends.DefaultReply)
	return nil
}

// closeOnUnread closes a socket with unread octets.
func closeOnUnread(ctx context.Context, s *stage) error {
	const surplus = bothends.DefaultMessageSize + 1
	if _, err := s.client.Write(make([]byte, surplus)); err != nil {
		return err
	}
	if err := arrived(ctx, s.server, surplus); err != nil {
		return err
	}
	if err := bothends.ReadMessage(s.server, make([]byte, bothends.DefaultMessageSize)); err != nil {
		return err
	}
	left := unread(s.server)
	if err := s.server.Close(); err != nil {
		return err
	}
	s.step("server", fmt.Sprintf("recv(%d), then close() with %d unread", bothends.DefaultMessageSize, left),
		"The client had sent one octet more than the server read, and close() discards it. Then the kernel sends RST, not FIN (RFC 1122, section 4.2.2.13).")
	s.claim(left == 1, "one octet would be unread")
	n, err := s.client.Read(make([]byte, 16))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	outcome, got := bothends.Classify(err), "it returned "+fmt.Sprint(n)
	if err != nil {
		got = outcome.String()
	}
	s.step("client", "recv(16): "+got,
		"The client sees an error. An RST can also destroy a reply that the client has not read. To prevent this, read until the peer's FIN before you close.")
	s.claim(outcome == bothends.Reset, "it would be reset%s", butWas(err))
	return nil
}

// reuse ends a server with a connection in TIME_WAIT, and starts it again.
func reuse(ctx context.Context, s *stage) error {
	ln, err := listen(0)
	if err != nil {
		return err
	}
	addr := ln.Addr()
	waits, err := s.closeOneAt(ctx, ln)
	ln.Close()
	if err != nil {
		return err
	}
	s.step("server", fmt.Sprintf("close() of a connection at %s, then of the listener", transcript.SocketName(addr)),
		"The server no longer listens. Its last connection is still in TIME_WAIT, with the server's port.")
	s.claim(waits, "its connection would still be there, in TIME_WAIT, and have the server's port")
	if !waits {
		return nil // without TIME_WAIT the port is free
	}
	for _, on := range []bool{false, true} {
		err := bindAgain(ctx, addr, on)
		if err != nil && !errno.AddrInUse.Has(err) {
			return err
		}
		line, why := "bind() again, without SO_REUSEADDR", "The kernel does not give out the port while a connection has it. Without the option, a server cannot be restarted while its connections are in TIME_WAIT."
		if on {
			line, why = "bind() again, with SO_REUSEADDR", "With the option, the kernel allows it although connections in TIME_WAIT have the port. Servers set it for this reason. Go's net.Listen sets it by default."
		}
		s.step("server", line+": "+said(err), why)
		s.claim((err == nil) == on, "it would work only with SO_REUSEADDR")
	}
	return nil
}

func said(err error) string {
	if err == nil {
		return "it worked"
	}
	return strings.TrimPrefix(bothends.Reason(err), "bind: ")
}

// closeOneAt makes a connection to ln, closes the server's end first, and reports
// whether that end is in TIME_WAIT.
func (s *stage) closeOneAt(ctx context.Context, ln net.Listener) (waits bool, err error) {
	client, server, err := s.pair(ctx, ln)
	if err != nil {
		return false, err
	}
	defer client.Close()
	names := [2]net.Addr{server.LocalAddr(), client.LocalAddr()}
	if err := server.Close(); err != nil {
		return false, err
	}
	defer context.AfterFunc(ctx, func() { client.SetDeadline(longAgo) })()
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return false, fmt.Errorf("the client read %d octets instead of the end: %v", n, bothends.Reason(err))
	}
	if err := client.Close(); err != nil {
		return false, err
	}
	waits, _, err = s.timeWaits(ctx, names[0], names[1])
	return waits, err
}

// bindAgain listens at addr, with or without SO_REUSEADDR.
func bindAgain(ctx context.Context, addr net.Addr, reuseAddr bool) error {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return setReuseAddr(raw, reuseAddr) }}
	config.SetMultipathTCP(false)
	ln, err := config.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	return ln.Close()
}
