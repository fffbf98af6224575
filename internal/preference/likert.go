package preference

import (
	"math/rand/v2"
	"slices"
	"strings"

	"realign/internal/stat"
)

// Mean is the mean score of one λ on one criterion.
type Mean struct {
	Criterion   string        `json:"criterion"` // its name
	Points      int           `json:"points"`    // of the scale
	Lambda      float64       `json:"lambda"`    // of the answers that were scored
	Mean        stat.Interval `json:"mean"`      // in points of the scale; both ends equal the estimate without an interval
	Scores      int           `json:"scores"`    // how many it is the mean of
	Clusters    int           `json:"clusters"`  // independent annotators (or items, or prompts) that scored this criterion
	HasInterval bool          `json:"has_interval"`
	Reason      string        `json:"reason,omitempty"` // why there is no interval
}

// Means is the mean score for each criterion and λ, by name and ascending, with 95% cluster-bootstrap
// intervals: whole clusters (annotators, items or prompts, as by says) are drawn with replacement, all
// their scores with them, the same draw for every λ (Cameron, Gelbach & Miller 2008, pairs
// cluster bootstrap). The percentiles are widened for few clusters (Hesterberg 2015). One cluster
// gives no interval, and Reason says so. Catch trials are left out. No scores give an empty list; a
// score that Check refuses is fault.Invalid.
func Means(scores []Likert, by Cluster, seed uint64) ([]Mean, error) {
	if err := by.check(); err != nil {
		return nil, err
	}
	type level struct {
		criterion string
		lambda    float64
	}
	type sum struct{ total, count float64 }
	sums := map[level]sum{}
	points := map[string]int{}                        // of the longest scale of a criterion
	clusters := map[string]map[string]map[level]sum{} // criterion, cluster
	for _, r := range scores {
		if err := r.Check(); err != nil {
			return nil, err
		}
		if r.Catch != NoCatch {
			continue
		}
		points[r.Criterion] = max(points[r.Criterion], r.Points)
		at, key := level{r.Criterion, r.Side.Lambda}, by.key(r.Item, r.Prompt, r.Annotator)
		if clusters[r.Criterion] == nil {
			clusters[r.Criterion] = map[string]map[level]sum{}
		}
		if clusters[r.Criterion][key] == nil {
			clusters[r.Criterion][key] = map[level]sum{}
		}
		for _, m := range []map[level]sum{sums, clusters[r.Criterion][key]} {
			s := m[at]
			m[at] = sum{s.total + float64(r.Score), s.count + 1}
		}
	}
	means := make([]Mean, 0, len(sums))
	for at, s := range sums {
		m := s.total / s.count
		means = append(means, Mean{
			Criterion: at.criterion, Points: points[at.criterion], Lambda: at.lambda, Mean: stat.Interval{Estimate: m, Low: m, High: m},
			Scores: int(s.count), Clusters: len(clusters[at.criterion]),
		})
	}
	slices.SortFunc(means, func(a, b Mean) int {
		if c := strings.Compare(a.Criterion, b.Criterion); c != 0 || a.Lambda == b.Lambda {
			return c
		}
		if a.Lambda < b.Lambda {
			return -1
		}
		return 1
	})
	for from := 0; from < len(means); {
		to := from
		for to < len(means) && means[to].Criterion == means[from].Criterion {
			to++
		}
		group := means[from:to]
		from = to
		n := group[0].Clusters
		if n < 2 {
			for k := range group {
				group[k].Reason = "no interval: all scores are of one cluster"
			}
			continue
		}
		names := make([]string, 0, n)
		for name := range clusters[group[0].Criterion] {
			names = append(names, name)
		}
		slices.Sort(names)
		table := make([][]sum, n) // cluster, λ
		for c, name := range names {
			for _, m := range group {
				table[c] = append(table[c], clusters[m.Criterion][name][level{m.Criterion, m.Lambda}])
			}
		}
		random := rand.New(rand.NewPCG(seed, 2))
		samples := make([][]float64, len(group))
		for range Bootstraps {
			drawn := make([]sum, len(group))
			for range n {
				for k, s := range table[random.IntN(n)] {
					drawn[k].total += s.total
					drawn[k].count += s.count
				}
			}
			for k, s := range drawn {
				if s.count > 0 {
					samples[k] = append(samples[k], s.total/s.count)
				}
			}
		}
		for k := range group {
			scored := 0
			for _, sums := range table {
				if sums[k].count > 0 {
					scored++
				}
			}
			if scored < 2 || len(samples[k]) < Bootstraps/2 {
				group[k].Reason = "no interval: too few clusters scored this λ"
				continue
			}
			group[k].Mean = stat.Percentile(group[k].Mean.Estimate, samples[k], n)
			group[k].HasInterval = true
		}
	}
	return means, nil
}
