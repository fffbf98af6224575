package experiment

import (
	"slices"

	"realign/internal/decode"
)

// fitTokens is about how many tokens the lanes of one item may have together where they have particles: fewer than a worker's cache
// holds by default.
const fitTokens = 6144

// fit divides items whose lanes have particles into such as a worker has room for: by samples first, and then by λ. It changes no output,
// since lanes do not depend on those beside them.
func (s *Setup) fit(items []Item) []Item {
	if s.Sampling.Exact == 0 {
		return items
	}
	r := decode.Request{Sampling: s.Sampling}
	streams := func(l float64) int { return r.Streams(decode.Lane{Lambda: decode.Vector{l}}) }
	most := max(s.Sampling.Exact, min(decode.MaxLanes, fitTokens/max(1, s.Sampling.MaxTokens)))
	var all []Item
	for _, item := range items {
		var lambdas []float64
		needs := 0
		flush := func() {
			together := max(1, most/max(1, needs))
			for samples := range slices.Chunk(item.Samples, together) {
				all = append(all, Item{Prompt: item.Prompt, Lambdas: lambdas, Samples: samples, Stage: item.Stage})
			}
			lambdas, needs = nil, 0
		}
		for _, l := range item.Lambdas {
			if n := streams(l); len(lambdas) > 0 && needs+n > most {
				flush()
			}
			lambdas = append(lambdas, l)
			needs += streams(l)
		}
		flush()
	}
	return all
}
