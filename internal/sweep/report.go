package sweep

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"realign/internal/stat"
)

// Report is what a sweep has found so far. It is a function of the setup and the outputs, in whatever order they
// came. Intervals are 95%, by resampling prompts; what is nil is not known, and an end of an interval that is not known is
// infinite.
type Report struct {
	Name       string         `json:"name,omitempty"`
	Pair       string         `json:"pair"`
	Aligned    string         `json:"aligned"`
	Beta       float64        `json:"beta,omitempty"`       // β₀
	Mix        string         `json:"mix,omitempty"`        // what λ mixes; empty is the logits
	Objective  string         `json:"objective"`            // name of the reward by which the best λ is sought
	Evaluation string         `json:"evaluation,omitempty"` // name of the reward that checks it; "" without any
	Prompts    int            `json:"prompts"`              // with an output
	Outputs    int            `json:"outputs"`              // failed ones included
	Failed     int            `json:"failed"`               // of them, not decoded
	Tokens     int            `json:"tokens"`               // decoded
	Cost       float64        `json:"cost,omitempty"`       // of the rewards, in the unit of their endpoints' prices
	Reweighted bool           `json:"reweighted"`           // curves between the λ that were decoded come from reweighting
	Lambdas    []LambdaStats  `json:"lambdas"`              // by decoded λ, ascending
	Rewards    []RewardReport `json:"rewards"`              // in the order of the configuration

	Notes          []string        `json:"notes,omitempty"`   // what is to be known of the objective's numbers before they are believed
	Best           *Best           `json:"best,omitempty"`    // λ by the objective; nil unless λ surely moves it
	Holdout        *Holdout        `json:"checked,omitempty"` // by the evaluation reward
	Recommendation *Recommendation `json:"ticket,omitempty"`
}

// LambdaStats is what one decoded λ costs, whatever the rewards say.
type LambdaStats struct {
	Lambda  float64        `json:"lambda"`
	Outputs int            `json:"outputs"`         // at this λ, failed ones included
	Failed  int            `json:"failed"`          // of the outputs, that could not be decoded
	KL      *stat.Interval `json:"kl"`              // to the reference, nats per answer
	Length  *stat.Interval `json:"length"`          // tokens per answer
	LogZ    *stat.Interval `json:"log_z"`           // mean |log Z| per token, nats
	Trust   *Trust         `json:"trust,omitempty"` // how far token-wise decoding is from whole replies; nil where that is not known
}

// RewardReport is what one reward says.
type RewardReport struct {
	RewardInfo
	Points   []Point      `json:"points"`             // one per decoded λ, ascending
	Curve    []CurvePoint `json:"curve"`              // at the λ of the fine grid, or at the decoded ones without reweighting
	Movement Movement     `json:"movement"`           // whether λ moves it at all
	Best     *Best        `json:"best,omitempty"`     // nil unless it surely does
	Peak     *Peak        `json:"turn,omitempty"`     // where more λ stops paying
	Whole    *Whole       `json:"whole,omitempty"`    // what whole replies would say; nil unless the temperature is 1 without truncation
	Gaps     *Gaps        `json:"gaps,omitempty"`     // values that are missing at some λ more than at others
	Outliers *Outliers    `json:"outliers,omitempty"` // values that are far from all others; nil without any
	Missing  []Reason     `json:"missing,omitempty"`  // why values are missing, the most frequent reason first
	Coupling []Coupling   `json:"coupling,omitempty"` // of neighbouring λ
}

// Point is a reward at a decoded λ.
type Point struct {
	Lambda     float64        `json:"lambda"`
	Mean       *stat.Interval `json:"mean"`                 // over prompts of the mean over samples; nil without values
	Difference *stat.Interval `json:"difference,omitempty"` // to λ = 1, paired by prompt and, where both have it, by sample
	Values     int            `json:"values"`               // outputs that have one
	Missing    int            `json:"missing"`              // outputs that have none, failed ones included
	Efficient  bool           `json:"efficient"`            // no λ with as little KL has a better mean: on the Pareto front, by the estimates
}

// CurvePoint is a reward between the decoded λ. Value is nil where too little is known: the curve has a gap.
type CurvePoint struct {
	Lambda float64        `json:"lambda"`
	Value  *stat.Interval `json:"value"`
	ESS    float64        `json:"ess"` // effective number of outputs that it rests on
	KL     float64        `json:"kl"`  // to the reference, between decoded λ by linear interpolation
}

// Reason is why values are missing, and how many.
type Reason struct {
	Reason string `json:"reason"`
	Cells  int    `json:"cells"`
}

// Coupling says what common random numbers are worth between two λ: the variance within prompts of the difference
// between samples that share their noise, over that of samples that do not.
type Coupling struct {
	Low   float64 `json:"low"`   // the lower λ
	High  float64 `json:"high"`  // the higher λ
	Ratio float64 `json:"ratio"` // below 1: common random numbers make the difference more exact
}

// Analyse reports what outputs say, whether or not the sweep is at its end.
func Analyse(s *Setup, outputs []Output) *Report {
	c := &s.Config
	t := newTable(s, outputs)
	r := &Report{
		Name: c.Name, Pair: c.Pair, Aligned: s.Aligned, Beta: s.Beta, Mix: c.Mix, Objective: c.Objective, Evaluation: c.Evaluation,
		Prompts: len(t.prompts), Reweighted: s.Reweights(), Lambdas: []LambdaStats{}, Rewards: []RewardReport{},
	}
	t.each(func(_ int, o *Output) {
		r.Outputs++
		r.Tokens += o.Tokens
		if o.Failed() {
			r.Failed++
		}
		for _, v := range o.Rewards {
			r.Cost += v.Cost
		}
	})
	r.Lambdas = t.lambdaStats()
	curves := map[string]*curve{}
	for _, info := range s.RewardInfos {
		curve := newCurve(t, rewarded(info.Name), info.sign())
		curves[info.Name] = curve
		r.Rewards = append(r.Rewards, t.rewarded(info, curve, r.Lambdas))
	}
	if one := r.Reward(c.Objective); one != nil {
		r.Best = one.Best
	}
	if e := curves[c.Evaluation]; e != nil && r.Best != nil {
		r.Holdout = holdout(e, r.Best, r.Reward(c.Evaluation).Best)
	}
	r.Notes = notes(r)
	r.Recommendation = newTicket(s, r)
	return r
}

// notableFew is below how many prompts a note says what so few mean.
const notableFew = 10

// notes is what is to be known of the objective's numbers.
func notes(r *Report) (all []string) {
	o, n := r.Reward(r.Objective), r.Prompts
	if o != nil && o.Movement.Prompts > 0 {
		n = o.Movement.Prompts // with values
	}
	switch {
	case n == 1:
		all = append(all, "One prompt has estimates and no intervals: how much prompts differ cannot be told from one, and nothing is said of others.")
	case n > 1 && n < notableFew:
		all = append(all, fmt.Sprintf("%d prompts are few. Intervals are as wide as Student's t asks for so many, and hold as often as they say only if prompts differ about as the normal distribution has it; one unusual prompt can move everything.", n))
	}
	if o != nil {
		if o.Gaps != nil {
			all = append(all, o.Gaps.words(o.Name)...)
		}
		if o.Outliers != nil {
			var mean *stat.Interval
			if o.Best != nil {
				mean = &o.Best.Lambda
			}
			all = append(all, o.Outliers.words(o.Name, mean)...)
		}
	}
	return all
}

// Reward is the part of the report on a reward, nil where there is none of the name.
func (r *Report) Reward(name string) *RewardReport {
	for i := range r.Rewards {
		if r.Rewards[i].Name == name {
			return &r.Rewards[i]
		}
	}
	return nil
}

// each calls f for every output, with the place of its λ.
func (t *table) each(f func(k int, o *Output)) {
	for _, row := range t.cells {
		for k, list := range row {
			for _, o := range list {
				f(k, o)
			}
		}
	}
}

// lambdaStats is what each decoded λ costs.
func (t *table) lambdaStats() []LambdaStats {
	list := make([]LambdaStats, len(t.lambdas))
	for k, l := range t.lambdas {
		list[k].Lambda = l
	}
	t.each(func(k int, o *Output) {
		list[k].Outputs++
		if o.Failed() {
			list[k].Failed++
		}
	})
	reference := func(l float64) bool { return l == 0 }
	kl := t.means(func(o *Output) (float64, bool) { return o.KL, !o.Failed() && !o.Untraced }, reference)
	length := t.means(decoded(func(o *Output) float64 { return float64(o.Tokens) }), never)
	// The λ of a lane is constant, so its log Z all have one sign and |Σ log Z| = Σ |log Z|.
	logZ := t.ratios(func(o *Output) (float64, float64) { return math.Abs(o.LogZ), float64(o.Tokens) }, func(l float64) bool { return l == 0 || l == 1 })
	trust := t.trust()
	for k := range list {
		list[k].KL, list[k].Length, list[k].LogZ, list[k].Trust = kl[k], length[k], logZ[k], trust[k]
	}
	return list
}

// means is the mean of a measure at each λ: over prompts of the mean over samples.
func (t *table) means(m measure, zero func(lambda float64) bool) []*stat.Interval {
	rows := make([][]float64, len(t.cells))
	for p, row := range t.cells {
		rows[p] = make([]float64, 2*len(row))
		for k := range row {
			if mean, n := m.mean(row[k]); n > 0 {
				rows[p][2*k], rows[p][2*k+1] = mean, 1
			}
		}
	}
	return t.quotients(rows, t.reach(m), zero)
}

// ratios is the quotient of two totals at each λ.
func (t *table) ratios(f func(o *Output) (above, below float64), zero func(lambda float64) bool) []*stat.Interval {
	rows, r := make([][]float64, len(t.cells)), nowhere()
	for p, row := range t.cells {
		rows[p] = make([]float64, 2*len(row))
		for k := range row {
			for _, o := range row[k] {
				if !o.Failed() && !o.Untraced {
					above, below := f(o)
					rows[p][2*k] += above
					rows[p][2*k+1] += below
					r.add(above / below)
				}
			}
		}
	}
	return t.quotients(rows, r, zero)
}

// differences is the mean difference of a measure to λ = 1 at each other λ; nil without λ = 1.
func (t *table) differences(m measure) []*stat.Interval {
	one, ok := slices.BinarySearch(t.lambdas, 1)
	if !ok {
		return make([]*stat.Interval, len(t.lambdas))
	}
	rows, r := make([][]float64, len(t.cells)), nowhere()
	for p, row := range t.cells {
		rows[p] = make([]float64, 2*len(row))
		for k := range row {
			if d, ok := m.difference(row[k], row[one]); ok && k != one {
				rows[p][2*k], rows[p][2*k+1] = d, 1
				r.add(d)
			}
		}
	}
	return t.quotients(rows, r, never)
}

// never is of λ at which nothing is known to be 0.
func never(float64) bool { return false }

// quotients reads pairs of columns as fractions, one for each λ. r is what a fraction can be; at some λ it is known to be 0.
func (t *table) quotients(rows [][]float64, r reach, zero func(lambda float64) bool) []*stat.Interval {
	sums := t.sumOver(rows)
	list := make([]*stat.Interval, len(t.lambdas))
	for k, l := range t.lambdas {
		n := 0
		for _, row := range rows {
			if row[2*k+1] != 0 {
				n++
			}
		}
		i, ok := sums.intervalOf(n, r, func(total []float64) float64 { return total[2*k] / total[2*k+1] })
		if !ok {
			continue
		}
		if zero(l) && i.Estimate == 0 {
			i.Low, i.High = i.Estimate, i.Estimate
		}
		list[k] = &i
	}
	return list
}

// rewarded is the report on a reward.
func (t *table) rewarded(info RewardInfo, c *curve, stats []LambdaStats) RewardReport {
	m := rewarded(info.Name)
	r := RewardReport{RewardInfo: info, Points: make([]Point, len(t.lambdas)), Curve: make([]CurvePoint, len(c.lambdas))}
	means, differences := t.means(m, never), t.differences(m)
	for k, l := range t.lambdas {
		r.Points[k] = Point{Lambda: l, Mean: means[k], Difference: differences[k]}
	}
	// An output without a value counts by the reason for it; one that was not asked about yet counts nowhere.
	reasons := map[string]int{}
	t.each(func(k int, o *Output) {
		v, judged := o.Rewards[info.Name]
		switch {
		case o.Failed():
			reasons["not decoded: "+o.Error]++
		case !judged:
			return
		case !v.OK():
			reasons[v.Missing]++
		default:
			r.Points[k].Values++
			return
		}
		r.Points[k].Missing++
	})
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		r.Missing = append(r.Missing, Reason{reason, reasons[reason]})
	}
	slices.SortStableFunc(r.Missing, func(a, b Reason) int { return cmp.Compare(b.Cells, a.Cells) })
	efficient(r.Points, stats, info.sign())
	kl := func(l float64) float64 {
		return between(stats, l, func(s LambdaStats) *stat.Interval { return s.KL })
	}
	for i, l := range c.lambdas {
		r.Curve[i] = CurvePoint{Lambda: l, ESS: c.ess[i], KL: kl(l), Value: c.value(i)}
		if math.IsNaN(r.Curve[i].ESS) {
			r.Curve[i].ESS = 0
		}
	}
	// Without a sign that λ does anything no λ is called best.
	if r.Movement = t.movement(m); r.Movement.Moves {
		r.Best = c.report(t.lambdas)
	}
	if highest, _ := c.top(c.sums.total); !math.IsNaN(highest) {
		r.Movement.Highest = highest
	}
	if r.Best != nil {
		r.Best.KL = kl(r.Best.Lambda.Estimate)
		r.Best.LogZ = between(stats, r.Best.Lambda.Estimate, func(s LambdaStats) *stat.Interval { return s.LogZ })
		r.Peak = c.peak(r.Best)
	}
	r.Whole = t.whole(c, m, r.Movement.Moves)
	r.Gaps, r.Outliers = t.gaps(info.Name), t.outliers(m, info.sign())
	for k := 1; k < len(t.lambdas); k++ {
		if ratio, ok := t.coupling(m, k-1, k); ok {
			r.Coupling = append(r.Coupling, Coupling{t.lambdas[k-1], t.lambdas[k], ratio})
		}
	}
	return r
}

// efficient marks the points of the Pareto front of reward and KL.
func efficient(points []Point, stats []LambdaStats, sign float64) {
	for i := range points {
		points[i].Efficient = points[i].Mean != nil && stats[i].KL != nil
		for j := range points {
			if !points[i].Efficient {
				break
			}
			if j == i || points[j].Mean == nil || stats[j].KL == nil {
				continue
			}
			less := stats[j].KL.Estimate - stats[i].KL.Estimate
			more := sign * (points[j].Mean.Estimate - points[i].Mean.Estimate)
			if less <= 0 && more >= 0 && (less < 0 || more > 0) {
				points[i].Efficient = false
			}
		}
	}
}

// between interpolates what is known at decoded λ; beyond the outer ones it stays as it is there.
func between(stats []LambdaStats, l float64, of func(LambdaStats) *stat.Interval) float64 {
	var before, after *LambdaStats
	for i := range stats {
		s := &stats[i]
		if of(*s) == nil {
			continue
		}
		if s.Lambda <= l {
			before = s
		}
		if s.Lambda >= l && after == nil {
			after = s
		}
	}
	switch {
	case before == nil && after == nil:
		return 0
	case before == nil:
		return of(*after).Estimate
	case after == nil || after.Lambda == before.Lambda:
		return of(*before).Estimate
	}
	part := (l - before.Lambda) / (after.Lambda - before.Lambda)
	return (1-part)*of(*before).Estimate + part*of(*after).Estimate
}

// value is the curve at a point, nil in a gap.
func (c *curve) value(i int) *stat.Interval {
	if !c.ok[i] {
		return nil
	}
	if value, ok := c.sums.interval(c.reach, func(total []float64) float64 { return c.at(total, i) }); ok {
		return &value
	}
	return nil
}

// coupling is the ratio of variances for two λ; false where no prompt has two samples of both.
func (t *table) coupling(m measure, low, high int) (float64, bool) {
	var apart, paired float64
	for _, row := range t.cells {
		var x, y []float64
		// Both cells are in the order of samples; those that only one has are passed over.
		for i, j := 0, 0; i < len(row[low]) && j < len(row[high]); {
			a, b := row[low][i], row[high][j]
			switch cmp.Compare(a.Sample, b.Sample) {
			case -1:
				i++
			case 1:
				j++
			default:
				f, ok := m(a)
				g, also := m(b)
				if ok && also {
					x, y = append(x, f), append(y, g)
				}
				i, j = i+1, j+1
			}
		}
		if len(x) < 2 {
			continue
		}
		d := make([]float64, len(x))
		for i := range x {
			d[i] = x[i] - y[i]
		}
		paired += squares(d) / float64(len(d)-1)
		apart += (squares(x) + squares(y)) / float64(len(d)-1)
	}
	return paired / apart, apart > 0
}

// squares is the sum of squared deviations from the mean.
func squares(x []float64) (sum float64) {
	mean := 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sum += (v - mean) * (v - mean)
	}
	return sum
}
