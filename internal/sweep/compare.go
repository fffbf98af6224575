package sweep

import "math"

// Comparison is two sweeps side by side.
type Comparison struct {
	Lambda  *Interval    `json:"lambda"`  // best λ of the second less that of the first; nil where either has none
	Rewards []Comparable `json:"rewards"` // by the names that both have, in the order of the first
	Warning []string     `json:"warning,omitempty"`
}

// Comparable is one reward in both sweeps.
type Comparable struct {
	Name   string    `json:"name"`
	Best   *Interval `json:"best"` // value at its best λ, second less first
	Points []Both    `json:"points"`
}

// Both is a λ that either sweep decoded.
type Both struct {
	Lambda     float64   `json:"lambda"`
	First      *Interval `json:"first"`
	Second     *Interval `json:"second"`
	Difference *Interval `json:"difference"` // second less first; nil where either is missing
}

// Compare puts two reports side by side. The sweeps are taken as independent: each end of a difference's interval
// is the root of the sum of squares of the ends that lead to it (Newcombe's method 10 for any two intervals: MOVER,
// Zou & Donner 2008). Sweeps of the same prompts agree more than that, so that the intervals are then too wide.
func Compare(a, b *Report) Comparison {
	var c Comparison
	if a.Best != nil && b.Best != nil {
		d := difference(b.Best.Lambda, a.Best.Lambda)
		c.Lambda = &d
	}
	if a.Objective != b.Objective {
		c.Warning = append(c.Warning, "the best λ are by different rewards: "+a.Objective+" and "+b.Objective)
	}
	if a.Pair != b.Pair || a.Aligned != b.Aligned {
		c.Warning = append(c.Warning, "the aligned models differ: one λ does not mean the same strength in both")
	}
	for i := range a.Rewards {
		first := &a.Rewards[i]
		second := b.Reward(first.Name)
		if second == nil {
			continue
		}
		both := Comparable{Name: first.Name}
		if first.Best != nil && second.Best != nil {
			d := difference(second.Best.Value, first.Best.Value)
			both.Best = &d
		}
		for k, l := 0, 0; k < len(first.Points) || l < len(second.Points); {
			x, y := math.Inf(1), math.Inf(1)
			if k < len(first.Points) {
				x = first.Points[k].Lambda
			}
			if l < len(second.Points) {
				y = second.Points[l].Lambda
			}
			point := Both{Lambda: min(x, y)}
			if x <= y {
				point.First = first.Points[k].Mean
				k++
			}
			if y <= x {
				point.Second = second.Points[l].Mean
				l++
			}
			if point.First != nil && point.Second != nil {
				d := difference(*point.Second, *point.First)
				point.Difference = &d
			}
			both.Points = append(both.Points, point)
		}
		c.Rewards = append(c.Rewards, both)
	}
	return c
}

// difference is a − b of independent estimates.
func difference(a, b Interval) Interval {
	d := a.Estimate - b.Estimate
	return Interval{
		Estimate: d,
		Low:      d - math.Hypot(a.Estimate-a.Low, b.High-b.Estimate),
		High:     d + math.Hypot(a.High-a.Estimate, b.Estimate-b.Low),
	}
}
