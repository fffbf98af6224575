package sweep

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"realign/internal/decode"
)

// Report is what a sweep has found so far. It is a function of the setup and the outputs, in whatever order they
// came. Intervals are 95%, by resampling prompts; what is nil is not known.
type Report struct {
	Name       string     `json:"name,omitempty"`
	Pair       string     `json:"pair"`
	Aligned    string     `json:"aligned"`
	Beta       float64    `json:"beta,omitempty"` // β₀
	Objective  string     `json:"objective"`
	Evaluation string     `json:"evaluation,omitempty"`
	Prompts    int        `json:"prompts"` // with an output
	Outputs    int        `json:"outputs"`
	Failed     int        `json:"failed"` // of them, not decoded
	Tokens     int        `json:"tokens"` // decoded
	Cost       float64    `json:"cost,omitempty"`
	Reweighted bool       `json:"reweighted"` // curves between the λ that were decoded come from reweighting
	Lambdas    []Strength `json:"lambdas"`
	Rewards    []Rewarded `json:"rewards"` // in the order of the configuration

	Best    *Best    `json:"best,omitempty"`    // λ by the objective
	Checked *Checked `json:"checked,omitempty"` // by the evaluation reward
	Ticket  *Ticket  `json:"ticket,omitempty"`
}

// Strength is what one decoded λ costs, whatever the rewards say.
type Strength struct {
	Lambda  float64   `json:"lambda"`
	Outputs int       `json:"outputs"`
	Failed  int       `json:"failed"`
	KL      *Interval `json:"kl"`     // to the reference, nats per answer
	Length  *Interval `json:"length"` // tokens per answer
	LogZ    *Interval `json:"log_z"`  // mean |log Z| per token, nats
}

// Rewarded is what one reward says.
type Rewarded struct {
	Judge
	Points   []Point      `json:"points"` // one per decoded λ
	Curve    []CurvePoint `json:"curve"`
	Best     *Best        `json:"best,omitempty"`
	Turn     *Turn        `json:"turn,omitempty"` // where more λ stops paying
	Missing  []Reason     `json:"missing,omitempty"`
	Coupling []Coupling   `json:"coupling,omitempty"` // of neighbouring λ
}

// Point is a reward at a decoded λ.
type Point struct {
	Lambda     float64   `json:"lambda"`
	Mean       *Interval `json:"mean"`
	Difference *Interval `json:"difference,omitempty"` // to λ = 1, paired by prompt and, where both have it, by sample
	Values     int       `json:"values"`
	Missing    int       `json:"missing"`
	Efficient  bool      `json:"efficient"` // no λ with as little KL has a better mean: on the Pareto front, by the estimates
}

// CurvePoint is a reward between the decoded λ. Value is nil where too little is known: the curve has a gap.
type CurvePoint struct {
	Lambda float64   `json:"lambda"`
	Value  *Interval `json:"value"`
	ESS    float64   `json:"ess"` // effective number of outputs that it rests on
	KL     float64   `json:"kl"`  // to the reference, between decoded λ by linear interpolation
}

// Best is where a reward is best in the range of λ that was decoded.
type Best struct {
	Lambda Interval  `json:"lambda"`
	Value  Interval  `json:"value"`           // there
	Gain   *Interval `json:"gain,omitempty"`  // over λ = 1; above 0 is better, whatever the reward's direction
	AtLow  bool      `json:"at_low"`          // the interval reaches the lowest λ: the best may lie below
	AtHigh bool      `json:"at_high"`         // the highest: it may lie above
	Wider  *Span     `json:"wider,omitempty"` // the range to look at next, if it does
	KL     float64   `json:"kl"`
	LogZ   float64   `json:"log_z"` // mean |log Z| per token
}

// Turn is a λ above which a reward gets worse: with an evaluation reward the sign of over-optimisation (Gao, Schulman &
// Hilton 2023).
type Turn struct {
	Lambda Interval `json:"lambda"`
	KL     float64  `json:"kl"`
	Loss   Interval `json:"loss"` // from there to the highest λ; above 0 is worse, whatever the direction
	Sure   bool     `json:"sure"` // Loss is clear of 0
}

// Checked is what the evaluation reward says of the λ that is best by the objective.
type Checked struct {
	At            Interval  `json:"at"`             // the evaluation reward there
	Gain          *Interval `json:"gain,omitempty"` // over λ = 1; above 0 is better
	Loss          Interval  `json:"loss"`           // against its own best λ; above 0 is worse
	Overoptimised bool      `json:"overoptimised"`  // its own best λ is surely below the objective's, and Loss is clear of 0
}

// Reason is why values are missing, and how many.
type Reason struct {
	Reason string `json:"reason"`
	Cells  int    `json:"cells"`
}

// Coupling says what common random numbers are worth between two λ: the variance within prompts of the difference
// between samples that share their noise, over that of samples that do not.
type Coupling struct {
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Ratio float64 `json:"ratio"`
}

// Analyse reports what outputs say, whether or not the sweep is at its end.
func Analyse(s *Setup, outputs []Output) *Report {
	c := &s.Config
	t := newTable(s, outputs)
	r := &Report{
		Name: c.Name, Pair: c.Pair, Aligned: s.Aligned, Beta: s.Beta, Objective: c.Objective, Evaluation: c.Evaluation,
		Prompts: len(t.prompts), Reweighted: c.Reweights(), Lambdas: []Strength{}, Rewards: []Rewarded{},
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
	r.Lambdas = t.strengths()
	curves := map[string]*curve{}
	for _, judge := range s.Judges {
		curve := newCurve(t, rewarded(judge.Name), judge.sign())
		curves[judge.Name] = curve
		r.Rewards = append(r.Rewards, t.rewarded(judge, curve, r.Lambdas))
	}
	if one := r.Reward(c.Objective); one != nil {
		r.Best = one.Best
	}
	if e := curves[c.Evaluation]; e != nil && r.Best != nil {
		r.Checked = check(e, r.Best, r.Reward(c.Evaluation).Best)
	}
	r.Ticket = newTicket(s, r)
	return r
}

// Reward is the part of the report on a reward, nil where there is none of the name.
func (r *Report) Reward(name string) *Rewarded {
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

func (t *table) strengths() []Strength {
	list := make([]Strength, len(t.lambdas))
	for k, l := range t.lambdas {
		list[k].Lambda = l
	}
	t.each(func(k int, o *Output) {
		list[k].Outputs++
		if o.Failed() {
			list[k].Failed++
		}
	})
	kl := t.means(decoded(func(o *Output) float64 { return o.KL }))
	length := t.means(decoded(func(o *Output) float64 { return float64(o.Tokens) }))
	// The λ of a lane is constant, so its log Z all have one sign and |Σ log Z| = Σ |log Z|.
	logZ := t.ratios(func(o *Output) (float64, float64) { return math.Abs(o.LogZ), float64(o.Tokens) })
	for k := range list {
		list[k].KL, list[k].Length, list[k].LogZ = kl[k], length[k], logZ[k]
	}
	return list
}

// means is the mean of a measure at each λ: over prompts of the mean over samples.
func (t *table) means(m measure) []*Interval {
	rows := make([][]float64, len(t.cells))
	for p, row := range t.cells {
		rows[p] = make([]float64, 2*len(row))
		for k := range row {
			if mean, n := m.mean(row[k]); n > 0 {
				rows[p][2*k], rows[p][2*k+1] = mean, 1
			}
		}
	}
	return t.quotients(rows)
}

// ratios is the quotient of two totals at each λ.
func (t *table) ratios(f func(o *Output) (above, below float64)) []*Interval {
	rows := make([][]float64, len(t.cells))
	for p, row := range t.cells {
		rows[p] = make([]float64, 2*len(row))
		for k := range row {
			for _, o := range row[k] {
				if !o.Failed() {
					above, below := f(o)
					rows[p][2*k] += above
					rows[p][2*k+1] += below
				}
			}
		}
	}
	return t.quotients(rows)
}

// differences is the mean difference of a measure to λ = 1 at each other λ; nil without λ = 1.
func (t *table) differences(m measure) []*Interval {
	one, ok := slices.BinarySearch(t.lambdas, 1)
	if !ok {
		return make([]*Interval, len(t.lambdas))
	}
	rows := make([][]float64, len(t.cells))
	for p, row := range t.cells {
		rows[p] = make([]float64, 2*len(row))
		for k := range row {
			if d, ok := m.difference(row[k], row[one]); ok && k != one {
				rows[p][2*k], rows[p][2*k+1] = d, 1
			}
		}
	}
	return t.quotients(rows)
}

// quotients reads pairs of columns as fractions, one for each λ.
func (t *table) quotients(rows [][]float64) []*Interval {
	sums := t.sumOver(rows)
	list := make([]*Interval, len(t.lambdas))
	for k := range list {
		if i, ok := sums.interval(func(total []float64) float64 { return total[2*k] / total[2*k+1] }); ok {
			list[k] = &i
		}
	}
	return list
}

// rewarded is the report on a reward.
func (t *table) rewarded(judge Judge, c *curve, strengths []Strength) Rewarded {
	m := rewarded(judge.Name)
	r := Rewarded{Judge: judge, Points: make([]Point, len(t.lambdas)), Curve: make([]CurvePoint, len(c.lambdas))}
	means, differences := t.means(m), t.differences(m)
	for k, l := range t.lambdas {
		r.Points[k] = Point{Lambda: l, Mean: means[k], Difference: differences[k]}
	}
	reasons := map[string]int{}
	t.each(func(k int, o *Output) {
		v, judged := o.Rewards[judge.Name]
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
	for _, reason := range sortedKeys(reasons) {
		r.Missing = append(r.Missing, Reason{reason, reasons[reason]})
	}
	slices.SortStableFunc(r.Missing, func(a, b Reason) int { return cmp.Compare(b.Cells, a.Cells) })
	efficient(r.Points, strengths, judge.sign())
	kl := func(l float64) float64 { return between(strengths, l, func(s Strength) *Interval { return s.KL }) }
	for i, l := range c.lambdas {
		r.Curve[i] = CurvePoint{Lambda: l, ESS: c.ess[i], KL: kl(l), Value: c.value(i)}
		if math.IsNaN(r.Curve[i].ESS) {
			r.Curve[i].ESS = 0
		}
	}
	if r.Best = c.report(); r.Best != nil {
		r.Best.KL = kl(r.Best.Lambda.Estimate)
		r.Best.LogZ = between(strengths, r.Best.Lambda.Estimate, func(s Strength) *Interval { return s.LogZ })
		r.Turn = c.turn(r.Best)
	}
	for k := 1; k < len(t.lambdas); k++ {
		if ratio, ok := t.coupling(m, k-1, k); ok {
			r.Coupling = append(r.Coupling, Coupling{t.lambdas[k-1], t.lambdas[k], ratio})
		}
	}
	return r
}

// efficient marks the points of the Pareto front of reward and KL.
func efficient(points []Point, strengths []Strength, sign float64) {
	for i := range points {
		points[i].Efficient = points[i].Mean != nil && strengths[i].KL != nil
		for j := range points {
			if !points[i].Efficient {
				break
			}
			if j == i || points[j].Mean == nil || strengths[j].KL == nil {
				continue
			}
			less := strengths[j].KL.Estimate - strengths[i].KL.Estimate
			more := sign * (points[j].Mean.Estimate - points[i].Mean.Estimate)
			if less <= 0 && more >= 0 && (less < 0 || more > 0) {
				points[i].Efficient = false
			}
		}
	}
}

// between interpolates what is known at decoded λ; beyond the outer ones it stays as it is there.
func between(strengths []Strength, l float64, of func(Strength) *Interval) float64 {
	var before, after *Strength
	for i := range strengths {
		s := &strengths[i]
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
func (c *curve) value(i int) *Interval {
	if !c.ok[i] {
		return nil
	}
	if value, ok := c.sums.interval(func(total []float64) float64 { return c.at(total, i) }); ok {
		return &value
	}
	return nil
}

// less is how much better the curve is at point i than at j.
func (c *curve) less(i, j int) (Interval, bool) {
	return c.sums.interval(func(total []float64) float64 { return c.sign * (c.at(total, i) - c.at(total, j)) })
}

// readable is the place of the point nearest to a λ among those that may be read, −1 without any.
func (c *curve) readable(l float64) int {
	best := -1
	for i, ok := range c.ok {
		if ok && (best < 0 || math.Abs(c.lambdas[i]-l) < math.Abs(c.lambdas[best]-l)) {
			best = i
		}
	}
	return best
}

// Span is a range of λ.
type Span struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// Edges says for people where the interval reaches an end of the range, and which range would tell more.
func (b *Best) Edges() (list []string) {
	if b.AtLow {
		list = append(list, "The interval reaches the lowest λ that was decoded: the best may lie below it.")
	}
	if b.AtHigh {
		list = append(list, "The interval reaches the highest λ that was decoded: the best may lie above it.")
	}
	if b.Wider != nil && len(list) > 0 {
		list[len(list)-1] += fmt.Sprintf(" A sweep from %s to %s would tell.", number(b.Wider.From), number(b.Wider.To))
	}
	return list
}

// widen sets Wider for a sweep from low to high: half as far again beyond an end that is reached, but not beyond the
// reference or what can be decoded.
func (b *Best) widen(low, high float64) {
	wider := Span{low, high}
	if b.AtLow && low > 0 {
		wider.From = tidy(max(0, low-(high-low)/2))
	}
	if b.AtHigh {
		wider.To = tidy(min(decode.MaxLambda, high+(high-low)/2))
	}
	if wider != (Span{low, high}) {
		b.Wider = &wider
	}
}

// report is the best λ, without what strengths know of it. Nil where nothing is known.
func (c *curve) report() *Best {
	lambda, ok := c.best()
	if !ok {
		return nil
	}
	at := c.readable(lambda.Estimate)
	value := c.value(at)
	if value == nil {
		return nil
	}
	first, last := c.neighbour(-1, 1), c.neighbour(len(c.ok), -1)
	b := &Best{Lambda: lambda, Value: *value, AtLow: lambda.Low <= c.lambdas[first], AtHigh: lambda.High >= c.lambdas[last]}
	b.widen(c.lambdas[first], c.lambdas[last])
	if one := c.readable(1); c.lambdas[one] == 1 {
		if gain, ok := c.less(at, one); ok {
			b.Gain = &gain
		}
	}
	return b
}

// turn is where the curve turns, nil where its best point is the last one.
func (c *curve) turn(best *Best) *Turn {
	at, last := c.readable(best.Lambda.Estimate), c.neighbour(len(c.ok), -1)
	if at == last {
		return nil
	}
	loss, ok := c.less(at, last)
	if !ok {
		return nil
	}
	return &Turn{Lambda: best.Lambda, KL: best.KL, Loss: loss, Sure: loss.Low > 0}
}

// check reads the evaluation's curve at the objective's best λ.
func check(e *curve, best, own *Best) *Checked {
	at := e.readable(best.Lambda.Estimate)
	if at < 0 || own == nil {
		return nil
	}
	value := e.value(at)
	loss, ok := e.less(e.readable(own.Lambda.Estimate), at)
	if value == nil || !ok {
		return nil
	}
	c := &Checked{At: *value, Loss: loss, Overoptimised: own.Lambda.High < best.Lambda.Low && loss.Low > 0}
	if one := e.readable(1); e.lambdas[one] == 1 {
		if gain, ok := e.less(at, one); ok {
			c.Gain = &gain
		}
	}
	return c
}

// coupling is the ratio of variances for two λ; false where no prompt has two samples of both.
func (t *table) coupling(m measure, low, high int) (float64, bool) {
	var apart, paired float64
	for _, row := range t.cells {
		var x, y []float64
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
