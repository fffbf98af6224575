package decode

import (
	"cmp"
	"math"
	"slices"
)

// Proxied is a Pair some of whose aligned models are proxies: what tuning changed in a small model is added to the reference's
// logits (Liu et al., "Tuning Language Models by Proxy", 2024). With the logits of the three models, z(λ) = large + λ·(tuned − untuned).
//
// The aligned model of the pair is then the sum at λ = 1, a = large + tuned − untuned, and (1−λ)·large + λ·a is that z: all that
// is computed of two models is computed of large and a. A token that one of the three forbids (−∞) is forbidden in a.
type Proxied interface {
	// Untuned is the name under which Pair.Aligned opens the untuned model of an aligned one, and false for a model that is no
	// proxy. AlignedNames does not have it.
	Untuned(aligned string) (string, bool)
}

// untuned is the name of an aligned model's untuned one.
func (e *Engine) untuned(aligned string) (string, bool) {
	if pair, ok := e.pair.(Proxied); ok {
		return pair.Untuned(aligned)
	}
	return "", false
}

// addUntuned gives a job a slot for the untuned model of each proxy, behind those of the reference and of the aligned models.
func (e *Engine) addUntuned(j *Job) {
	for i, name := range j.request.Aligned {
		if hidden, ok := e.untuned(name); ok {
			if j.untuned == nil {
				j.untuned = make([]int, len(j.request.Aligned)+1)
			}
			j.untuned[i+1] = len(j.models)
			j.models = append(j.models, e.modelState(hidden))
			if j.prompts != nil { // it has the reference's prompt
				j.prompts = append(j.prompts, nil)
			}
		}
	}
}

// needParts adds the models that proxies consist of to those that are needed.
func (j *Job) needParts(need []bool) {
	for i, u := range j.untuned {
		if u > 0 && need[i] {
			need[0], need[u] = true, true
		}
	}
}

// compose makes the rows of the reference and of the aligned models out of those of all models of a job. A proxy's row is new; it
// is nil if one of its models said nothing.
func (j *Job) compose(rows [][]float32) [][]float32 {
	if j.untuned == nil {
		return rows
	}
	composed := slices.Clone(rows[:len(j.untuned)])
	for i, u := range j.untuned {
		switch {
		case u == 0:
		case rows[0] == nil || rows[i] == nil || rows[u] == nil:
			composed[i] = nil
		default:
			composed[i] = proxy(rows[0], rows[i], rows[u])
		}
	}
	return composed
}

// proxy is large + tuned − untuned, each sum rounded to float32 once. What one of them forbids is forbidden, and what is no number
// in one of them is none.
func proxy(large, tuned, untuned []float32) []float32 {
	row := make([]float32, len(large))
	for v := range row {
		a, b, c := float64(large[v]), float64(tuned[v]), float64(untuned[v])
		if z := a + b - c; z-z == 0 {
			row[v] = float32(z)
			continue
		}
		bad := func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 1) }
		if row[v] = float32(math.Inf(-1)); bad(a) || bad(b) || bad(c) {
			row[v] = float32(math.NaN())
		}
	}
	return row
}

// compose makes what the reference and the aligned models say out of what all models of a branch said.
func (p *modelRows) compose(e *Engine, b *branch, traced bool) {
	j := b.job
	if j.untuned == nil {
		return
	}
	rows := j.compose(p.rows)
	if traced {
		for i, u := range j.untuned {
			if u == 0 {
				continue
			}
			if b.lost(0) || b.lost(i) || b.lost(u) {
				p.logSums[i], p.tops[i] = 0, nil
				continue
			}
			var top float64
			top, p.logSums[i] = e.config.Kernel.Sum(rows[i])
			if err := usable(top); err != nil {
				p.err = cmp.Or(p.err, err)
				continue
			}
			p.tops[i] = mostProbableOfRow(e.config.Kernel, rows[i], p.logSums[i], j.request.Trace.Alternatives, e.vocab)
		}
		p.logSums, p.tops = p.logSums[:len(rows)], p.tops[:len(rows)]
	}
	p.rows = append(p.rows[:0], rows...)
}
