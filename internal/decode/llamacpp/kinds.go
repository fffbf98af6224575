package llamacpp

import (
	"github.com/ollama/ollama/llama"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
)

var (
	_ decode.Contrasted = (*Pair)(nil)
	_ decode.Proxied    = (*Pair)(nil)
)

// Contrast is what the prompt of an aligned model has beyond the reference's.
func (p *Pair) Contrast(aligned string) (decode.Contrast, bool) {
	c, ok := p.spec.Contrasts[aligned]
	return c, ok
}

// Untuned is the name of the untuned model of a proxy.
func (p *Pair) Untuned(aligned string) (string, bool) {
	u, ok := p.spec.Untuned[aligned]
	return u.Name, ok
}

// fits reads the head of a file, which must go with the reference.
func (p *Pair) fits(path string) (*gguf.File, error) {
	file, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	if file.IsAdapter() {
		err = gguf.CheckAdapter(p.head, file)
	} else if err = file.CheckModel(); err == nil {
		err = gguf.Compatible(p.head, file)
	}
	return file, err
}

// newVocabulary is the reference's vocabulary, and what the model with the most tokens has beyond it: texts become tokens as the
// reference has it, and all of them can be shown.
func (p *Pair) newVocabulary(template string) (*vocabulary, error) {
	v := newVocabulary(p.weights, template)
	if err := v.override(p.spec.Template); err != nil {
		v.chat.Close()
		return nil, err
	}
	if v.chat != nil {
		v.chat.variables = p.spec.Variables
	}
	var most *aligned
	for _, a := range p.aligned {
		if a.head != nil && !a.isAdapter && a.head.Tokens() > v.Size() && (most == nil || a.head.Tokens() > most.head.Tokens()) {
			most = a
		}
	}
	if most == nil {
		return v, nil
	}
	w, err := loadVocabulary(most.path)
	if err != nil {
		v.chat.Close()
		return nil, err
	}
	defer w.Close()
	v.extend(newVocabulary(w, ""))
	return v, nil
}

// loadVocabulary loads a model's vocabulary without its weights.
func loadVocabulary(path string) (*weights, error) {
	_ = start()
	loading.Lock()
	defer loading.Unlock()
	log.forget()
	m, err := llama.LoadModelFromFile(path, llama.ModelParams{VocabOnly: true})
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s: llama.cpp cannot load its vocabulary%s", path, log.reason())
	}
	return &weights{model: m}, nil
}

// extend adds the tokens that another vocabulary has beyond this one.
func (v *vocabulary) extend(w *vocabulary) {
	for t := decode.Token(v.Size()); int(t) < w.Size(); t++ {
		v.pieces = append(v.pieces[:v.ends[t-1]], w.Piece(t)...)
		v.ends = append(v.ends, int64(len(v.pieces)))
		v.last = append(v.last, w.last[t])
		if name, ok := w.names[t]; ok {
			v.names[t] = name
		}
	}
}
