// Package proxy passes connections on to a server, with faults, to test how clients and
// servers behave when a network or a peer does not.
//
// A [Proxy] has faults (package fault) on what it sends to the target, on what it sends to
// the client, and on who can connect:
//
//	p := &proxy.Proxy{Target: "127.0.0.1:6379", Replies: fault.FailFirst(2, fault.Reset(10))}
//	ln, err := net.Listen("tcp", "127.0.0.1:7000")
//	...
//	go p.Serve(ln)
//
// The faults can change while connections are open ([Proxy.SetFault]), all connections can
// be closed ([Proxy.DropConns]), and the proxy can stop listening and start again
// ([Proxy.Disable], [Proxy.Enable]).
//
// Without a fault, the two connections are as faithful as one: a FIN of one side is passed
// on while the other still sends, an RST is passed on as an RST, after the octets that came
// before it, and a side that does not read stops only what is meant for it. On Linux the
// octets of a long transfer without a fault stay in the kernel (splice(2)). A connection
// has two descriptors, and four during such a transfer. Both sides may be TCP or unix
// sockets.
//
// A [Set] contains many proxies of one process, by name. Package proxy/admin changes them
// from a rules file and over HTTP.
package proxy
