package pair

import (
	"fmt"
	"strings"

	"realign/internal/fault"
)

// Compatible returns an Invalid error unless an aligned model can be mixed with a reference: the two
// must give every token the same meaning, or one of them would be mixed with the logits of another
// token. An adapter must fit the reference's weights.
func Compatible(reference, aligned *Header) error {
	if reference.Adapter {
		return fault.Field("reference", "is an adapter, not a model")
	}
	if len(reference.Tokens) == 0 {
		return fault.Field("reference", "has no vocabulary")
	}
	if aligned.Adapter {
		return adapterFits(reference, aligned)
	}
	if reference.Tokenizer != aligned.Tokenizer {
		return fault.Field("vocabulary", "the tokenizers differ: %q and %q", reference.Tokenizer, aligned.Tokenizer)
	}
	if err := equal("token", reference.Tokens, aligned.Tokens); err != nil {
		return err
	}
	if err := equal("merge", reference.Merges, aligned.Merges); err != nil {
		return err
	}
	if err := equal("type of token", reference.Types, aligned.Types); err != nil {
		return err
	}
	for key, n := range reference.Special {
		if m, ok := aligned.Special[key]; ok && m != n {
			return fault.Field("vocabulary", "%s differs: %d and %d", strings.TrimPrefix(key, "tokenizer.ggml."), n, m)
		}
	}
	return nil
}

func adapterFits(reference, adapter *Header) error {
	if reference.Architecture != adapter.Architecture {
		return fault.Field("adapter", "is for a %q model, the reference is %q", adapter.Architecture, reference.Architecture)
	}
	for name, t := range adapter.Tensors {
		base, side := strings.CutSuffix(name, ".lora_a")
		if !side {
			if base, side = strings.CutSuffix(name, ".lora_b"); !side {
				continue
			}
		}
		weight, ok := reference.Tensors[base]
		if !ok {
			return fault.Field("adapter", "changes %s, which the reference does not have", base)
		}
		if len(weight.Dims) < 2 || len(t.Dims) < 2 {
			return fault.Field("adapter", "%s is not a matrix", name)
		}
		// x·A is (in → rank) and B is (rank → out); ggml lists the contracted dimension first. Embeddings
		// are looked up by row, so their A is transposed and is left to the loader.
		fits := t.Dims[0] == weight.Dims[0]
		if strings.HasSuffix(name, ".lora_b") {
			fits = t.Dims[1] == weight.Dims[1]
		}
		if !fits && !strings.HasPrefix(base, "token_embd") {
			return fault.Field("adapter", "%s is %v and does not fit the reference's %v", name, t.Dims, weight.Dims)
		}
	}
	return nil
}

func equal[T comparable](what string, a, b []T) error {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fault.Field("vocabulary", "%s %d differs: %s and %s", what, i, show(a[i]), show(b[i]))
		}
	}
	if len(a) != len(b) {
		return fault.Field("vocabulary", "has %d and %d entries (%s)", len(a), len(b), what)
	}
	return nil
}

func show(x any) string {
	if text, ok := x.(string); ok {
		return fmt.Sprintf("%.60q", text)
	}
	return fmt.Sprint(x)
}
