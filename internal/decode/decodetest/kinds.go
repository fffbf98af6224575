package decodetest

import (
	"slices"

	"realign/internal/decode"
)

// names are those under which Aligned opens models: the aligned ones, then the untuned ones of proxies.
func (p *Pair) names() []string {
	names := slices.Clone(p.options.Aligned)
	for _, aligned := range p.options.Aligned {
		if untuned, ok := p.options.Untuned[aligned]; ok {
			names = append(names, untuned)
		}
	}
	return names
}

// table is the number of the table of the i-th name: the reference's for a contrast.
func (p *Pair) table(name string, i int) uint64 {
	if _, ok := p.options.Contrasts[name]; ok {
		return 0
	}
	return uint64(i + 1)
}

// size is how many tokens a model has.
func (p *Pair) size(name string) int {
	if n, ok := p.options.Sizes[name]; ok {
		return n
	}
	return p.Size()
}

// Contrast implements decode.Contrasted.
func (p *Pair) Contrast(aligned string) (decode.Contrast, bool) {
	c, ok := p.options.Contrasts[aligned]
	return c, ok
}

// Untuned implements decode.Proxied.
func (p *Pair) Untuned(aligned string) (string, bool) {
	name, ok := p.options.Untuned[aligned]
	return name, ok
}

// After is the row of logits after some tokens, of which there is one at least.
func (m *Model) After(history []decode.Token) []float32 {
	if !m.deep {
		n := len(history)
		return m.Next(history[max(n-2, 0)], history[n-1])
	}
	h := uint64(14695981039346656037) // FNV-1a
	for _, t := range history {
		h = (h ^ uint64(t)) * 1099511628211
	}
	return m.table[h%uint64(len(m.table))]
}

// Sizes are the numbers of tokens of models that have fewer than the vocabulary.
func (p *Pair) Sizes() map[string]int { return p.options.Sizes }
