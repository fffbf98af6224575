package runner

import (
	"maps"
	"time"

	"realign/internal/sweep"
)

// Progress is how far a sweep is.
type Progress struct {
	Plan    sweep.Plan     // that is worked on; the zero Plan for a sweep that does not run
	Outputs int            // kept
	Failed  int            // of them, that could not be decoded
	Missing int            // values that rewards could not give
	Cost    float64        // of rewards, in the unit of their endpoints' prices
	Tokens  int            // of the outputs
	Rate    float64        // tokens a second, lately; 0 is unknown
	Left    time.Duration  // until the end, at that rate; 0 is unknown
	Workers map[string]int // items that each worker has decoded since the sweep was resumed last
	Trouble string         // why nothing moves just now
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
	r.mu.Lock()
	a := r.active[id]
	r.mu.Unlock()
	if a == nil {
		return p, nil, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p = Progress{Plan: a.plan, Workers: maps.Clone(a.workers), Trouble: a.trouble}
	for _, o := range a.outputs {
		p.count(o)
	}
	p.Rate = a.meter.rate(r.config.Now())
	if left := a.plan.Expected - p.Tokens; p.Rate > 0 && left > 0 {
		p.Left = time.Duration(float64(left) / p.Rate * float64(time.Second))
	}
	return p, a.changed, true
}

// meter measures a rate over the last while.
type meter struct {
	began time.Time
	marks []mark
}

type mark struct {
	at     time.Time
	tokens int
}

// lately is the while.
const lately = time.Minute

func (m *meter) add(now time.Time, tokens int) {
	if m.began.IsZero() {
		m.began = now
	}
	m.marks = append(m.marks, mark{now, tokens})
	m.trim(now)
}

func (m *meter) trim(now time.Time) {
	n := 0
	for n < len(m.marks) && now.Sub(m.marks[n].at) > lately {
		n++
	}
	m.marks = m.marks[n:]
}

// rate is tokens a second; 0 before there is enough to say.
func (m *meter) rate(now time.Time) float64 {
	m.trim(now)
	over := min(now.Sub(m.began), lately)
	if over < time.Second {
		return 0
	}
	sum := 0
	for _, x := range m.marks {
		sum += x.tokens
	}
	return float64(sum) / over.Seconds()
}
