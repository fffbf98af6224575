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

// meter measures a rate over the last minute, or since the outputs before it came. Its first mark is when the work began.
// The mutex of its decoding guards it.
type meter struct {
	marks []mark // of the last minute, and the one before them
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
	m.marks = append(m.marks, mark{now, tokens})
	m.trim(now)
}

// trim drops marks that are older than lately, but for the newest of them.
func (m *meter) trim(now time.Time) {
	n := 0
	for n+1 < len(m.marks) && now.Sub(m.marks[n+1].at) > lately {
		n++
	}
	m.marks = m.marks[n:]
}

// rate is tokens a second; 0 before there is enough to say. Outputs come many at once, and the next are not late before as long has
// passed as between those that came: a rate up to now would fall until they come, and leap.
func (m *meter) rate(now time.Time) float64 {
	m.trim(now)
	gaps := len(m.marks) - 1
	if gaps < 1 {
		return 0
	}
	first, last := m.marks[0].at, m.marks[gaps].at
	over := last.Sub(first)
	over += max(0, now.Sub(last)-over/time.Duration(gaps))
	if over < time.Second {
		return 0
	}
	sum := 0
	for _, x := range m.marks[1:] {
		sum += x.tokens
	}
	return float64(sum) / over.Seconds()
}
