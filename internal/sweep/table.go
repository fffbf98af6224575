package sweep

import "slices"

// table is the outputs of a sweep by prompt and λ.
// It belongs to one computation.
type table struct {
	setup   *Setup        // of the sweep
	lambdas []float64     // that something was decoded at, ascending
	prompts []int         // that something was decoded for, ascending
	cells   [][][]*Output // by place of the prompt and of λ, in the order of samples

	resampled map[int][][]uint16 // [resamples][prompts], by the number of prompts: how often each is in each resample; made when first asked for
}

// newTable sorts outputs into a table. Of several outputs of one cell the first counts.
func newTable(s *Setup, outputs []Output) *table {
	t := &table{setup: s, resampled: map[int][][]uint16{}}
	sorted := make([]*Output, len(outputs))
	for i := range outputs {
		sorted[i] = &outputs[i]
	}
	slices.SortStableFunc(sorted, func(a, b *Output) int { return a.Cell.Compare(b.Cell) })
	sorted = slices.CompactFunc(sorted, func(a, b *Output) bool { return a.Cell == b.Cell })
	for _, o := range sorted {
		t.lambdas = append(t.lambdas, o.Lambda)
	}
	slices.Sort(t.lambdas)
	t.lambdas = slices.Compact(t.lambdas)
	for _, o := range sorted {
		if n := len(t.prompts); n == 0 || t.prompts[n-1] != o.Prompt {
			t.prompts = append(t.prompts, o.Prompt)
			t.cells = append(t.cells, make([][]*Output, len(t.lambdas)))
		}
		at, _ := slices.BinarySearch(t.lambdas, o.Lambda)
		row := t.cells[len(t.cells)-1]
		row[at] = append(row[at], o)
	}
	return t
}

// reach is the least and the most that a measure is of any output.
func (t *table) reach(m measure) reach {
	r := nowhere()
	t.each(func(_ int, o *Output) {
		if x, ok := m(o); ok {
			r.add(x)
		}
	})
	return r
}

// measure is a number of an output, and whether it has one.
type measure func(o *Output) (float64, bool)

// rewarded is the measure of a reward.
func rewarded(name string) measure {
	return func(o *Output) (float64, bool) {
		v, ok := o.Rewards[name]
		return v.Value, ok && v.OK() && !o.Failed()
	}
}

// decoded makes a measure of something that every output has that did not fail.
func decoded(f func(o *Output) float64) measure {
	return func(o *Output) (float64, bool) { return f(o), !o.Failed() }
}

// mean is the mean of a measure over outputs, and how many have it.
func (m measure) mean(outputs []*Output) (mean float64, n int) {
	for _, o := range outputs {
		if x, ok := m(o); ok {
			mean += x
			n++
		}
	}
	return mean / float64(max(n, 1)), n
}

// difference is the mean of a measure over a less that over b, by samples that both have where there are any,
// since those share their noise, and else by all.
func (m measure) difference(a, b []*Output) (difference float64, ok bool) {
	n := 0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i].Sample < b[j].Sample:
			i++
		case a[i].Sample > b[j].Sample:
			j++
		default:
			x, here := m(a[i])
			y, there := m(b[j])
			if here && there {
				difference += x - y
				n++
			}
			i, j = i+1, j+1
		}
	}
	if n > 0 {
		return difference / float64(n), true
	}
	x, here := m.mean(a)
	y, there := m.mean(b)
	return x - y, here > 0 && there > 0
}
