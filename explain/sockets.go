package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/bothends/bothends"
	"github.com/bothends/bothends/internal/socktable"
	"github.com/bothends/bothends/transcript"
)

var sockets = Lesson{
	Name:     "sockets",
	Title:    "One listening socket, and one more for each connection, on one port",
	Remember: "A listening socket never carries data. For each connection there is a new socket on the same port. The address of the client distinguishes them, and each is closed separately.",
	Function: "s.accept(), which returns sc, a new socket, and leaves s listening",
	run:      runSockets,
}

// A gathering is a listening socket and its connections.
type gathering struct {
	*stage
	ln       net.Listener
	port     uint16
	clients  []*net.TCPConn
	servers  []*net.TCPConn
	loopback netip.Addr
	waiting  uint32 // connections that have not been accepted
}

func runSockets(ctx context.Context, set Setting) ([]Step, error) {
	g := &gathering{stage: newStage(set)}
	defer g.end()
	for _, situation := range []func(context.Context) error{
		g.listens, g.connects, g.accepts, g.serverCloses, g.clientCloses, g.stopsListening, g.allClose,
	} {
		if err := situation(ctx); err != nil {
			return g.steps, err
		}
	}
	return g.steps, nil
}

func (g *gathering) end() {
	for _, c := range slices.Concat(g.clients, g.servers) {
		c.Close()
	}
	if g.ln != nil {
		g.ln.Close()
	}
}

// onPort returns the kernel's table for the port. The lesson is not available only if the
// system has no table. Other errors, such as too many open files, may be temporary.
func onPort(port uint16) ([]socktable.Socket, error) {
	rows, err := socktable.OnPort(port)
	if errors.Is(err, socktable.ErrNotAvailable) {
		err = fmt.Errorf("%w: %w", ErrNotAvailable, err)
	}
	return rows, err
}

// states contains the number of sockets of one end in each
// state.
type states map[string]int

// String returns a text such as "1 LISTEN and 2 ESTABLISHED".
func (s states) String() string {
	var counts []string
	for _, state := range slices.Sorted(maps.Keys(s)) {
		counts = append(counts, fmt.Sprintf("%d %s", s[state], state))
	}
	return cmp.Or(strings.Join(counts, " and "), "none")
}

// table waits until the kernel's table is as expected. It returns the table as lines, even
// if it is not as expected.
func (g *gathering) table(ctx context.Context, server, client states) (lines string, as bool, err error) {
	as, err = g.awaitTable(ctx, func() (bool, error) {
		rows, err := onPort(g.port)
		rows = slices.DeleteFunc(rows, func(s socktable.Socket) bool { return s.Local.Addr() != g.loopback })
		lines = g.lines(rows)
		return g.counts(rows, server, client), err
	})
	return lines, as, err
}

func (g *gathering) counts(rows []socktable.Socket, server, client states) bool {
	at, from := make(states), make(states)
	for _, s := range rows {
		if s.State == "LISTEN" && s.Unread != g.waiting {
			return false
		}
		if s.Local.Port() == g.port {
			at[s.State]++
		} else {
			from[s.State]++
		}
	}
	return maps.Equal(at, server) && maps.Equal(from, client)
}

// lines returns the rows of the table. The server's rows are first. The rows of each end
// are in the order in which the clients connected.
func (g *gathering) lines(rows []socktable.Socket) string {
	place := func(s socktable.Socket) int {
		if s.Local.Port() == g.port {
			return g.number(s.Peer.Port())
		}
		return len(g.clients) + g.number(s.Local.Port())
	}
	slices.SortFunc(rows, func(a, b socktable.Socket) int { return place(a) - place(b) })
	var b strings.Builder
	for _, s := range rows {
		end, peer := "client", transcript.HostPortName(s.Peer.String())
		if s.Local.Port() == g.port {
			end = "server"
		}
		if s.State == "LISTEN" {
			peer = fmt.Sprintf("waiting for accept: %d", s.Unread)
		}
		fmt.Fprintf(&b, "%*s%s %-20s %-20s %s\n", indent, "", end, transcript.HostPortName(s.Local.String()), peer, s.State)
	}
	if b.Len() == 0 {
		fmt.Fprintf(&b, "%*s(none)\n", indent, "")
	}
	return b.String()
}

// show adds a step with the table.
func (g *gathering) show(ctx context.Context, end, line, why string, server, client states) error {
	g.step(end, line, why)
	lines, as, err := g.table(ctx, server, client)
	if err != nil {
		return err
	}
	g.steps[len(g.steps)-1].Block = lines
	g.claim(as, "the server's sockets would be %v, and the clients' %v, with %d waiting for accept", server, client, g.waiting)
	return nil
}

func (g *gathering) listens(ctx context.Context) error {
	if err := g.listenAfresh(); err != nil {
		return err
	}
	return g.show(ctx, "server", "bind(), listen()",
		"One socket in the kernel's table. It has a local address, but no peer, so it cannot carry data.",
		states{"LISTEN": 1}, states{})
}

// listenAfresh listens at a free port that is not in the kernel's table. A port in the
// table may belong to connections of earlier lessons in TIME_WAIT.
func (g *gathering) listenAfresh() (err error) {
	for range 10 {
		if g.ln, err = listen(0); err != nil {
			return err
		}
		addr := g.ln.Addr().(*net.TCPAddr).AddrPort()
		g.port, g.loopback = addr.Port(), addr.Addr().Unmap()
		rows, err := onPort(g.port)
		if err != nil || len(rows) == 1 {
			return err
		}
		g.ln.Close()
	}
	return errors.New("all free ports have old connections")
}

// together is the number of clients.
const together = 3

func (g *gathering) connects(ctx context.Context) error {
	for range together {
		conn, _, err := g.dial(ctx, "tcp", g.ln.Addr().String(), dialLimit)
		if err != nil {
			return err
		}
		g.clients = append(g.clients, conn.(*net.TCPConn))
	}
	g.waiting = together
	return g.show(ctx, "client", fmt.Sprintf("connect(), %d times", together),
		"The kernel created a socket at each end of each connection. The server program has none of them yet. They wait in "+
			"the queue of the listening socket.",
		states{"LISTEN": 1, "ESTABLISHED": together}, states{"ESTABLISHED": together})
}

func (g *gathering) accepts(ctx context.Context) error {
	var clients []string
	for _, c := range g.clients {
		clients = append(clients, c.LocalAddr().String())
	}
	for range together {
		conn, err := acceptFrom(ctx, g.ln, clients...)
		if err != nil {
			return err
		}
		g.servers = append(g.servers, conn)
	}
	g.waiting = 0
	// The connections should arrive in the order in which they were made.
	slices.SortFunc(g.servers, func(a, b *net.TCPConn) int {
		return g.number(uint16(port(a.RemoteAddr()))) - g.number(uint16(port(b.RemoteAddr())))
	})
	return g.show(ctx, "server", fmt.Sprintf("accept(), %d times: %d new sockets", together, together),
		"There are no new rows, but the queue is empty: accept() has returned the sockets to the program. All have the same "+
			"port as the listening socket. The address of the client distinguishes them.",
		states{"LISTEN": 1, "ESTABLISHED": together}, states{"ESTABLISHED": together})
}

// number returns the index of the client with that port, or -1 for the listening socket.
func (g *gathering) number(clientPort uint16) int {
	return slices.IndexFunc(g.clients, func(c *net.TCPConn) bool { return port(c.LocalAddr()) == int(clientPort) })
}

func (g *gathering) serverCloses(ctx context.Context) error {
	if err := g.servers[0].Close(); err != nil {
		return err
	}
	err := g.show(ctx, "server", "close() of the first client's socket",
		"The server program has closed the socket, but the kernel keeps it. The server's FIN is acknowledged (FIN_WAIT2). The "+
			"client's end has received the FIN (CLOSE_WAIT), and can send until it closes too.",
		states{"LISTEN": 1, "ESTABLISHED": 2, "FIN_WAIT2": 1}, states{"ESTABLISHED": 2, "CLOSE_WAIT": 1})
	if err != nil {
		return err
	}
	if err := g.clients[0].Close(); err != nil {
		return err
	}
	return g.show(ctx, "client", "close() of the first connection at the other end",
		"The client's end is gone. The server's end closed first, so it is the one in TIME_WAIT, in case a late segment arrives.",
		states{"LISTEN": 1, "ESTABLISHED": 2, "TIME_WAIT": 1}, states{"ESTABLISHED": 2})
}

func (g *gathering) clientCloses(ctx context.Context) error {
	if err := g.clients[1].Close(); err != nil {
		return err
	}
	err := g.show(ctx, "client", "close() of the second connection",
		"The same with the ends exchanged. A server that does not read does not notice the FIN, and its socket can stay in CLOSE_WAIT as long as the server runs.",
		states{"LISTEN": 1, "ESTABLISHED": 1, "TIME_WAIT": 1, "CLOSE_WAIT": 1}, states{"ESTABLISHED": 1, "FIN_WAIT2": 1})
	if err != nil {
		return err
	}
	if err := g.servers[1].Close(); err != nil {
		return err
	}
	return g.show(ctx, "server", "close() of the second client's socket",
		"Now a client's end is in TIME_WAIT, and keeps its port for that time.",
		states{"LISTEN": 1, "ESTABLISHED": 1, "TIME_WAIT": 1}, states{"ESTABLISHED": 1, "TIME_WAIT": 1})
}

func (g *gathering) stopsListening(ctx context.Context) error {
	if err := g.ln.Close(); err != nil {
		return err
	}
	err := g.show(ctx, "server", "close() of the listening socket",
		"No client can connect now. The third connection does not need the listening socket.",
		states{"ESTABLISHED": 1, "TIME_WAIT": 1}, states{"ESTABLISHED": 1, "TIME_WAIT": 1})
	if err != nil {
		return err
	}
	request := make([]byte, bothends.DefaultMessageSize)
	if err := bothends.WriteMessage(g.clients[2], []byte(bothends.DefaultRequest)); err != nil {
		return err
	}
	if err := bothends.ReadMessage(g.servers[2], request); err != nil {
		return err
	}
	g.step("server", "the third client says "+transcript.Quote(request), "The third connection works as before.")
	g.claim(string(request) == bothends.DefaultRequest, "it would say %q", bothends.DefaultRequest)
	return nil
}

func (g *gathering) allClose(ctx context.Context) error {
	if err := g.servers[2].Close(); err != nil {
		return err
	}
	if _, _, err := g.table(ctx, states{"FIN_WAIT2": 1, "TIME_WAIT": 1}, states{"CLOSE_WAIT": 1, "TIME_WAIT": 1}); err != nil {
		return err
	}
	if err := g.clients[2].Close(); err != nil {
		return err
	}
	return g.show(ctx, "server", "close() of the third, and then the client's",
		"No program has a socket of these connections now. The kernel still has three, each at the end that closed first. On Linux, it keeps them for one minute.",
		states{"TIME_WAIT": 2}, states{"TIME_WAIT": 1})
}
