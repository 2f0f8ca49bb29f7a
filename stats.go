package bothends

import "iter"

// Stats is what a [Server] has counted since its start: one consistent snapshot, in
// which Accepted is always the sum of Ended and Open. It is safe to copy.
type Stats struct {
	Accepted int64  // connections that were accepted
	Open     int64  // connections that have not ended
	Ended    Counts // connections that have ended, by their outcome

	// Exchanges counts exchanges by their outcome. On a persistent connection there
	// may be any number of them. A connection that ends with an outcome other than OK
	// counts as one exchange with that outcome, after those that were made on it.
	Exchanges Counts

	// OctetsIn and OctetsOut are the octets received and sent, above TLS. Those of an
	// exchange are added when it ends.
	OctetsIn, OctetsOut int64
	// PartialReads counts reads that returned fewer octets of a message than requested.
	PartialReads int64
}

// Counts are numbers by outcome: c[OK] is the number for OK.
type Counts [len(outcomeNames)]int64

// Sum returns the number for all outcomes together.
func (c *Counts) Sum() (sum int64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// All returns the outcomes that have a number above 0, in the order of [Outcomes].
func (c *Counts) All() iter.Seq2[Outcome, int64] {
	return func(yield func(Outcome, int64) bool) {
		for o, n := range c {
			if n > 0 && !yield(Outcome(o), n) {
				return
			}
		}
	}
}

// Stats returns the server's counts. It is cheap, and may be called at any time.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// moved is what a connection has transferred since it was last added to the Stats.
type moved struct{ in, out, partial int64 }

// add adds to the Stats, and starts again from zero.
func (m *moved) addTo(s *Stats) {
	s.OctetsIn += m.in
	s.OctetsOut += m.out
	s.PartialReads += m.partial
	*m = moved{}
}
