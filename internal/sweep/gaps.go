package sweep

import (
	"fmt"

	"realign/internal/stat"
)

// Gaps are values that are missing at some λ more than at others: what is there then compares different answers.
type Gaps struct {
	Least    Share     `json:"least"`              // the λ with the smallest share missing
	Most     Share     `json:"most"`               // and the largest
	Sure     bool      `json:"sure"`               // λ surely moves the share that is missing
	Unjudged []float64 `json:"unjudged,omitempty"` // λ that were decoded and at which nothing has a value
}

// Share is a share of the answers at a λ.
type Share struct {
	Lambda float64 `json:"lambda"`
	Share  float64 `json:"share"` // 0 to 1
}

// gaps looks for values of a reward that are missing in dependence on λ; nil where there are none.
func (t *table) gaps(name string) *Gaps {
	missing := func(o *Output) (float64, bool) {
		v, judged := o.Rewards[name]
		switch {
		case o.Failed() || judged && !v.OK():
			return 1, true
		case judged:
			return 0, true
		}
		return 0, false // not yet
	}
	sum, all := make([]float64, len(t.lambdas)), make([]float64, len(t.lambdas))
	total := 0.0
	t.each(func(k int, o *Output) {
		if x, ok := missing(o); ok {
			sum[k] += x
			all[k]++
			total += x
		}
	})
	if total == 0 {
		return nil
	}
	// Shares outside of 0 to 1 are replaced by the first that is there.
	g := &Gaps{Least: Share{Share: 2}, Most: Share{Share: -1}}
	for k, l := range t.lambdas {
		if all[k] == 0 {
			continue
		}
		share := Share{l, sum[k] / all[k]}
		if share.Share < g.Least.Share {
			g.Least = share
		}
		if share.Share > g.Most.Share {
			g.Most = share
		}
		if share.Share == 1 {
			g.Unjudged = append(g.Unjudged, l)
		}
	}
	// The same test as of a reward: whether λ moves the share of what is missing.
	if g.Sure = t.movement(missing).Moves; !g.Sure && len(g.Unjudged) == 0 {
		return nil
	}
	return g
}

// words says it for people.
func (g *Gaps) words(name string) (all []string) {
	if g.Sure || g.Most.Share > g.Least.Share {
		all = append(all, fmt.Sprintf("Values of %s are missing in dependence on λ: %.0f%% at λ = %s, %.0f%% at λ = %s. The means compare different answers, and may differ for that alone.",
			name, 100*g.Least.Share, stat.Format(g.Least.Lambda), 100*g.Most.Share, stat.Format(g.Most.Lambda)))
	}
	if len(g.Unjudged) > 0 {
		all = append(all, fmt.Sprintf("At λ = %s nothing has a value of %s, and nothing is said of it.", list(g.Unjudged), name))
	}
	return all
}
