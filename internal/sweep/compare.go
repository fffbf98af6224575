package sweep

import (
	"encoding/json"
	"math"

	gonumstat "gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"realign/internal/stat"
)

// Side is one of two sweeps that are compared.
type Side struct {
	Setup   *Setup   // of the sweep
	Report  *Report  // of all of its outputs
	Outputs []Output // with their texts where Comparison.Texts is wanted
}

// Comparison is two sweeps side by side.
type Comparison struct {
	Paired  int            `json:"paired"`            // prompts that both have, by which they are compared; 0: as independent
	Lambda  *stat.Interval `json:"lambda"`            // best λ of the second less that of the first; nil where either has none
	Rewards []Comparable   `json:"rewards"`           // by the names that both have, in the order of the first
	Texts   []Parting      `json:"texts,omitempty"`   // by λ, of sweeps that differ in what λ mixes
	Warning []string       `json:"warning,omitempty"` // for people: in what the sweeps differ, so that they can hardly be compared
}

// Comparable is one reward in both sweeps.
type Comparable struct {
	Name   string         `json:"name"`   // of the reward
	Best   *stat.Interval `json:"best"`   // value at its best λ, the second minus the first
	Points []Both         `json:"points"` // by λ, ascending
}

// Both is a λ that either sweep decoded.
type Both struct {
	Lambda     float64        `json:"lambda"`
	First      *stat.Interval `json:"first"`      // mean in the first sweep; nil where it has none
	Second     *stat.Interval `json:"second"`     // mean in the second; nil where it has none
	Difference *stat.Interval `json:"difference"` // the second minus the first; nil where either is missing
	Sure       bool           `json:"sure"`       // the two differ surely: Difference is clear of 0, wherever that was looked for
}

// leastPaired is how many prompts two sweeps must share, and what part of the larger one's, to be compared in pairs.
const (
	leastPaired      = 2
	leastPairedShare = 0.5
)

// Compare puts two sweeps side by side. Prompts that both have are compared in pairs: differences are of the means of a
// prompt, and prompts are resampled with both. Without enough of those the sweeps are taken as independent: each end of a
// difference's interval is the root of the sum of squares of the ends that lead to it (Newcombe's method 10 for any two
// intervals: MOVER, Zou & Donner 2008). So it is for the best λ, whose intervals are not from resampling, less their
// correlation in resamples where there are pairs (Zou 2007, "Toward using confidence intervals to compare correlations", eq. 15).
func Compare(first, second Side) Comparison {
	var c Comparison
	a, b := first.Report, second.Report
	p := pairUp(first, second)
	c.Paired = len(p.first)
	c.Texts = p.partings()
	if a.Best != nil && b.Best != nil {
		d := difference(b.Best.Lambda, a.Best.Lambda, p.correlation(a.Objective, b.Objective, func(c *curve, total []float64) float64 {
			lambda, _ := c.top(total)
			return lambda
		}))
		c.Lambda = &d
	}
	if a.Objective != b.Objective {
		c.Warning = append(c.Warning, "the best λ are by different rewards: "+a.Objective+" and "+b.Objective)
	}
	if a.Pair != b.Pair || a.Aligned != b.Aligned {
		c.Warning = append(c.Warning, "the aligned models differ: one λ does not mean the same strength in both")
	}
	for i := range a.Rewards {
		x := &a.Rewards[i]
		y := b.Reward(x.Name)
		if y == nil {
			continue
		}
		both := Comparable{Name: x.Name, Points: merge(x.Points, y.Points)}
		if x.Best != nil && y.Best != nil {
			d := difference(y.Best.Value, x.Best.Value, p.correlation(x.Name, x.Name, func(c *curve, total []float64) float64 {
				_, value := c.top(total)
				return value
			}))
			both.Best = &d
		}
		// Where the two have no prompts in common, the intervals of each are all there is.
		if p.a == nil {
			sureApart(both.Points, p.prompts)
		} else {
			p.differences(x.Name, both.Points)
		}
		c.Rewards = append(c.Rewards, both)
	}
	return c
}

// merge lists the λ of both, with the difference of those that both have, as of independent sweeps.
func merge(first, second []Point) (points []Both) {
	for k, l := 0, 0; k < len(first) || l < len(second); {
		x, y := math.Inf(1), math.Inf(1)
		if k < len(first) {
			x = first[k].Lambda
		}
		if l < len(second) {
			y = second[l].Lambda
		}
		point := Both{Lambda: min(x, y)}
		if x <= y {
			point.First = first[k].Mean
			k++
		}
		if y <= x {
			point.Second = second[l].Mean
			l++
		}
		if point.First != nil && point.Second != nil {
			d := difference(*point.Second, *point.First, 0)
			point.Difference = &d
		}
		points = append(points, point)
	}
	return points
}

// sureApart says where two independent sweeps of so many prompts at least surely differ: where the interval of a difference would
// be clear of 0 at the level that Bonferroni's inequality asks of each of all λ that are looked at.
func sureApart(points []Both, prompts int) {
	all := 0.0
	for _, p := range points {
		if p.Difference != nil {
			all++
		}
	}
	if prompts < 2 {
		return
	}
	student := distuv.StudentsT{Sigma: 1, Nu: float64(prompts - 1)}
	wider := student.Quantile(1-0.025/all) / student.Quantile(0.975)
	for i := range points {
		if d := points[i].Difference; d != nil {
			e := d.Estimate
			points[i].Sure = stat.Interval{Estimate: e, Low: e - wider*(e-d.Low), High: e + wider*(d.High-e)}.Clear()
		}
	}
}

// pairUp finds the prompts that two sweeps share. One that is there several times is as often in the pairing as in both.
func pairUp(first, second Side) *pairedSides {
	where := map[string][]int{}
	t, u := newTable(first.Setup, first.Outputs), newTable(second.Setup, second.Outputs)
	for at, prompt := range u.prompts {
		key := sameQuestion(second.Setup.Config.Prompts.Rows[prompt])
		where[key] = append(where[key], at)
	}
	p := &pairedSides{prompts: min(len(t.prompts), len(u.prompts))}
	for at, prompt := range t.prompts {
		key := sameQuestion(first.Setup.Config.Prompts.Rows[prompt])
		if list := where[key]; len(list) > 0 {
			p.first, p.second = append(p.first, t.cells[at]), append(p.second, u.cells[list[0]])
			where[key] = list[1:]
		}
	}
	if n := len(p.first); n < leastPaired || float64(n) < leastPairedShare*float64(max(len(t.prompts), len(u.prompts))) {
		return &pairedSides{prompts: p.prompts}
	}
	p.a = &table{setup: first.Setup, lambdas: t.lambdas, prompts: make([]int, len(p.first)), cells: p.first, resampled: t.resampled}
	p.b = &table{setup: second.Setup, lambdas: u.lambdas, prompts: make([]int, len(p.first)), cells: p.second, resampled: t.resampled}
	return p
}

// sameQuestion is equal for rows that ask the same, whatever is carried along beside it.
func sameQuestion(r Row) string {
	text, err := json.Marshal(Row{Text: r.Text, History: r.History, System: r.System, Context: r.Context, Reference: r.Reference})
	if err != nil {
		return r.Text
	}
	return string(text)
}

// pairedSides are two sweeps by the prompts that both have, in one order, so that their resamples are the same prompts. Both
// tables are nil where there are too few.
type pairedSides struct {
	prompts       int // of the smaller sweep
	a, b          *table
	first, second [][][]*Output // by prompt and place of λ
}

// correlation is that of something of the curves of two rewards, over resamples of the prompts of both; 0 without pairs.
func (p *pairedSides) correlation(first, second string, of func(c *curve, total []float64) float64) float64 {
	if p.a == nil {
		return 0
	}
	c := newCurve(p.a, rewarded(first), p.a.setup.RewardInfo(first).sign())
	d := newCurve(p.b, rewarded(second), p.b.setup.RewardInfo(second).sign())
	if len(c.rows) != len(p.first) || len(d.rows) != len(p.first) { // some have no value, and the resamples are others
		return 0
	}
	var x, y []float64
	for i := range c.sums.draws {
		u, v := of(c, c.sums.draws[i]), of(d, d.sums.draws[i])
		if !math.IsNaN(u) && !math.IsNaN(v) {
			x, y = append(x, u), append(y, v)
		}
	}
	r := gonumstat.Correlation(x, y, nil)
	if math.IsNaN(r) {
		return 0
	}
	return r
}

// differences puts paired differences in the place of those of independent sweeps. Sure are those whose interval is clear of
// 0 when all λ are looked at at once.
func (p *pairedSides) differences(name string, points []Both) {
	m := rewarded(name)
	var at []int // points that both have
	rows, psi := make([][]float64, len(p.first)), make(byPrompt, len(p.first))
	for i := range points {
		if points[i].Difference != nil {
			at = append(at, i)
		}
	}
	r, counts := nowhere(), make([]int, len(at))
	for q := range rows {
		// A row has, for each point, the prompt's difference and whether it counts there.
		rows[q], psi[q] = make([]float64, 2*len(at)), make([]float64, len(at))
		for k, i := range at {
			l := points[i].Lambda
			x, n := m.mean(p.first[q][nearest(p.a.lambdas, l)])
			y, o := m.mean(p.second[q][nearest(p.b.lambdas, l)])
			if n > 0 && o > 0 {
				rows[q][2*k], rows[q][2*k+1] = y-x, 1
				r.add(y - x)
				counts[k]++
			}
		}
	}
	sums := p.a.sumOver(rows)
	lambdas, value := make([]float64, len(at)), make([]float64, len(at))
	for k, i := range at {
		d, ok := sums.intervalOf(counts[k], r, func(total []float64) float64 { return total[2*k] / total[2*k+1] })
		if !ok {
			continue
		}
		points[i].Difference, points[i].Sure = &d, false
		lambdas[k], value[k] = points[i].Lambda, d.Estimate
		for q := range psi {
			// How much a prompt moves the mean difference at the point.
			psi[q][k] = float64(len(rows)) / float64(counts[k]) * (rows[q][2*k] - d.Estimate*rows[q][2*k+1])
		}
	}
	j := newSimultaneous(p.a.setup.Config.Seed, lambdas, value, psi, len(sums.draws), func(draw int, x []float64) {
		for k := range at {
			x[k] = sums.draws[draw][2*k]/sums.draws[draw][2*k+1] - value[k]
		}
	})
	// Values and influences of the points that have an interval.
	for k, i := range at {
		points[i].Sure = j != nil && j.at(k).Clear() && points[i].Difference.Clear()
	}
}

// difference is a − b of estimates with a correlation.
func difference(a, b stat.Interval, correlation float64) stat.Interval {
	d := a.Estimate - b.Estimate
	end := func(x, y float64) float64 {
		if math.IsInf(x, 0) || math.IsInf(y, 0) {
			return math.Inf(1)
		}
		return math.Sqrt(max(0, x*x+y*y-2*correlation*x*y))
	}
	return stat.Interval{
		Estimate: d,
		Low:      d - end(a.Estimate-a.Low, b.High-b.Estimate),
		High:     d + end(a.High-a.Estimate, b.Estimate-b.Low),
	}
}
