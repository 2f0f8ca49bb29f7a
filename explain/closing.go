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
	Title:    "Who closes first, what close() may destroy, and why SO_REUSEADDR",
	Remember: "Each end closes its own direction, with a FIN; the end that is first keeps the connection's name for a while, and an end that closes on unread octets breaks the connection instead.",
	Function: "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), and the close() that it does not call",
	run:      runClose,
}

func runClose(ctx context.Context, set Setting) ([]Step, error) {
	return newStage(set).perform(ctx,
		connected(serverFirst), connected(clientFirst), connected(halfClose), connected(closeOnUnread), reuse)
}

func serverFirst(ctx context.Context, s *stage) error {
	return s.closeInTurn(ctx, "server", s.server, s.client, "The FIN is an end of file for the client: its recv() returned 0. It closed then, and was second.")
}

func clientFirst(ctx context.Context, s *stage) error {
	return s.closeInTurn(ctx, "client", s.client, s.server, "The same, exchanged. A client that makes many connections and is first each time "+
		"has that many ports in TIME_WAIT, and may run out of them: one reason to let the server be first.")
}

// closeInTurn closes one end, and the other when it has noticed.
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
		return fmt.Errorf("the end that was to be closed second read %d octets: %s", n, bothends.Reason(err))
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
		"Who closed first waits there, so that nothing late can get into a new connection of the same name: for twice the longest life of a segment, says RFC 9293, 3.6; for a minute, says Linux.")
	s.claim(kept == "the "+end+"'s end", "it would be the %s's end", end)
	return nil
}

// timeWaits is timeWait, for up to a second: the last acknowledgement may be on its way.
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
	s.step("client", "send(16), shutdown(SHUT_WR)", "A half-close: the FIN says that nothing more will be sent. Receiving goes on.")
	request, err := io.ReadAll(s.server)
	if err != nil {
		return err
	}
	s.step("server", fmt.Sprintf("recv() to the end: %s", transcript.Quote(request)), "The server knows that it has everything: no length needs to be agreed on for that.")
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
	s.step("client", fmt.Sprintf("recv() to the end: %s", transcript.Quote(reply)), "The other direction was still open, and the reply came. A program, or a proxy, that takes the FIN for the end of all loses it.")
	s.claim(string(reply) == bothends.DefaultReply, "it would be %q", bothends.DefaultReply)
	return nil
}

// closeOnUnread closes a socket that has octets which nobody has read.
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
		"The client had sent one octet too many. To close now is to throw it away, and the kernel says so: not FIN, but RST (RFC 1122, 4.2.2.13).")
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
		"The client sees a failure. Had a reply been on its way, the RST could have destroyed it: so read what comes, until the peer's FIN, before you close.")
	s.claim(outcome == bothends.Reset, "it would be reset%s", butWas(err))
	return nil
}

// reuse lets a server end with a connection in TIME_WAIT, and starts it again.
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
	s.step("server", fmt.Sprintf("at %s: one connection, closed first; then it ends", transcript.SocketName(addr)),
		"The server's program is gone. Its last connection is still there, in TIME_WAIT, and has the server's port.")
	s.claim(waits, "its connection would still be there, in TIME_WAIT, and have the server's port")
	if !waits {
		return nil // so the port is free in any case
	}
	for _, on := range []bool{false, true} {
		err := bindAgain(ctx, addr, on)
		if err != nil && !errno.AddrInUse.Has(err) {
			return err
		}
		line, why := "bind() again, without SO_REUSEADDR", "The kernel does not give the port away while a connection has it: for a minute, the server could not be started."
		if on {
			line, why = "bind() again, with SO_REUSEADDR", "The option says: connections in TIME_WAIT may keep it, I want to listen there all the same. So every server sets it, and Go's does unasked."
		}
		s.step("server", line+": "+said(err), why)
		s.claim((err == nil) == on, "it would work with SO_REUSEADDR, and only so")
	}
	return nil
}

func said(err error) string {
	if err == nil {
		return "it worked"
	}
	return strings.TrimPrefix(bothends.Reason(err), "bind: ")
}

// closeOneAt makes a connection to ln, closes it at the server's end first, and tells
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
		return false, fmt.Errorf("the client read %d octets in place of the end: %v", n, bothends.Reason(err))
	}
	if err := client.Close(); err != nil {
		return false, err
	}
	waits, _, err = s.timeWaits(ctx, names[0], names[1])
	return waits, err
}

// bindAgain listens at addr, with SO_REUSEADDR or without.
func bindAgain(ctx context.Context, addr net.Addr, reuseAddr bool) error {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return setReuseAddr(raw, reuseAddr) }}
	config.SetMultipathTCP(false)
	ln, err := config.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	return ln.Close()
}
