package sweep

import (
	"cmp"
	"slices"
	"strings"

	"realign/internal/decode"
	"realign/internal/stat"
)

// Parting is how far the texts of two sweeps part at a λ, by the prompts and samples that both have: under one seed these
// have the same noise, so that texts differ only by what else does.
type Parting struct {
	Lambda float64        `json:"lambda"`
	Texts  int            `json:"texts"`  // pairs of them
	Equal  *stat.Interval `json:"equal"`  // share of pairs that are equal to the last character
	Common *stat.Interval `json:"common"` // share of words, of the longer text, before the first that differs
}

// PartsByMix reports whether two sweeps ask the same under the same noise, and differ in what λ mixes.
func PartsByMix(a, b *Setup) bool {
	return decode.InWeights(a.Config.Mix) != decode.InWeights(b.Config.Mix) && a.Config.Pair == b.Config.Pair && a.Aligned == b.Aligned &&
		a.Config.Seed == b.Config.Seed
}

// partings are those of the λ that both sides decoded, where they differ in what λ mixes. The outputs have their texts.
func (p *pairedSides) partings() (list []Parting) {
	if p.a == nil || !PartsByMix(p.a.setup, p.b.setup) {
		return nil
	}
	for _, l := range p.a.lambdas {
		if _, both := slices.BinarySearch(p.b.lambdas, l); both {
			list = append(list, Parting{Lambda: l})
		}
	}
	rows, prompts := make([][]float64, len(p.first)), make([]int, len(list))
	for q := range rows {
		// A row has, for each λ, whether the prompt has pairs there, and the means of equal and of common over them.
		rows[q] = make([]float64, 3*len(list))
		for k := range list {
			l, row := &list[k], rows[q][3*k:3*k+3]
			pairs, equal, common := shared(p.first[q][nearest(p.a.lambdas, l.Lambda)], p.second[q][nearest(p.b.lambdas, l.Lambda)])
			if pairs > 0 {
				row[0], row[1], row[2] = 1, equal/float64(pairs), common/float64(pairs)
				l.Texts += pairs
				prompts[k]++
			}
		}
	}
	sums, share := p.a.sumOver(rows), reach{0, 1}
	for k := range list {
		for i, to := range []**stat.Interval{&list[k].Equal, &list[k].Common} {
			if x, ok := sums.intervalOf(prompts[k], share, func(total []float64) float64 { return total[3*k+1+i] / total[3*k] }); ok {
				*to = &x
			}
		}
	}
	return list
}

// shared compares the texts of samples that both lists have.
func shared(a, b []*Output) (pairs int, equal, common float64) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch cmp.Compare(a[i].Sample, b[j].Sample) {
		case -1:
			i++
		case 1:
			j++
		default:
			if !a[i].Failed() && !b[j].Failed() {
				pairs++
				if a[i].Text == b[j].Text {
					equal++
				}
				common += beginning(a[i].Text, b[j].Text)
			}
			i, j = i+1, j+1
		}
	}
	return pairs, equal, common
}

// beginning is the share of words that two texts begin with, of the longer one's.
func beginning(a, b string) float64 {
	x, y := strings.Fields(a), strings.Fields(b)
	n := 0
	for n < min(len(x), len(y)) && x[n] == y[n] {
		n++
	}
	if longer := max(len(x), len(y)); longer > 0 {
		return float64(n) / float64(longer)
	}
	return 1
}
