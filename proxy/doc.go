// Package proxy stands between TCP clients and a server, and misbehaves on purpose.
//
// A [Proxy] passes octets on, both ways, with faults (package fault) on what it sends
// to the target, on what it sends to the client, and on who can connect at all:
//
//	p := &proxy.Proxy{Target: "127.0.0.1:6379", Replies: fault.FailFirst(2, fault.Reset(10))}
//	ln, err := net.Listen("tcp", "127.0.0.1:7000")
//	...
//	go p.Serve(ln)
//
// Where there is no fault it is as faithful as two connections in place of one can be:
// a FIN from one side is passed on while the other still sends, an RST is passed on as
// an RST, behind the octets that came before it, and a side that does not read stops
// only what is meant for it. On Linux the octets of a long transfer without a fault stay
// in the kernel (splice(2)). A connection has two descriptors, and four during such a
// transfer.
//
// A [Set] is many proxies in one process, by their names: from a file of rules
// ([ReadRules]), and over HTTP ([Admin], [Client]).
package proxy
