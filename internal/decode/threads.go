package decode

import "runtime"

// threads is what is known of a model that runs while no other does: seconds of a pass of one row on its own threads, and
// on all.
type threads struct{ own, all cost }

// wide reports whether a model that runs alone shall have all threads: while that is measured to be faster. It is not
// where other programs keep the processors busy.
func (t *threads) wide(step int) bool {
	return t.all.stale(step) || !t.own.stale(step) && t.all.seconds < t.own.seconds
}

// measure takes the time of a pass of one row by a model that ran alone.
func (t *threads) measure(wide bool, seconds float64, step int) {
	if wide {
		t.all = t.all.add(seconds, step)
	} else {
		t.own = t.own.add(seconds, step)
	}
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
		wide := s == alone && e.threads.wide(e.steps)
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
