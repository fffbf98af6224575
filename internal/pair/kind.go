package pair

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
)

// A pair's aligned models are of four kinds: weights of their own, a LoRA adapter, the reference itself with another prompt (a
// contrast), and what tuning changed in a small model (a proxy).

// untunedSuffix makes the role of a proxy's untuned model out of its name.
const untunedSuffix = "/untuned"

// expand makes the one aligned model of a manifest that is nothing but a contrast. It is called before check.
func (p *Pair) expand() error {
	if p.Contrast == nil {
		return nil
	}
	if len(p.Aligned) > 0 {
		return fault.Field("contrast", "is for a pair without aligned models; with several, each has its own")
	}
	p.Aligned = []Aligned{{Name: ContrastName(*p.Contrast), Contrast: p.Contrast}}
	p.Contrast = nil
	return nil
}

// ContrastName is what the aligned model of a contrast is called where nobody names it.
func ContrastName(c decode.Contrast) string {
	if c.System != "" {
		return "system"
	}
	return "context"
}

// NewContrast is a pair of one model and two prompts. reference is the path of the model's file.
func NewContrast(name, reference string, c decode.Contrast) *Pair {
	return &Pair{
		Name: name, Reference: Reference{Name: RoleReference, File: reference}, Sampling: decode.DefaultSampling(),
		Aligned: []Aligned{{Name: ContrastName(c), Contrast: &c}},
	}
}

// checkKind wants an aligned model to be of one kind. The error is Invalid with the field as a manifest has it.
func (a *Aligned) checkKind() error {
	kinds := 0
	for _, is := range []bool{a.File != "", a.Adapter != "", a.Contrast != nil} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return fault.Field("aligned.file", "%s needs either a file, an adapter or a contrast", a.Name)
	case a.Untuned != "" && a.File == "":
		return fault.Field("aligned.untuned", "%s needs a file of its own beside the untuned model", a.Name)
	case a.Contrast != nil:
		return a.Contrast.Validate("aligned.contrast")
	}
	if err := checkFile("aligned.file", a.File+a.Adapter, a.SHA256); err != nil || a.Untuned == "" {
		return err
	}
	return checkFile("aligned.untuned", a.Untuned, a.UntunedSHA256)
}

// Kind says in a word or two what an aligned model is.
func (a *Aligned) Kind() string {
	switch {
	case a.Contrast != nil && a.Contrast.System != "":
		return "system prompt"
	case a.Contrast != nil:
		return "context"
	case a.Untuned != "":
		return "proxy"
	case a.Adapter != "":
		return "adapter"
	}
	return "model"
}

// CheckMix returns an Invalid error unless λ can be mixed so in an aligned model ("" is the pair's default).
func (p *Pair) CheckMix(aligned, mix string) error {
	if err := decode.CheckMix("mix", mix); err != nil || !decode.InWeights(mix) {
		return err
	}
	a, err := p.Find(aligned)
	if err != nil {
		return fault.Field("aligned", "%v (there are: %s)", err, strings.Join(p.Names(), ", "))
	}
	if a.Adapter == "" {
		return fault.Field("mix", "%s needs a LoRA adapter, and %s is a %s: use mix %s", mix, a.Name, a.Kind(), decode.MixLogits)
	}
	return nil
}

// Digest identifies a contrast: the SHA-256 of what it says, in hexadecimal. It is "" for an aligned model with a file.
func (a *Aligned) Digest() string {
	if a.Contrast == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(a.Contrast.System + "\x00" + a.Contrast.Context))
	return hex.EncodeToString(sum[:])
}

// Of is the aligned model that a file belongs to, nil for the reference's.
func (p *Pair) Of(f File) *Aligned {
	for i := range p.Aligned {
		if p.Aligned[i].Name == strings.TrimSuffix(f.Role, untunedSuffix) {
			return &p.Aligned[i]
		}
	}
	return nil
}

// Untuned reports whether a file is the untuned model of a proxy.
func (f File) Untuned() bool { return strings.HasSuffix(f.Role, untunedSuffix) }

// Loads lists the names of all models that are loaded beside the reference: the aligned ones, and the untuned ones of proxies.
func (p *Pair) Loads() []string {
	names := p.Names()
	for _, a := range p.Aligned {
		if a.Untuned != "" {
			names = append(names, a.Name+untunedSuffix)
		}
	}
	return names
}
