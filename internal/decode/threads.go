package decode

import (
	"math/bits"
	"runtime"
)

// threads is what is known of models that run while no other does, by how often the number of a pass's rows can be
// halved: on how many threads such a pass is faster depends on it.
type threads map[int]widths

// widths are the seconds for a row of a pass on the threads that a model was opened with, and on all.
type widths struct{ own, all cost }

// wide reports whether a model that runs these rows alone shall have all threads: while that is measured to be faster. It is
// not where other programs keep the processors busy.
func (t threads) wide(rows, step int) bool {
	w := t[bits.Len(uint(rows))]
	return w.all.stale(step) || !w.own.stale(step) && w.all.seconds < w.own.seconds
}

// measure takes the time of a pass by a model that ran alone.
func (t threads) measure(wide bool, rows int, seconds float64, step int) {
	class := bits.Len(uint(rows))
	w := t[class]
	if each := seconds / float64(rows); wide {
		w.all = w.all.add(each, step)
	} else {
		w.own = w.own.add(each, step)
	}
	t[class] = w
}

// alone is the model that runs in this step if only one does.
func (e *Engine) alone() (runs *slot) {
	for _, s := range e.slots {
		if len(s.rows) > 0 {
			if runs != nil {
				return nil
			}
			runs = s
		}
	}
	return runs
}

// divide gives all threads to the model that runs alone where that is faster, and every other its own.
func (e *Engine) divide(alone *slot) {
	for _, s := range e.slots {
		wide := s == alone && e.threads.wide(len(s.rows), e.steps)
		if len(s.rows) > 0 && wide != s.wide {
			s.wide = wide
			n := 0
			if wide {
				n = runtime.GOMAXPROCS(0)
			}
			s.model.SetThreads(n)
		}
	}
}
