package proxy

import (
	"errors"
	"slices"
	"sync"
)

// A node is a proxy in the search for a ring: a proxy whose target is itself, or is a
// proxy that leads back to it. One connection to a ring would use all descriptors.
type node struct {
	name   string
	listen endpoint
	target []endpoint
}

// nodes are the proxies that a Set has or is to have.
type nodes struct {
	all []node
	at  map[group][]int
}

func newNodes(all []node) *nodes {
	n := &nodes{all, make(map[group][]int)}
	for i, o := range all {
		n.at[o.listen.group()] = append(n.at[o.listen.group()], i)
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
		for _, next := range n.at[target.group()] {
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

// A family is the proxies of a Set, or one proxy without a Set. It finds rings that exist
// only while they run, because a name has another address than before.
type family struct {
	mu      sync.Mutex
	members map[*Proxy]*kin
	at      map[group][]*Proxy
}

// A kin is a proxy that listens.
type kin struct {
	listen endpoint
	edges  map[*Proxy]int // open connections to other members, and those being made
}

func (f *family) join(p *Proxy, listen endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.members == nil {
		f.members = make(map[*Proxy]*kin)
		f.at = make(map[group][]*Proxy)
	}
	f.members[p] = &kin{listen, make(map[*Proxy]int)}
	f.at[listen.group()] = append(f.at[listen.group()], p)
}

func (f *family) leave(p *Proxy) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.members[p].listen.group()
	delete(f.members, p)
	f.at[at] = slices.DeleteFunc(f.at[at], func(o *Proxy) bool { return o == p })
}

// connecting notes that p is about to connect to an address. It returns the member that
// listens there, nil for none. It returns errRingNow, and notes nothing, if that member
// leads back to p. To note it before the member can accept is what stops a ring.
func (f *family) connecting(p *Proxy, to endpoint) (*Proxy, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, other := range f.at[to.group()] {
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
