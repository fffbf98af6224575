package pair

import "realign/internal/gguf"

// Tokenizer describes a pair's tokenizer as vLLM's /tokenizer_info does. A token that the model does not have is null.
type Tokenizer struct {
	Class    string  `json:"tokenizer_class"` // kind of tokenizer, in llama.cpp's words
	Start    *string `json:"bos_token"`       // text of the token that begins a text
	End      *string `json:"eos_token"`       // text of the token that ends a reply
	Padding  *string `json:"pad_token"`
	Unknown  *string `json:"unk_token"`
	Template *string `json:"chat_template"`    // the model's own, in Jinja
	AddStart bool    `json:"add_bos_token"`    // whether a text is tokenized with Start before it
	Context  int64   `json:"model_max_length"` // tokens
}

// Tokenizer reads the reference's tokenizer from the head of its file.
func (p *Pair) Tokenizer() (*Tokenizer, error) {
	f, err := gguf.Open(p.path(p.Reference.File))
	if err != nil {
		return nil, err
	}
	const prefix = "tokenizer.ggml."
	tokens, _ := f.Metadata[prefix+"tokens"].([]string)
	spelled := func(key string) *string {
		id, ok := f.Integer(prefix + key)
		if !ok || id < 0 || id >= int64(len(tokens)) {
			return nil
		}
		return &tokens[id]
	}
	t := &Tokenizer{
		Class: f.String(prefix + "model"), Start: spelled("bos_token_id"), End: spelled("eos_token_id"), Padding: spelled("padding_token_id"), Unknown: spelled("unknown_token_id"),
	}
	t.AddStart, _ = f.Metadata[prefix+"add_bos_token"].(bool)
	t.Context, _ = f.Integer(f.Architecture() + ".context_length")
	if template := f.ChatTemplate(); template != "" {
		t.Template = &template
	}
	return t, nil
}
