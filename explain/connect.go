package explain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/transcript"
)

var connect = Lesson{
	Name:     "connect",
	Title:    "What connect() does: a real operation on the network, which can fail",
	Remember: "If connect() succeeds, the kernel of the other machine has answered, but perhaps not a program. If it fails, the error shows whether there was an answer.",
	Function: "s.connect(), the client's first call that can fail",
	run:      runConnect,
}

func runConnect(ctx context.Context, set Setting) ([]Step, error) {
	return newStage(set).perform(ctx,
		connectRefused, connectBeforeAccept, connectHangs, connectUnreachable, connectUDP)
}

// connectRefused connects to a port on which no program listens.
func connectRefused(ctx context.Context, s *stage) error {
	ln, err := listen(0)
	if err != nil {
		return err
	}
	ln.Close()
	conn, took, err := s.dial(ctx, "tcp", ln.Addr().String(), dialLimit)
	if err == nil {
		conn.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.step("client", fmt.Sprintf("connect(%s): %v after %s", transcript.SocketName(ln.Addr()), bothends.Classify(err), millis(took)),
		"No program listens on that port. connect() fails with ECONNREFUSED if the answer to the SYN is RST, or an ICMP message from a firewall. It does not wait for a timeout.")
	s.claim(bothends.Classify(err) == bothends.Refused, "it would be refused%s", butWas(err))
	s.claim(took < atOnce, "it would fail within %s", millis(atOnce))
	return nil
}

// atOnce is much longer than a call that does not wait takes on this machine.
const atOnce = time.Second

// connectBeforeAccept connects to a program that listens but has not called accept.
func connectBeforeAccept(ctx context.Context, s *stage) error {
	ln, err := listen(0)
	if err != nil {
		return err
	}
	defer ln.Close()
	s.step("server", "listen(), and no accept()", "The server program does nothing else for now.")
	conn, took, err := s.dial(ctx, "tcp", ln.Addr().String(), dialLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := conn.Write([]byte(bothends.DefaultRequest))
	if err != nil {
		return err
	}
	s.step("client", fmt.Sprintf("connect(): ok after %s; send(%d): returned %d", millis(took), len(bothends.DefaultRequest), n),
		"The server's kernel completed the handshake without the program, and put the connection into the queue of the "+
			"listening socket (the backlog). The client can already send. It cannot see that no program has accepted.")
	began := time.Now()
	accepted, err := acceptFrom(ctx, ln, conn.LocalAddr().String())
	if err != nil {
		return err
	}
	defer accepted.Close()
	took = time.Since(began)
	s.step("server", fmt.Sprintf("accept(): returned after %s", millis(took)),
		"The connection was already complete. accept() only took it out of the queue.")
	s.claim(took < atOnce, "it would return within %s", millis(atOnce))
	return nil
}

// connections returns "1 connection is" or "n connections are".
func connections(n int) string {
	if n == 1 {
		return "1 connection is"
	}
	return fmt.Sprintf("%d connections are", n)
}

// hanging is the time limit for a connect that gets no answer.
const hanging = 300 * time.Millisecond

// connectHangs connects to a listener whose backlog is full.
func connectHangs(ctx context.Context, s *stage) error {
	ln, err := listen(0)
	if err != nil {
		return err
	}
	defer ln.Close()
	if err := setBacklog(ln, 0); err != nil {
		if errors.Is(err, ErrNotAvailable) {
			return nil // not possible on this system
		}
		return err
	}
	queued := 0
	for range 8 {
		conn, took, err := s.dial(ctx, "tcp", ln.Addr().String(), hanging)
		if err == nil {
			defer conn.Close()
			queued++
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.step("client", fmt.Sprintf("connect() number %d: %v after %s", queued+1, bothends.Classify(err), millis(took)),
			fmt.Sprintf("No answer came within %s, the time limit of this lesson. The server had called listen() with a backlog of "+
				"0, and %s in its queue. On Linux, the kernel drops a SYN if the queue is full, and the client's kernel sends it "+
				"again several times (net.ipv4.tcp_syn_retries).", millis(hanging), connections(queued)))
		s.claim(bothends.Classify(err) == bothends.Timeout, "there would be no answer%s", butWas(err))
		return nil
	}
	s.step("client", fmt.Sprintf("connect(), %d times: ok", queued), "The server had called listen() with a backlog of 0.")
	s.claim(false, "the queue would be full earlier, and connect would hang")
	return nil
}

// connectUnreachable uses an address that TCP cannot reach, a multicast group, so that
// nothing leaves this machine.
func connectUnreachable(ctx context.Context, s *stage) error {
	const addr = "224.0.0.1:1060"
	conn, took, err := s.dial(ctx, "tcp4", addr, dialLimit)
	if err == nil {
		conn.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.step("client", fmt.Sprintf("connect(%s): %v after %s", transcript.HostPortName(addr), bothends.Classify(err), millis(took)),
		"This error comes from the client's own kernel. The address is that of a multicast group, and TCP connects exactly two ends.")
	s.claim(bothends.Classify(err) == bothends.Unreachable, "it would be unreachable%s", butWas(err))
	return nil
}

// butWas returns the result of a call that did not return what a lesson expected.
func butWas(err error) string {
	if err == nil {
		return ", and it succeeded"
	}
	return ", and it was: " + bothends.Reason(err)
}

// connectUDP shows that connect sends nothing for UDP.
func connectUDP(ctx context.Context, s *stage) error {
	ln, err := listen(0) // to find a loopback address of this machine
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	defer packets.Close()
	addr := packets.LocalAddr()
	conn, took, err := s.dial(ctx, "udp", addr.String(), dialLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	packets.SetReadDeadline(time.Now().Add(listening))
	_, _, err = packets.ReadFrom(make([]byte, 16))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.step("client", fmt.Sprintf("UDP connect(%s): ok after %s", transcript.HostPortName(addr.String()), millis(took)),
		"The other socket received nothing within "+millis(listening)+": for UDP, connect() sends nothing. It stores the address. Later calls send to this address and receive only from it.")
	s.claim(errors.Is(err, os.ErrDeadlineExceeded), "nothing would arrive at the other end")
	packets.Close()
	return udpFindsOut(ctx, s, conn)
}

// listening is the time limit for a datagram that should not arrive.
const listening = 20 * time.Millisecond

// udpFindsOut sends to an address without a socket.
func udpFindsOut(ctx context.Context, s *stage, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(longAgo) })()
	n, sendErr := conn.Write([]byte("anybody there?"))
	conn.SetReadDeadline(time.Now().Add(time.Second))
	if ctx.Err() != nil { // the end of ctx may have woken it
		return ctx.Err()
	}
	_, err := conn.Read(make([]byte, 16))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.step("client", fmt.Sprintf("UDP send(14) after the other socket is closed: %s, then recv(): %v", sentUDP(n, sendErr), bothends.Classify(err)),
		"send() does not wait for an answer, so it cannot report the error. The other kernel answers with an ICMP message, and the next call reports that as ECONNREFUSED.")
	s.claim(sendErr == nil, "send() would succeed%s", butWas(sendErr))
	s.claim(bothends.Classify(err) == bothends.Refused, "recv() would be refused%s", butWas(err))
	return nil
}

func sentUDP(n int, err error) string {
	if err != nil {
		return bothends.Reason(err)
	}
	return fmt.Sprintf("returned %d", n)
}
