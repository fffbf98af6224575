package llamacpp

import (
	"slices"
	"sync"

	"realign/internal/decode"
	"realign/internal/fault"
)

// shared is one context on the reference's weights in which every sequence has strengths of its own for the adapters joined
// to it: 0 for all is the reference, 1 for one of them an aligned model.
// Every number of an adapter is its place in scaled.adapters.
type shared struct {
	mu      sync.Mutex  // guards what follows: adapters join while others decode
	context *Model      // that all of it is in
	scaled  *strengths  // strengths by row of the next pass, from of
	of      [][]float32 // strengths of each sequence, by the adapter's number; those that are missing are 0
	bare    int         // nodes of a graph without adapters

	// Of the last pass. Where adapters are more than one graph holds, it was several, and their logits were copied.
	copied [][]float32 // by row, where parts are several
	parts  int         // passes that the rows were divided among
}

// newShared makes a context for all of its options' cells, rows and sequences.
func newShared(w *weights, o Options) (*shared, error) {
	scaled := newStrengths(o.Batch)
	context, err := newContext(w, nil, scaled, o)
	if err != nil {
		scaled.Close()
		return nil, err
	}
	s := &shared{context: context, scaled: scaled, of: make([][]float32, o.Sequences)}
	if err := context.Forward([]decode.Row{{Want: true}}); err != nil { // tells how many nodes there are
		s.Close()
		return nil, err
	}
	context.Trim(0, 0)
	s.bare = scaled.nodes()
	return s, nil
}

// join adds an adapter and returns its number.
func (s *shared) join(a *adapter) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scaled.add(a, s.context.limits.Batch)
}

// set gives a sequence its strengths, before its first row.
func (s *shared) set(seq decode.Seq, strengths []float32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[seq] = strengths
}

// fits reports whether the products of some adapters fit in one graph.
func (s *shared) fits(needed []bool) bool {
	return s.scaled.fit(s.context.c, s.bare, needed)
}

// part is rows that are read in one pass, by their place among all, and the adapters that they need.
type part struct {
	rows   []int
	needed []bool // by adapter's number
}

// divide puts rows in as few parts as adapters fit in graphs: one, in nearly all cases. The rows of a sequence stay in order,
// as they need the same adapters.
func (s *shared) divide(rows []decode.Row) (parts []part) {
	for i, row := range rows {
		at := slices.IndexFunc(parts, func(p part) bool { return s.covers(p.needed, row.Seq) })
		for k := 0; at < 0 && k < len(parts); k++ {
			if wider := s.widened(parts[k].needed, row.Seq); s.fits(wider) {
				parts[k].needed, at = wider, k
			}
		}
		if at < 0 {
			at = len(parts)
			parts = append(parts, part{needed: s.widened(make([]bool, len(s.scaled.adapters)), row.Seq)})
		}
		parts[at].rows = append(parts[at].rows, i)
	}
	return parts
}

// covers reports whether a sequence needs no other adapters.
func (s *shared) covers(needed []bool, seq decode.Seq) bool {
	for k, x := range s.of[seq] {
		if x != 0 && !needed[k] {
			return false
		}
	}
	return true
}

// widened is a list of adapters with those that a sequence needs.
func (s *shared) widened(needed []bool, seq decode.Seq) []bool {
	needed = slices.Clone(needed)
	for k, x := range s.of[seq] {
		needed[k] = needed[k] || x != 0
	}
	return needed
}

// forward reads rows. Their sequences are those of the context, and so are their places in the answers of logits.
func (s *shared) forward(rows []decode.Row, threads int) error {
	for _, row := range rows { // before their strengths are looked up
		if !s.context.has(row.Seq) {
			return fault.New(fault.Internal, "sequence %d is not in [0, %d)", row.Seq, len(s.of))
		}
	}
	if s.context.active != threads {
		s.context.SetThreads(threads)
	}
	parts := s.divide(rows)
	s.parts = len(parts)
	if len(parts) == 1 {
		return s.pass(rows, parts[0])
	}
	s.copied = make([][]float32, len(rows))
	for k, p := range parts {
		some := make([]decode.Row, len(p.rows))
		for i, at := range p.rows {
			some[i] = rows[at]
		}
		if err := s.pass(some, p); err != nil {
			for _, done := range parts[:k] {
				s.forget(rows, done)
			}
			return err
		}
		for i, at := range p.rows {
			s.copied[at] = slices.Clone(s.context.Logits(i))
		}
	}
	return nil
}

// forget takes the rows of a part out of the cache.
func (s *shared) forget(rows []decode.Row, p part) {
	for _, at := range slices.Backward(p.rows) {
		s.context.Trim(rows[at].Seq, rows[at].Pos)
	}
}

// pass reads the rows of a part.
func (s *shared) pass(rows []decode.Row, p part) error {
	if len(rows) > s.context.limits.Batch {
		return fault.New(fault.Internal, "%d rows in one pass, the limit is %d", len(rows), s.context.limits.Batch)
	}
	for i, row := range rows {
		for k := range p.needed {
			x := float32(0)
			if of := s.of[row.Seq]; k < len(of) {
				x = of[k]
			}
			s.scaled.set(k, i, x)
		}
	}
	s.scaled.choose(s.context.c, p.needed, s.bare)
	return s.context.Forward(rows)
}

// logits is what was said after a row of the last pass, in memory of the context.
// The mutex is not taken: the goroutine that made the pass asks.
func (s *shared) logits(i int) []float32 {
	if s.parts > 1 {
		return s.copied[i]
	}
	return s.context.Logits(i)
}

// Close frees the context. Adapters and weights are freed after it.
func (s *shared) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scaled.pointer != nil {
		s.context.Close()
		s.scaled.Close()
	}
}
