package gguftest

import "slices"

// Tokens of the vocabulary that tests name.
const (
	EndOfText    = 0 // <|endoftext|>
	MessageStart = 1 // <|im_start|>
	MessageEnd   = 2 // <|im_end|>
)

// template is a chat template in Jinja, the one commonly called ChatML, with a system message by default.
const template = `{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}` +
	`{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}` +
	`{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

// vocabulary is three control tokens, the 256 bytes, and a few merges of them, spelled as GPT-2's
// byte-level vocabulary spells them.
func vocabulary() (tokens []string, types []int32, merges []string) {
	tokens = []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
	types = []int32{3, 3, 3}
	for b := range 256 {
		tokens = append(tokens, string(byteRune(b)))
		types = append(types, 1)
	}
	for _, pair := range [][2]string{
		{"t", "h"}, {"th", "e"}, {"Ġ", "the"}, {"i", "n"}, {"a", "n"}, {"an", "d"}, {"Ġ", "and"}, {"e", "r"},
		{"o", "u"}, {"Ġ", "a"}, {"Ġ", "s"}, {"r", "e"}, {"o", "n"}, {"h", "e"}, {"l", "l"}, {"Ġ", "he"},
	} {
		merges = append(merges, pair[0]+" "+pair[1])
		tokens = append(tokens, pair[0]+pair[1])
		types = append(types, 1)
	}
	return tokens, types, merges
}

// byteRune is the character that GPT-2's vocabulary writes for a byte: itself when it can be seen, one
// from U+0100 on otherwise.
func byteRune(b int) rune {
	visible := func(b int) bool {
		return b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE && b <= 0xFF
	}
	if visible(b) {
		return rune(b)
	}
	n := 0
	for i := range b {
		if !visible(i) {
			n++
		}
	}
	return rune(0x100 + n)
}

// AddToken adds a token to a model's vocabulary, of a type of the format, with the embedding of another.
func (f *File) AddToken(text string, kind int32) {
	f.Set("tokenizer.ggml.tokens", append(slices.Clone(f.Get("tokenizer.ggml.tokens").([]string)), text))
	f.Set("tokenizer.ggml.token_type", append(slices.Clone(f.Get("tokenizer.ggml.token_type").([]int32)), kind))
	f.Set("llama.vocab_size", uint32(len(f.Get("tokenizer.ggml.tokens").([]string))))
	for i := range f.Tensors {
		if t := &f.Tensors[i]; t.Name == "token_embd.weight" || t.Name == "output.weight" {
			width := t.Shape[0]
			t.Shape = []uint64{width, t.Shape[1] + 1}
			t.Values = slices.Clone(t.Values)
			for _, x := range t.Values[7*width : 8*width] {
				t.Values = append(t.Values, 4*x) // far from 0, so that it is very probable after some texts
			}
		}
	}
}
