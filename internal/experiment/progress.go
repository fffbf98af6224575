package experiment

import (
	"maps"
	"time"
)

// Progress is how far a job, that is a study or a sweep, is.
type Progress struct {
	Outputs int            // stored when the job was started, and those that its client has taken since
	Failed  int            // of them, that could not be decoded
	Tokens  int            // of the outputs
	Rate    float64        // tokens a second, lately; 0 is unknown
	Workers map[string]int // items that each worker has decoded since the job was started last
	Trouble string         // why nothing moves just now; "" while something does
}

// Left is how long so many tokens more take at the rate; 0 is unknown.
func (p *Progress) Left(tokens int) time.Duration {
	if p.Rate <= 0 || tokens <= 0 {
		return 0
	}
	return time.Duration(float64(tokens) / p.Rate * float64(time.Second))
}

// Pace is how many tokens a second a pair's outputs were decoded at when some were decoded last; 0 is unknown: none were since
// the server began.
func (g *Generator) Pace(pair string) float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.paces[pair]
}

// notePace keeps a pair's rate; 0, which is unknown, changes nothing.
func (g *Generator) notePace(pair string, rate float64) {
	if rate <= 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paces == nil {
		g.paces = map[string]float64{}
	}
	g.paces[pair] = rate
}

// Watch is how far a job that runs is, and a channel that is closed at the next change. It is false for one that does
// not run here.
func (g *Generator) Watch(id string) (p Progress, changed <-chan struct{}, runs bool) {
	d := g.find(id)
	if d == nil {
		return p, nil, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p = Progress{Workers: maps.Clone(d.workers), Trouble: d.trouble, Rate: d.meter.rate(g.config.Now())}
	for _, o := range d.outputs {
		p.Outputs++
		p.Tokens += o.Tokens
		if o.Failed() {
			p.Failed++
		}
	}
	return p, d.changed, true
}

// meter measures a rate over the last minute.
// The mutex of its decoding guards it.
type meter struct {
	began time.Time // the first mark ever
	marks []mark    // of the last minute
}

// mark is how many tokens came at a moment.
type mark struct {
	at     time.Time
	tokens int
}

// lately is what a rate is about.
const lately = time.Minute

// add notes tokens that came now.
func (m *meter) add(now time.Time, tokens int) {
	if m.began.IsZero() {
		m.began = now
	}
	m.marks = append(m.marks, mark{now, tokens})
	m.trim(now)
}

// trim drops marks older than lately.
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
