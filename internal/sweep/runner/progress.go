package runner

import (
	"time"

	"realign/internal/experiment"
	"realign/internal/sweep"
)

// Progress is how far a sweep is.
type Progress struct {
	Plan     sweep.Plan     // that is worked on; the zero Plan for a sweep that does not run
	Outputs  int            // kept
	Failed   int            // of them, that could not be decoded
	Missing  int            // values that rewards could not give
	Cost     float64        // of rewards, in the unit of their endpoints' prices
	Tokens   int            // of the outputs
	Expected int            // tokens when all is done: a guess; 0 before there is a plan
	Rate     float64        // tokens a second, lately; 0 is unknown
	Left     time.Duration  // until the end, at that rate; 0 is unknown
	Workers  map[string]int // items that each worker has decoded since the sweep was resumed last
	Trouble  string         // why nothing moves just now; "" while something does
}

// count adds outputs up.
func (p *Progress) count(o *sweep.Output) {
	p.Outputs++
	p.Tokens += o.Tokens
	if o.Failed() {
		p.Failed++
	}
	for _, v := range o.Rewards {
		if !v.OK() {
			p.Missing++
		}
		p.Cost += v.Cost
	}
}

// Watch is how far a sweep that runs is, and a channel that is closed at the next change. It is false for one that does
// not run here.
func (r *Runner) Watch(id string) (p Progress, changed <-chan struct{}, runs bool) {
	j := r.find(id)
	if j == nil {
		return p, nil, false
	}
	made, changed, runs := r.config.Generator.Watch(id)
	if !runs {
		return p, nil, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	p = Progress{Plan: j.plan, Workers: made.Workers, Trouble: made.Trouble, Rate: made.Rate}
	r.config.Generator.Each(id, func(made *experiment.Output) {
		o := sweep.NewOutput(made)
		o.Rewards = j.values[o.Cell]
		if j.sweep.Setup.Asks(&o) {
			p.count(&o)
		}
	})
	p.Expected = p.Plan.Expected(&j.sweep.Setup.Config, p.Outputs, p.Tokens)
	p.Left = made.Left(p.Expected - p.Tokens)
	return p, changed, true
}
