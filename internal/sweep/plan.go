package sweep

import (
	"fmt"
	"math"
	"slices"

	gonumstat "gonum.org/v1/gonum/stat"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/stat"
)

// Plan is what a sweep has to decode next.
type Plan struct {
	Stage    int    `json:"stage"`    // number, from 0
	Round    int    `json:"round"`    // 0 is the grid, from 1 on refinement
	Items    []Item `json:"items"`    // of the stage, those with a cell that has no output yet
	Unjudged []Cell `json:"unjudged"` // of the stage, those with an output that lacks a reward
	Done     bool   `json:"done"`     // nothing is left to decode or to judge
	Reason   string `json:"reason"`   // why it is done, or what the stage is for
	Tokens   int    `json:"tokens"`   // decoded so far
	Outputs  int    `json:"outputs"`  // there when all is done, if it is refined in all rounds and no budget ends it
}

// Expected guesses how many tokens a sweep has decoded when all is done, from the outputs that are there by now. It is 0 for the
// zero Plan.
func (p Plan) Expected(c *Config, outputs, tokens int) int {
	switch {
	case p.Done:
		return tokens
	case p.Outputs == 0:
		return 0
	}
	each := float64(c.Sampling.MaxTokens) / 2
	if outputs > 0 {
		each = float64(tokens) / float64(outputs)
	}
	expected := each * float64(p.Outputs)
	if c.Budget > 0 {
		expected = min(expected, float64(c.Budget))
	}
	return max(tokens, int(expected))
}

// candidates is how many λ a round of refinement decodes.
const candidates = 2

// spread are the quantiles of the best λ that they are at.
func spread() [candidates]float64 { return [...]float64{0.01, 0.99} }

// confirmations is how many rounds in a row must end with an interval that is narrow enough. An interval is narrow by luck,
// too, and one that is taken as soon as it is narrow holds the best λ too seldom.
const confirmations = 2

// smallest is the share of the prompts that a stage must reach to be worth the wait for its end.
const smallest = 0.02

// Next says what to decode next, given everything decoded so far. A sweep has stages: all items of one can be
// decoded in any order and place, and the next begins when every cell of it has an output and every output its
// rewards. So the plan depends on what was found and never on when, and a sweep that was interrupted goes on to the
// same numbers. Outputs that no stage asked for are ignored.
//
// Round 0 is the grid. Each round of refinement after it decodes two λ, with sample indexes of its own: the 1% and 99%
// quantiles of where the best λ of the objective falls when prompts are resampled. That is Thompson sampling with a
// bootstrap for the posterior (Eckles & Kaptein 2014), in rounds, with quantiles in place of random draws, so that a
// round brackets the best λ. The difference between the ends of a bracket shows on
// which side of its middle the top lies; outputs in the middle show how high the top is, and hardly where. Where all resamples agree, a round looks
// half-way to the neighbouring λ. The knowledge gradient was not taken: it looks for the next sample that raises the
// expected reward of the final choice, and on the flat top of a curve, where several λ are nearly as good, it stops
// caring where the best one is, while the interval of β is what a sweep is asked for.
//
// Within the budget: a stage has as many prompts, in their order, as could be paid for if every lane used all of
// max_tokens, and what they leave over pays for the next. The grid gets half of the budget when rounds follow, and
// each round its equal share of the rest. The budget is never exceeded.
// The error is Invalid where there are no prompts.
func Next(s *Setup, outputs []Output) (Plan, error) {
	if len(s.Config.Prompts.Rows) == 0 {
		return Plan{}, fault.Field("prompts", "give at least one")
	}
	p := planner{setup: s, c: &s.Config, outputs: make(map[Cell]*Output, len(outputs)), prompts: len(s.Config.Prompts.Rows)}
	for i := range outputs {
		if cell := outputs[i].Cell; p.outputs[cell] == nil {
			p.outputs[cell] = &outputs[i]
		}
	}
	return p.next(), nil
}

// planner walks through the stages of a sweep.
type planner struct {
	setup   *Setup           // of the sweep
	c       *Config          // of the setup
	outputs map[Cell]*Output // by cell, the first of each
	prompts int              // that rounds are about

	stage, tokens int      // number of the stage that is looked at, and tokens decoded in those before it
	past          []Output // of the stages that are complete
}

// next walks through the rounds to the first stage that is not complete.
func (p *planner) next() Plan {
	c := p.c
	limit := math.MaxInt
	if c.Budget > 0 {
		// Half of a budget is left for refinement, but the grid gets what it needs at least.
		if limit = c.Budget; c.Refine.Rounds > 0 {
			limit = max(c.Budget/2, c.MinBudget())
		}
	}
	plan, prompts := p.round(0, c.Lambda.Values, limit)
	if plan != nil {
		return *plan
	}
	p.prompts = prompts
	narrow := 0
	for round := 1; round <= c.Refine.Rounds; round++ {
		lambdas, best, reason := p.look()
		// The interval must be narrow several rounds in a row: one could be chance.
		if narrow++; c.Refine.Width == 0 || best.Width() > c.Refine.Width {
			narrow = 0
		}
		switch {
		case lambdas == nil:
			return p.done(reason)
		case narrow == confirmations:
			return p.done(fmt.Sprintf("the interval of the best λ, %.3g to %.3g, is no wider than %g", best.Low, best.High, c.Refine.Width))
		}
		// What is left of the budget is shared out evenly over the rounds that are left.
		limit := math.MaxInt
		if c.Budget > 0 {
			limit = p.tokens + (c.Budget-p.tokens)/(c.Refine.Rounds-round+1)
		}
		plan, reached := p.round(round, lambdas, limit)
		if plan != nil {
			return *plan
		}
		if reached == 0 {
			return p.done(fmt.Sprintf("the budget is used up: %d of %d tokens", p.tokens, c.Budget))
		}
	}
	switch {
	case p.prompts < len(c.Prompts.Rows):
		return p.done(fmt.Sprintf("the budget of %d tokens is used up after %d of %d prompts", c.Budget, p.prompts, len(c.Prompts.Rows)))
	case c.Refine.Rounds == 0:
		return p.done("the grid is decoded")
	}
	return p.done(fmt.Sprintf("the grid is decoded and refined %d times", c.Refine.Rounds))
}

// done is the plan of a sweep at its end.
func (p *planner) done(reason string) Plan {
	return Plan{Stage: p.stage, Done: true, Reason: reason, Tokens: p.tokens, Outputs: len(p.past)}
}

// round walks through the stages of a round, which may bring the sweep to limit tokens. It returns the plan of the
// stage that is not complete, or how many prompts the round has reached.
func (p *planner) round(round int, lambdas []float64, limit int) (*Plan, int) {
	most := len(lambdas) * p.c.Samples * p.c.Sampling.MaxTokens // that a prompt can cost
	reached := 0
	for reached < p.prompts {
		n := min(p.prompts-reached, (limit-p.tokens)/most)
		if n == 0 || reached > 0 && float64(n) < smallest*float64(p.prompts) && n < p.prompts-reached {
			break
		}
		if plan := p.walk(round, lambdas, reached, reached+n); plan != nil {
			return plan, reached
		}
		reached += n
	}
	return nil, reached
}

// walk looks at the stage of the prompts from first up to last. It returns its plan unless it is complete.
func (p *planner) walk(round int, lambdas []float64, first, last int) *Plan {
	plan := Plan{Stage: p.stage, Round: round, Tokens: p.tokens}
	var done []Output
	for prompt := first; prompt < last; prompt++ {
		// Every round has samples of its own.
		for _, item := range experiment.Items(prompt, lambdas, round*p.c.Samples, (round+1)*p.c.Samples, p.stage) {
			missing := false
			for _, cell := range item.Cells() {
				o := p.outputs[cell]
				if o == nil {
					missing = true
					continue
				}
				plan.Tokens += o.Tokens
				done = append(done, *o)
				if !p.judged(o) {
					plan.Unjudged = append(plan.Unjudged, cell)
				}
			}
			if missing {
				plan.Items = append(plan.Items, item)
			}
		}
	}
	if len(plan.Items) == 0 && len(plan.Unjudged) == 0 {
		p.past = append(p.past, done...)
		p.tokens = plan.Tokens
		p.stage++
		return nil
	}
	if plan.Reason = "the grid"; round > 0 {
		plan.Reason = fmt.Sprintf("round %d of refinement, at λ %s", round, list(lambdas))
	}
	// This round looks at its own λ; the others are taken to look at as many as they may.
	perPrompt := len(p.c.Lambda.Values) + candidates*p.c.Refine.Rounds
	if round > 0 {
		perPrompt += len(lambdas) - candidates
	}
	plan.Outputs = perPrompt * p.c.Samples * p.prompts
	return &plan
}

// judged reports whether an output has all rewards. One that failed needs none.
func (p *planner) judged(o *Output) bool {
	if o.Failed() {
		return true
	}
	for _, r := range p.c.Rewards {
		if _, ok := o.Rewards[r.Name]; !ok {
			return false
		}
	}
	return true
}

// look finds the λ of the next round from the stages that are complete. Without any, reason says why.
func (p *planner) look() (lambdas []float64, best stat.Interval, reason string) {
	t := newTable(p.setup, p.past)
	c := newCurve(t, rewarded(p.c.Objective), p.setup.RewardInfo(p.c.Objective).sign())
	best, ok := c.best()
	if !ok {
		return nil, best, fmt.Sprintf("no value of the reward %q is there to refine by", p.c.Objective)
	}
	tops := c.tops()
	slices.Sort(tops)
	fine := p.c.Evaluate()
	for _, q := range spread() {
		l := fine[nearest(fine, gonumstat.Quantile(q, gonumstat.Empirical, tops, nil))]
		if !slices.Contains(lambdas, l) {
			lambdas = append(lambdas, l)
		}
	}
	if len(lambdas) == 1 { // every resample agrees: look half-way to the λ next to it
		at := nearest(t.lambdas, lambdas[0])
		for _, k := range []int{at - 1, at + 1} {
			if k < 0 || k >= len(t.lambdas) {
				continue
			}
			if l := fine[nearest(fine, (lambdas[0]+t.lambdas[k])/2)]; !slices.Contains(lambdas, l) {
				lambdas = append(lambdas, l)
			}
		}
		slices.Sort(lambdas)
	}
	return lambdas, best, ""
}

// list shows λ for people.
func list(lambdas []float64) string {
	text := ""
	for i, l := range lambdas {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%.4g", l)
	}
	return text
}
