package decode

import (
	"math/bits"

	"realign/internal/fault"
)

// fit lowers the branches of a map that asks for it to what the caches have room for.
func (e *Engine) fit(j *Job) {
	m := j.request.Map
	if !m.Fit {
		return
	}
	each := min(j.request.Sampling.MaxTokens, j.context-len(j.prompt))
	fitted := *m
	fitted.Branches = max(1, min(m.Branches, e.limits.Sequences, (e.limits.Cells-len(j.prompt))/each))
	j.request.Map = &fitted
}

// tooLarge refuses a request that needs more of the caches than there is, and says what would fit.
func (j *Job) tooLarge(kind string, cells int) error {
	noun := map[string]string{"lanes": "lanes", "branches": "texts"}[kind]
	tokens := j.request.Sampling.MaxTokens
	shared, own := len(j.prompt), 0 // of the prompt, by all and by each
	if j.request.Plain {
		shared, own = 0, len(j.prompt)
	}
	remedy := func(format string, args ...any) error {
		enough := 1 << bits.Len(uint(j.cells-1))
		args = append([]any{j.streams, noun, tokens, len(j.prompt)}, append(args, enough)...)
		return fault.Field("max_tokens", "%d %s of %d tokens, after a prompt of %d, need more memory than the pair was opened with: "+format+", or start with --cells %d", args...)
	}
	if most := (cells - shared) / (tokens + own); most > 0 {
		return remedy("take %d", most)
	}
	return remedy("take at most %d tokens", max(1, (cells-shared)/max(1, j.streams)-own))
}
