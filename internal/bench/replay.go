package bench

import (
	"sync"

	"realign/internal/decode"
)

// Recording is a pair that remembers what an engine asked of its models, so that the bare passes can be
// done again without the engine. It is used with one engine whose models are opened one by one.
type Recording struct {
	decode.Pair
	reference *recorded
	aligned   map[string]*recorded
}

// recorded is a model with the calls made of it.
type recorded struct {
	decode.Model
	calls []call
}

// call is a pass, or, without rows, a copy, a trim or a number of threads.
type call struct {
	rows          []decode.Row
	dst, src      decode.Seq // trim: dst
	n             int
	trim, threads bool
}

// Record wraps a pair.
func Record(p decode.Pair) *Recording {
	return &Recording{Pair: p, reference: &recorded{Model: p.Reference()}, aligned: map[string]*recorded{}}
}

// Reference is the recorded reference model.
func (r *Recording) Reference() decode.Model { return r.reference }

// Aligned is a recorded aligned model.
func (r *Recording) Aligned(name string) (decode.Model, error) {
	if m := r.aligned[name]; m != nil {
		return m, nil
	}
	m, err := r.Pair.Aligned(name)
	if err != nil {
		return nil, err
	}
	r.aligned[name] = &recorded{Model: m}
	return r.aligned[name], nil
}

// Reset forgets the calls.
func (r *Recording) Reset() {
	r.reference.calls = nil
	for _, m := range r.aligned {
		m.calls = nil
	}
}

// Replay makes the recorded calls again on the bare models: the n-th passes of all models at the same
// time, as the engine does, each waiting for the other, and nothing else. Models end with the cache they
// began with, if the recorded run freed what it used.
func (r *Recording) Replay() error {
	models := []*recorded{r.reference}
	for _, m := range r.aligned {
		models = append(models, m)
	}
	next := make([]int, len(models))
	errs := make([]error, len(models))
	for {
		var wait sync.WaitGroup
		busy := false
		for i := len(models) - 1; i >= 0; i-- {
			m := models[i]
			for next[i] < len(m.calls) && m.calls[next[i]].rows == nil {
				m.repeat(m.calls[next[i]])
				next[i]++
			}
			if next[i] == len(m.calls) {
				continue
			}
			busy = true
			rows := m.calls[next[i]].rows
			next[i]++
			if i == 0 {
				errs[i] = m.Model.Forward(rows)
			} else {
				wait.Go(func() { errs[i] = m.Model.Forward(rows) })
			}
		}
		wait.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		if !busy {
			return nil
		}
	}
}

func (m *recorded) repeat(c call) {
	switch {
	case c.trim:
		m.Model.Trim(c.dst, c.n)
	case c.threads:
		m.Model.SetThreads(c.n)
	default:
		m.Model.Copy(c.dst, c.src, c.n)
	}
}

func (m *recorded) Forward(rows []decode.Row) error {
	m.calls = append(m.calls, call{rows: append([]decode.Row(nil), rows...)})
	return m.Model.Forward(rows)
}

func (m *recorded) Copy(dst, src decode.Seq, n int) int {
	m.calls = append(m.calls, call{dst: dst, src: src, n: n})
	return m.Model.Copy(dst, src, n)
}

func (m *recorded) Trim(seq decode.Seq, n int) bool {
	m.calls = append(m.calls, call{dst: seq, n: n, trim: true})
	return m.Model.Trim(seq, n)
}

func (m *recorded) SetThreads(n int) {
	m.calls = append(m.calls, call{n: n, threads: true})
	m.Model.SetThreads(n)
}
