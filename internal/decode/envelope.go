package decode

import (
	"cmp"
	"math"
	"slices"
)

// line is a candidate's score as a function of λ over an interval, by its values at the two ends. Between them it is
// linear: the mixture is, and the noise does not depend on λ.
type line struct {
	token    Token
	from, to float64    // scores at the ends
	alive    [2]float64 // the shares of the interval between which the candidate survives truncation
}

// at is the score at a share t of the interval.
func (l *line) at(t float64) float64 { return l.from + t*(l.to-l.from) }

// segment is a part of an interval of λ on which one token is chosen. Ends are shares of the interval.
type segment struct {
	token    Token // that is chosen there
	from, to float64
}

// envelope splits [0, 1] by the highest of the lines, each counted only where it is alive. Some line is alive
// everywhere. Where lines are equal the one that rises fastest is taken, then the lowest token.
//
// The set of lines that are alive changes at the ends of the lines' lives only. Between two such ends it is the upper envelope of
// straight lines, found by walking along it: from the highest line at one point to the first that crosses it.
func envelope(lines []line) (segments []segment) {
	ends := []float64{0, 1}
	for i := range lines {
		for _, end := range lines[i].alive {
			if 0 < end && end < 1 {
				ends = append(ends, end)
			}
		}
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)
	for i := range len(ends) - 1 {
		segments = walk(segments, lines, ends[i], ends[i+1])
	}
	return segments
}

// walk appends the segments of [from, to], on which the same lines are alive throughout.
func walk(segments []segment, lines []line, from, to float64) []segment {
	alive := func(l *line) bool { return l.alive[0] <= from && to <= l.alive[1] }
	var w *line
	for i := range lines {
		if l := &lines[i]; alive(l) && (w == nil || above(l, w, from)) {
			w = l
		}
	}
	for w != nil && from < to {
		end := to
		var next *line
		for i := range lines {
			l := &lines[i]
			rise := (l.to - l.from) - (w.to - w.from)
			if !alive(l) || !(rise > 0) {
				continue
			}
			t := max(from, from+(w.at(from)-l.at(from))/rise)
			if t < end || t == end && next != nil && above(l, next, t) {
				end, next = t, l
			}
		}
		if n := len(segments); n > 0 && segments[n-1].token == w.token {
			segments[n-1].to = end
		} else if end > from {
			segments = append(segments, segment{w.token, from, end})
		}
		from, w = end, next
	}
	return segments
}

// above reports whether l is taken rather than w just after t.
func above(l, w *line, t float64) bool {
	return cmp.Or(cmp.Compare(l.at(t), w.at(t)), cmp.Compare(l.to-l.from, w.to-w.from), cmp.Compare(w.token, l.token)) > 0
}

// evaluateSpan finds the next token for every λ of a span.
func (x *mixer) evaluateSpan(s *span, logits *modelRows, vocab Vocabulary) {
	s.segments, s.err = s.segments[:0], nil
	sampling := &s.job.request.Sampling
	if n := vocab.Size(); len(x.far) != n {
		x.z, x.far = make([]float64, n), make([]float64, n)
	}
	ends := [2]spanEnd{{lambda: s.from, z: x.z}, {lambda: s.to, z: x.far}}
	for i := range ends {
		e := &ends[i]
		x.w = weights(x.w, s.job.request.Map.At(e.lambda))
		e.at, e.top = x.kernel.Mix(e.z, x.w, logits.rows)
		if s.err = usable(e.top); s.err != nil {
			return
		}
		if penalised(sampling) { // by amounts that do not depend on λ, as the repeat penalty is refused
			x.penalties.apply(e.z, 0, s.generated, sampling)
			if at, top := maximum(e.z); usable(top) == nil {
				e.at, e.top = at, top
			} else {
				x.penalties.undo(e.z) // every token was biased away
			}
		}
	}
	width := s.to - s.from
	g := NewNoise(s.job.request.Seed, s.job.request.Map.Sample, len(s.generated))
	for _, p := range envelope(x.lines(ends, sampling, g)) {
		// The same flip at the same λ can come again where a span begins there: what rounding leaves no width is no segment.
		if from, to := s.from+p.from*width, s.from+p.to*width; from < to {
			s.segments = append(s.segments, segment{p.token, from, to})
		}
	}
	if len(s.segments) == 0 { // between the ends more models forbid than at them, where one may have no weight
		s.err = errNothingLeft
		return
	}
	s.segments[len(s.segments)-1].to = s.to // whatever rounding says
}

// spanEnd is the mixture at one end of a span, penalties included.
type spanEnd struct {
	lambda float64   // or the place, along a line
	z      []float64 // by token
	at     int       // the token with the largest logit
	top    float64   // that logit
}

// lines are the candidates that can be chosen somewhere on a span, with their scores less the largest logit: that is
// linear between the ends, too, and the same for all.
func (x *mixer) lines(ends [2]spanEnd, s *Sampling, g Noise) []line {
	if s.Temperature == 0 {
		return candidates(ends, 1, nil, nil, []int{ends[0].at, ends[1].at})
	}
	inverse := 1 / s.Temperature
	winners := []int{
		x.chooser.choose(x.kernel, ends[0].z, ends[0].at, ends[0].top, s, g), x.chooser.choose(x.kernel, ends[1].z, ends[1].at, ends[1].top, s, g),
	}
	if s.MinP == 0 {
		return candidates(ends, inverse, &g, nil, winners)
	}
	probable := candidates(ends, inverse, nil, nil, []int{ends[0].at, ends[1].at})
	var tops []line
	for _, p := range envelope(probable) {
		i := slices.IndexFunc(probable, func(l line) bool { return l.token == p.token })
		tops = append(tops, probable[i])
	}
	for i := range tops {
		tops[i].from += math.Log(s.MinP)
		tops[i].to += math.Log(s.MinP)
	}
	return candidates(ends, inverse, &g, tops, winners)
}

// candidates are the tokens that may be highest somewhere. With noise g they get it; with floors, each is alive only
// where no floor is above it before the noise.
//
// A token that is below one and the same bound at both ends, even with the largest noise that its leading zero bits
// allow, is below it everywhere: it is left out before its noise is computed. The bounds are the lines of some
// tokens, of those that are alive all along.
func candidates(ends [2]spanEnd, inverse float64, g *Noise, floors []line, bounds []int) []line {
	draw := func(v int) (line, bool) {
		l := line{token: Token(v), from: (ends[0].z[v] - ends[0].top) * inverse, to: (ends[1].z[v] - ends[1].top) * inverse}
		l.alive = support(l, floors)
		if g != nil {
			y := gumbel(g.bits(v))
			l.from, l.to = l.from+y, l.to+y
		}
		return l, l.alive[0] <= l.alive[1] && !math.IsInf(l.from, -1) && !math.IsInf(l.to, -1)
	}
	low := [2][2]float64{{math.Inf(-1), math.Inf(-1)}, {math.Inf(-1), math.Inf(-1)}}
	for i, v := range bounds {
		if l, ok := draw(v); ok && l.alive == [2]float64{0, 1} {
			low[i] = [2]float64{l.from, l.to}
		}
	}
	var lines []line
	from, to := ends[0].z, ends[1].z[:len(ends[0].z)]
	for v := range from {
		a, b := (from[v]-ends[0].top)*inverse, (to[v]-ends[1].top)*inverse
		if g != nil {
			most := gumbelBound(g.bits(v))
			a, b = a+most, b+most
		}
		if a < low[0][0] && b < low[0][1] || a < low[1][0] && b < low[1][1] {
			continue
		}
		if l, ok := draw(v); ok {
			lines = append(lines, l)
		}
	}
	return lines
}

// support is where a line is at or above all floors: what each allows is a part of the interval from one end on, so
// they leave one part. It is empty if its first end is beyond its second.
func support(l line, floors []line) [2]float64 {
	part := [2]float64{0, 1}
	for _, f := range floors {
		a, b := l.from-f.from, l.to-f.to
		switch {
		case a < 0 && b < 0:
			return [2]float64{1, 0}
		case a < 0:
			part[0] = max(part[0], a/(a-b))
		case b < 0:
			part[1] = min(part[1], a/(a-b))
		}
	}
	return part
}
