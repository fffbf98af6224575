package preference

import (
	"fmt"
	"math"
	"math/rand/v2"

	"realign/internal/stat"
)

// Sides says what it did to stand first, over all annotators.
type Sides struct {
	Decisive int           `json:"decisive"` // pairwise answers that prefer a side, without trials with a spoilt one
	First    stat.Interval `json:"first"`    // share of those for the side that stood first; (½, 0, 1) without any
	PValue   float64       `json:"p_value"`  // of the test that annotators favour neither side

	Compared int           `json:"compared"`  // pairwise answers about two λ
	LowFirst stat.Interval `json:"low_first"` // share of those in which the lower λ stood first, Wilson; the order should be random

	// Unbalanced: which λ stood first was not random. Then what the λ did cannot be told from what standing first did but
	// by the model's order effect.
	Unbalanced bool `json:"unbalanced,omitempty"`
	// Matter: the order effect is part of the strengths, since annotators favour a side or the order was not random.
	Matter bool   `json:"matter,omitempty"`
	Note   string `json:"note,omitempty"` // in words, where a reader should know
}

// sided is an answer that prefers a side: 1 the first, −1 the second.
type sided struct {
	annotator int     // number, from 0
	y         float64 // 1 or −1
}

// SidesOf counts sides of pairwise answers. Where there are annotators enough to be a sample, their answers change sign
// together in the test and widen the share's interval; else answers are independent.
func SidesOf(answers []Pairwise) (Sides, error) {
	var s Sides
	var list []sided
	annotators := numbers{}
	low := 0
	for _, r := range answers {
		if err := r.Check(); err != nil {
			return s, err
		}
		if r.Catch.Spoils() {
			continue
		}
		switch r.Choice {
		case PreferA:
			list = append(list, sided{annotators.of(r.Annotator), 1})
		case PreferB:
			list = append(list, sided{annotators.of(r.Annotator), -1})
		}
		if r.counts() {
			s.Compared++
			if r.A.Lambda < r.B.Lambda {
				low++
			}
		}
	}
	s.fill(list, len(annotators), low)
	return s, nil
}

// sides is SidesOf for answers that are counted already.
func (t *comparisons) sides() Sides {
	s := Sides{Compared: len(t.votes)}
	var list []sided
	low := 0
	for i := range t.votes {
		v := &t.votes[i]
		if v.y != 0 {
			list = append(list, sided{v.annotator, v.y * v.first})
		}
		if v.first > 0 {
			low++
		}
	}
	s.fill(list, t.annotators, low)
	return s
}

// fill works out the shares and the test. list are the answers that prefer a side; low is in how many of s.Compared
// answers the lower λ stood first.
func (s *Sides) fill(list []sided, annotators, low int) {
	s.Decisive = len(list)
	first, sums := 0.0, make([]float64, annotators)
	for _, a := range list {
		if a.y > 0 {
			first++
		}
		sums[a.annotator] += a.y
	}
	n := float64(s.Decisive)
	clusters := sums
	// Of fewer annotators every answer is a cluster.
	if annotators < LeastAnnotators {
		clusters = make([]float64, len(list))
		for i, a := range list {
			clusters[i] = a.y
		}
	}
	s.First = stat.Wilson(first, n)
	s.PValue = 1
	if n > 0 {
		c := &clustered{k: 1}
		mean, spread := (2*first-n)/n, 0.0
		counts := make([]float64, annotators)
		for _, a := range list {
			counts[a.annotator]++
		}
		for i, x := range clusters {
			c.scores = append(c.scores, []float64{x})
			if annotators >= LeastAnnotators {
				x -= mean * counts[i]
			} else {
				x -= mean
			}
			spread += x * x
		}
		// Where clusters spread more than independent answers would, the interval is that of fewer answers.
		if own := n * (1 - mean*mean); annotators >= LeastAnnotators && own > 0 && spread > own {
			s.First = stat.Wilson(first*own/spread, n*own/spread)
		}
		s.PValue = c.signs(rand.New(rand.NewPCG(uint64(s.Decisive), 7)))
	}
	compared := float64(s.Compared)
	s.LowFirst = stat.Wilson(float64(low), compared)
	// Four standard deviations of a random order, and a twentieth.
	off := math.Abs(float64(low) - compared/2)
	s.Unbalanced = s.Compared > 0 && off > 2*math.Sqrt(compared) && off > compared/20
	s.Matter = s.Unbalanced || s.PValue < 0.05
	switch {
	case s.Unbalanced:
		s.Note = fmt.Sprintf("the lower λ stood first in %.0f%% of comparisons, where the order should be random: an order effect is part of the model, and what it cannot tell from λ widens the intervals", 100*s.LowFirst.Estimate)
	case s.Matter:
		s.Note = fmt.Sprintf("what stands first is preferred in %.0f%% of answers that prefer one, which is no chance (p = %.2g): an order effect is part of the model", 100*s.First.Estimate, s.PValue)
	}
}

// signs is the p-value of one score for each cluster.
func (c *clustered) signs(random *rand.Rand) float64 {
	n, sum, square := 0, 0.0, 0.0
	for _, x := range c.scores {
		if x[0] != 0 {
			n++
		}
		sum += x[0]
		square += x[0] * x[0]
	}
	switch {
	case n == 0:
		return 1
	case n > 200: // normal, as close as the random signs would come
		return math.Erfc(math.Abs(sum) / math.Sqrt(2*square))
	}
	return flip(func(weight func(int) float64) float64 {
		total := 0.0
		for i, x := range c.scores {
			total += weight(i) * x[0]
		}
		return total * total
	}, len(c.scores), 1, random)
}
