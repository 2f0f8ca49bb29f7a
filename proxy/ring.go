package proxy

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
)

// A node is a proxy in the search for a ring: a proxy whose target is itself, or is a
// proxy that leads back to it. One connection to a ring would use all descriptors.
type node struct {
	name   string
	listen netip.AddrPort
	target []netip.AddrPort
}

// nodes are the proxies that a Set has or is to have.
type nodes struct {
	all    []node
	byPort map[uint16][]int
}

func newNodes(all []node) *nodes {
	n := &nodes{all, make(map[uint16][]int)}
	for i, o := range all {
		n.byPort[o.listen.Port()] = append(n.byPort[o.listen.Port()], i)
	}
	return n
}

// ring returns the names of the proxies between the one at start and itself, both
// without the second time; nil if there is no way back.
func (n *nodes) ring(start int) []string {
	return n.way(start, start, make(map[int]bool))
}

func (n *nodes) way(from, to int, seen map[int]bool) []string {
	seen[from] = true
	for _, target := range n.all[from].target {
		for _, next := range n.byPort[target.Port()] {
			if next != to && seen[next] || !reaches(target, n.all[next].listen) {
				continue
			}
			if next == to {
				return []string{n.all[from].name}
			}
			if rest := n.way(next, to, seen); rest != nil {
				return append([]string{n.all[from].name}, rest...)
			}
		}
	}
	return nil
}

// errRingNow ends a connection whose target has become its own proxy.
var errRingNow = errors.New("the target leads back to this proxy")

// A family is proxies of one process that know of one another. It finds rings that
// exist only while they run, because a name has got another address.
type family struct {
	mu      sync.Mutex
	members map[*Proxy]*kin
	byPort  map[uint16][]*Proxy
}

// A kin is a proxy that listens.
type kin struct {
	listen netip.AddrPort
	edges  map[*Proxy]int // open connections to other members, and those in the making
}

func (f *family) join(p *Proxy, listen netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.members == nil {
		f.members = make(map[*Proxy]*kin)
		f.byPort = make(map[uint16][]*Proxy)
	}
	f.members[p] = &kin{listen, make(map[*Proxy]int)}
	f.byPort[listen.Port()] = append(f.byPort[listen.Port()], p)
}

func (f *family) leave(p *Proxy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	port := f.members[p].listen.Port()
	delete(f.members, p)
	f.byPort[port] = slices.DeleteFunc(f.byPort[port], func(o *Proxy) bool { return o == p })
}

// connecting notes that p is about to connect to an address. It returns the member that
// listens there, nil for none. It returns errRingNow, and notes nothing, if that member
// leads back to p. To note it before the member can accept is what stops a ring.
func (f *family) connecting(p *Proxy, to netip.AddrPort) (*Proxy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, other := range f.byPort[to.Port()] {
		if !reaches(to, f.members[other].listen) {
			continue
		}
		if f.leads(other, p, make(map[*Proxy]bool)) {
			return nil, errRingNow
		}
		if self := f.members[p]; self != nil {
			self.edges[other]++
		}
		return other, nil
	}
	return nil, nil
}

func (f *family) disconnected(p, next *Proxy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if k := f.members[p]; k != nil {
		if k.edges[next]--; k.edges[next] == 0 {
			delete(k.edges, next)
		}
	}
}

// leads reports whether open connections lead from one member to another.
func (f *family) leads(from, to *Proxy, seen map[*Proxy]bool) bool {
	if from == to {
		return true
	}
	seen[from] = true
	k := f.members[from]
	if k == nil {
		return false
	}
	for next := range k.edges {
		if !seen[next] && f.leads(next, to, seen) {
			return true
		}
	}
	return false
}
