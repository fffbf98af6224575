// Package catalogue has the public pairs that Realign knows by name: where their models are, under which licence, how they
// were aligned, and what the parameter of that training means. It holds facts only; nothing in it is fetched or checked
// before somebody asks for a pair.
package catalogue

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Meaning says what the β of a training is.
type Meaning string

// The meanings of a training's parameter.
const (
	// KL: the strength of a KL term towards this very reference, so that λ stands for a model trained with β/λ.
	KL Meaning = "kl"
	// LengthNormalised: as of DPO whose log-ratios are divided by the reply's length. The identity between λ and β/λ does
	// not hold, as the normaliser is one of tokens and not of replies.
	LengthNormalised Meaning = "length-normalised"
	// None: the training has no KL term to this reference, or there were several stages.
	None Meaning = "none"
)

// Pair is a reference model and models aligned from it, all public.
type Pair struct {
	Name       string    `json:"name"`       // unique in the catalogue; the name that a registered pair gets, too
	Title      string    `json:"title"`      // as pages show it
	Licence    string    `json:"licence"`    // of the weights
	Parameters float64   `json:"parameters"` // weights of one model, to two digits
	Template   string    `json:"template"`   // name of the chat template
	Reference  Model     `json:"reference"`
	Aligned    []Aligned `json:"aligned"`           // the default first
	Presets    []Preset  `json:"presets,omitempty"` // runs that were published with it

	// Unverified names the facts that were not read in a source. They are right once a file says so.
	Unverified []string `json:"unverified,omitempty"`
}

// Model is where weights are on the hub.
type Model struct {
	Repository string `json:"repository"`     // ORG/NAME with safetensors
	GGUF       string `json:"gguf,omitempty"` // ORG/NAME with GGUF files, if one is known
}

// Aligned is a model at λ = 1.
type Aligned struct {
	Name string `json:"name"`
	Model
	Method    string  `json:"method"`              // of the training, in words
	Parameter float64 `json:"parameter,omitempty"` // of the training, called β by most; 0 where it is unknown
	Meaning   Meaning `json:"meaning"`             // of Parameter
}

// Preset is a run that somebody published. Settings is its sampling as a whole.
type Preset struct {
	Name     string          `json:"name"`
	Lambda   []string        `json:"lambda"`             // numbers or fractions such as 1/6, which decode.ParseNumber reads
	Prompt   string          `json:"prompt,omitempty"`   // "" where the source gives none
	Sampling json.RawMessage `json:"sampling,omitempty"` // what differs from decode.DefaultSampling
}

//go:embed pairs.json
var pairs []byte

// Pairs is the whole catalogue, in the order in which it is shown. It is read anew each time: the caller may change
// what it gets.
func Pairs() []Pair {
	var all []Pair
	d := json.NewDecoder(bytes.NewReader(pairs))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		panic(fmt.Sprintf("catalogue: %v", err)) // pairs.json is part of the program, and a test reads it
	}
	return all
}

// Find is the pair of that name, or a NotFound error.
func Find(name string) (Pair, error) {
	for _, p := range Pairs() {
		if p.Name == name {
			return p, nil
		}
	}
	return Pair{}, fault.New(fault.NotFound, "the catalogue has no pair called %.80q", name)
}

// Beta is the β for which λ stands for a training with β/λ; 0 where the parameter is unknown or means something
// else.
func (a Aligned) Beta() float64 {
	if a.Meaning == KL {
		return a.Parameter
	}
	return 0
}

// Sizes says how large the file of one model is about, by the type of its weights.
func (p Pair) Sizes() string {
	var words []string
	for _, t := range []struct {
		name string
		bits float64 // of a weight
	}{{"Q4_K_M", 4.85}, {"Q8_0", 8.5}, {"16 bits", 16}} {
		words = append(words, fmt.Sprintf("%.1f GB as %s", p.Parameters*t.bits/8e9, t.name))
	}
	return "about " + strings.Join(words, ", ")
}

// Explain says in words what the training's parameter means for λ.
func (a Aligned) Explain() string {
	switch {
	case a.Meaning == KL && a.Parameter > 0:
		return fmt.Sprintf("%s with β = %g: λ stands for a model trained with %g/λ", a.Method, a.Parameter, a.Parameter)
	case a.Meaning == LengthNormalised:
		return fmt.Sprintf("%s with β = %g, which is divided by the length of each reply: it is no KL strength, and no effective β is shown", a.Method, a.Parameter)
	}
	return a.Method + ": without one KL term to this reference, so no effective β is shown"
}

// Is reports whether a name on the hub, with or without its owner, is the model or a file of it.
func (m Model) Is(name string) bool {
	base := func(s string) string { return strings.ToLower(s[strings.LastIndexByte(s, '/')+1:]) }
	name = base(name)
	return name == base(m.Repository) || m.GGUF != "" && name == base(m.GGUF)
}

// Settings is the sampling of a preset: decode.DefaultSampling with what the preset changes. A test reads all of them, so
// an error is a fault of pairs.json.
func (p Preset) Settings() (decode.Sampling, error) {
	s := decode.DefaultSampling()
	if len(p.Sampling) > 0 {
		if err := json.Unmarshal(p.Sampling, &s); err != nil {
			return s, fmt.Errorf("preset %s: %w", p.Name, err)
		}
	}
	return s, s.Validate()
}
