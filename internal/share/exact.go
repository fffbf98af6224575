package share

import (
	"fmt"

	"realign/internal/decode"
)

// particles reports whether a lane was decoded by particles: several streams for one lane.
func (s *Snapshot) particles(l *SnapshotLane) bool {
	r := decode.Request{Sampling: s.Sampling}
	return r.Streams(l.Lane) > 1
}

// exact compares what particles told of a lane. Their effective size is a ratio of exponentials of sums over all tokens: it may be off by a
// quarter of the particles.
// tolerance, in nats, is that of log Z. It reports whether
// they differ.
func (c *comparison) exact(stored, again *decode.Exact, tolerance float64) bool {
	switch {
	case stored == nil || again == nil:
		return (stored == nil) != (again == nil) && c.differ(DiffNumber, "particles"+missing(stored == nil), "particles"+missing(again == nil))
	case c.text(DiffNumber, exactCounts(stored), exactCounts(again)), c.number("log Z of whole replies", stored.LogZ, again.LogZ, tolerance):
		return true
	}
	return c.number("effective sample size", stored.Size, again.Size, float64(again.Particles)/4)
}

// exactCounts is what must be equal: the numbers of particles and resamplings, and whether the particles changed
// the reply.
func exactCounts(x *decode.Exact) string {
	return fmt.Sprintf("%d particles, resampled %d times, changed: %v", x.Particles, x.Resampled, x.Changed)
}
