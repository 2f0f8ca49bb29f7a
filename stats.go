package bothends

import "iter"

// Stats contains the counts of a [Server] since its start. It is a consistent snapshot:
// Accepted is always the sum of Ended and Open. It is safe to copy.
type Stats struct {
	Accepted int64  // connections that were accepted
	Open     int64  // connections that have not ended
	Ended    Counts // connections that have ended, by outcome

	// Exchanges contains the number of exchanges by outcome. A persistent connection
	// has any number of them. A connection that ends with an outcome other than OK
	// counts as one more exchange with that outcome.
	Exchanges Counts

	// OctetsIn and OctetsOut are the numbers of octets received and sent, without the
	// overhead of TLS. The octets of an exchange are added when it ends.
	OctetsIn, OctetsOut int64
	// PartialReads counts reads that returned fewer octets of a message than requested.
	PartialReads int64
}

// Counts contains a number for each outcome: c[OK] is the number for OK.
type Counts [len(outcomeNames)]int64

// Sum returns the sum for all outcomes.
func (c *Counts) Sum() (sum int64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// All returns the outcomes whose number is greater than 0, in the order of [Outcomes].
func (c *Counts) All() iter.Seq2[Outcome, int64] {
	return func(yield func(Outcome, int64) bool) {
		for o, n := range c {
			if n > 0 && !yield(Outcome(o), n) {
				return
			}
		}
	}
}

// Stats returns the server's counts. It is fast and may be called at any time.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// moved contains the counts of a connection that have not been added to the Stats.
type moved struct{ in, out, partial int64 }

// addTo adds m to s and sets m to zero.
func (m *moved) addTo(s *Stats) {
	s.OctetsIn += m.in
	s.OctetsOut += m.out
	s.PartialReads += m.partial
	*m = moved{}
}
