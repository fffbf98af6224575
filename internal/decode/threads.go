package decode

import (
	"math/bits"
	"runtime"

	"realign/internal/decode/cost"
)

// threads is what is known of passes, by what runs at the same time: on how many threads that is fastest
// depends on it. It belongs to the loop.
type threads map[load]widths

// load is what runs in a step: so many passes, and bits.Len of the number of their rows together.
type load struct{ models, rows int }

// widths are the seconds for a row when each model has the threads that it was opened with, and when the models share
// all processors.
type widths struct{ own, all cost.Cost }

// wide reports whether models shall have all processors: while that is measured to be faster. It is not where other
// programs keep them busy.
func (w widths) wide(step int) bool {
	return w.all.Unsure(step) || !w.own.Unsure(step) && w.all.Seconds < w.own.Seconds
}

// divide gives each of this step's passes its share of the processors where that is faster, and otherwise the
// threads that its model was opened with. It returns a function that takes the time of the passes.
func (e *Engine) divide(passes int) (measure func(seconds float64)) {
	l := load{models: passes}
	rows := 0
	for _, s := range e.models {
		rows += len(s.rows)
	}
	l.rows = bits.Len(uint(rows))
	share := runtime.GOMAXPROCS(0) / max(1, l.models)
	if l.models > 1 && e.config.Serial {
		share = 1
	}
	wide := share > 1 && e.threads[l].wide(e.steps)
	for _, s := range e.models {
		n := 0
		if wide {
			n = share
		}
		if len(s.rows) > 0 && n != s.threads {
			s.threads = n
			s.model.SetThreads(n)
		}
	}
	return func(seconds float64) {
		w := e.threads[l]
		if each := seconds / float64(max(1, rows)); wide {
			w.all = w.all.Add(each, e.steps)
		} else {
			w.own = w.own.Add(each, e.steps)
		}
		e.threads[l] = w
	}
}
