package gguf

import (
	"fmt"
	"strings"
	"unicode"

	"realign/internal/fault"
)

// CheckAdapter reports why a LoRA adapter cannot be laid over a base model: another kind of file, another
// architecture, a weight that the base does not have, or shapes that do not multiply.
//
// An adapter for weight W of shape (in, out) holds W.lora_a of shape (in, rank) and W.lora_b of shape
// (rank, out); for the token embedding the two are (rank, tokens) and (rank, width) instead.
func CheckAdapter(base, adapter *File) error {
	switch kind := adapter.String("adapter.type"); {
	case !adapter.IsAdapter():
		return adapter.invalid("is not an adapter: general.type is %q", adapter.String("general.type"))
	case kind != "lora":
		return adapter.invalid("adapter.type is %q, only \"lora\" is supported", kind)
	case adapter.Architecture() != base.Architecture():
		return adapter.invalid("is for architecture %q, %s is %q", adapter.Architecture(), base.name(), base.Architecture())
	case len(adapter.Tensors) == 0:
		return adapter.invalid("holds no weights")
	}
	if value, ok := adapter.Metadata["adapter.lora.alpha"]; ok {
		if _, float := value.(float32); !float {
			return adapter.invalid("adapter.lora.alpha is not a 32-bit float")
		}
	}
	if _, ok := adapter.Metadata["adapter.alora.invocation_tokens"]; ok {
		return adapter.invalid("is an activated LoRA, which works for parts of a text only; this is not supported")
	}
	// The output layer would find the embedding's factors, which are the other way round.
	_, embedding := adapter.Tensor("token_embd.weight.lora_a")
	if _, output := base.Tensor("output.weight"); embedding && !output {
		return adapter.invalid("changes the token embedding, which %s uses as its output layer too: merge the adapter into a whole model", base.name())
	}
	for _, t := range adapter.Tensors {
		if err := adapter.checkPart(base, t); err != nil {
			return err
		}
	}
	return nil
}

// checkPart checks one tensor of an adapter, f, and, once for each pair, the two against each other.
func (f *File) checkPart(base *File, t Tensor) error {
	weight, isA := strings.CutSuffix(t.Name, ".lora_a")
	other := weight + ".lora_b"
	if !isA {
		var isB bool
		if weight, isB = strings.CutSuffix(t.Name, ".lora_b"); !isB {
			return f.invalid("changes %q as a whole, which llama.cpp does not apply: merge the adapter into a whole model", t.Name)
		}
		other = weight + ".lora_a"
	}
	w, ok := base.Tensor(weight)
	if !ok {
		return f.invalid("changes %q, which %s does not have", weight, base.name())
	}
	partner, ok := f.Tensor(other)
	if !ok {
		return f.invalid("has %q but not %q", t.Name, other)
	}
	if !isA {
		return nil
	}
	a, b := t.Shape, partner.Shape
	fits := w.Shape[0] == a[0] && w.Shape[1] == b[1] && a[1] == b[0]
	if strings.HasSuffix(weight, "token_embd.weight") {
		fits = w.Shape[0] == b[1] && w.Shape[1] == a[1] && a[0] == b[0]
	}
	for i := 2; i < 4; i++ {
		fits = fits && a[i] == w.Shape[i] && b[i] == w.Shape[i]
	}
	if !fits {
		return fault.New(fault.Invalid, "%s does not fit %s: %q is %v times %v, the weight is %v",
			f.name(), base.name(), weight, a, b, w.Shape)
	}
	return nil
}

// Rank is the largest rank of an adapter's factors, and the strength that they are applied with: alpha over the
// rank.
// Without alpha llama.cpp applies them as they are: the strength is 1.
func (f *File) Rank() (rank uint64, scale float64) {
	for _, t := range f.Tensors {
		if strings.HasSuffix(t.Name, ".lora_b") {
			rank = max(rank, t.Shape[0])
		}
	}
	alpha, ok := f.Metadata["adapter.lora.alpha"].(float32)
	if !ok || alpha == 0 || rank == 0 {
		return rank, 1
	}
	return rank, float64(alpha) / float64(rank)
}

// letters is a name without what converters write in different ways: its letters and digits, in lower case.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// CompareAdapter lists what people should know of an adapter that fits a base model. All are notes.
func CompareAdapter(base, adapter *File) []Finding {
	rank, scale := adapter.Rank()
	text := fmt.Sprintf("rank %d, no alpha: applied as it is", rank)
	if alpha, ok := adapter.Metadata["adapter.lora.alpha"].(float32); ok && alpha != 0 {
		text = fmt.Sprintf("rank %d, alpha %v: applied at %.4g", rank, alpha, scale)
	}
	findings := []Finding{{Note, text}}
	of, name := adapter.String("general.base_model.0.name"), base.String("general.name")
	if of != "" && name != "" && letters(of) != letters(name) {
		findings = append(findings, Finding{Note, fmt.Sprintf("it says that it was made for %.80q, and the reference is %.80q", of, name)})
	}
	return findings
}
