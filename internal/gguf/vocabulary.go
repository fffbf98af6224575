package gguf

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"realign/internal/fault"
)

// Token types that the format defines.
const (
	Normal      = 1
	Unknown     = 2
	Control     = 3
	UserDefined = 4
	Unused      = 5
	Byte        = 6
)

// special are the keys under tokenizer.ggml that change how text becomes tokens or where a generation
// ends. Others (padding, mask, fill-in-the-middle) play no part in decoding.
var special = []string{
	"bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id",
	"add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces",
}

// unset is the id that programs write for a special token that there is not: −1 in 32 bits.
const unset = math.MaxUint32

// tokens is the vocabulary's list of spellings.
func (f *File) tokens() []string {
	tokens, _ := f.Metadata["tokenizer.ggml.tokens"].([]string)
	return tokens
}

// types, scores and merges are lists of the vocabulary: types and scores by token, merges the first merged first. Each is
// nil where the file has none.
func (f *File) types() []int32 {
	types, _ := f.Metadata["tokenizer.ggml.token_type"].([]int32)
	return types
}

func (f *File) scores() []float32 {
	scores, _ := f.Metadata["tokenizer.ggml.scores"].([]float32)
	return scores
}

func (f *File) merges() []string {
	merges, _ := f.Metadata["tokenizer.ggml.merges"].([]string)
	return merges
}

// ChatTemplate is the model's Jinja template for conversations, "" when it has none.
func (f *File) ChatTemplate() string { return f.String("tokenizer.chat_template") }

// CheckModel reports what would make llama.cpp refuse the file as a language model, or end the process.
// It does not know every architecture's rules: llama.cpp may still refuse the file, with an error.
func (f *File) CheckModel() error {
	switch {
	case f.IsAdapter():
		return f.invalid("holds an adapter, not a whole model")
	case f.Architecture() == "":
		return f.invalid("names no architecture")
	case len(f.Tensors) == 0:
		return f.invalid("holds no weights")
	}
	if n, ok := f.Integer("split.count"); ok && n > 1 && int64(len(f.parts))+1 != n {
		return f.invalid("is one of %d parts, and the others were not read", n)
	}
	if err := f.checkNumbers(); err != nil {
		return err
	}
	return f.checkVocabulary()
}

// checkVocabulary keeps llama.cpp from reading past the end of a list, and from a token that is there
// twice, on which it aborts.
func (f *File) checkVocabulary() error {
	const prefix = "tokenizer.ggml."
	tokens := f.tokens()
	switch model := f.String(prefix + "model"); {
	case model == "", len(tokens) == 0, model == "none", model == "no_vocab":
		return f.invalid("has no vocabulary")
	case !slices.Contains(tokenizers, model):
		return f.invalid("%smodel is %.40q, none of %q", prefix, model, tokenizers)
	}
	first := make(map[string]int, len(tokens))
	for i, token := range tokens {
		if token == "" {
			token = fmt.Sprintf("[EMPTY_%d]", i) // as llama.cpp spells it
		}
		if j, twice := first[token]; twice {
			return f.invalid("tokens %d and %d are both %q", j, i, token)
		}
		first[token] = i
	}
	if err := f.checkBytes(first); err != nil {
		return err
	}
	if value, ok := f.Metadata[prefix+"precompiled_charsmap"]; ok {
		switch value.(type) {
		case []uint8, []int8:
		default:
			return f.invalid("%sprecompiled_charsmap is not a list of bytes", prefix)
		}
	}
	if err := f.checkCharacters(); err != nil {
		return err
	}
	for key, n := range map[string]int{"token_type": len(f.types()), "scores": len(f.scores())} {
		if _, ok := f.Metadata[prefix+key]; ok && n != len(tokens) {
			return f.invalid("%s%s has %d usable entries for %d tokens", prefix, key, n, len(tokens))
		}
	}
	if _, ok := f.Metadata[prefix+"merges"]; ok && f.merges() == nil {
		return f.invalid("%smerges is not a list of texts", prefix)
	}
	if value, ok := f.Metadata["tokenizer.chat_template"]; ok {
		if _, text := value.(string); !text {
			return f.invalid("tokenizer.chat_template is not a text")
		}
	}
	for _, key := range special {
		value, ok := f.Metadata[prefix+key]
		if !ok {
			continue
		}
		if _, flag := value.(bool); flag {
			continue
		}
		if value == uint32(unset) {
			continue
		}
		if id, whole := f.Integer(prefix + key); !whole || id < 0 || id >= int64(len(tokens)) {
			return f.invalid("%s%s is %v, but there are %d tokens", prefix, key, value, len(tokens))
		}
	}
	return nil
}

// tokenizers are those of llama.cpp, by tokenizer.ggml.model.
var tokenizers = []string{"gpt2", "llama", "t5", "rwkv", "bert", "plamo2"}

// checkBytes wants a token for every byte in a vocabulary of the tokenizers that write unknown characters in bytes: llama.cpp
// ends the process where one is missing. A vocabulary of another tokenizer under their name has none.
func (f *File) checkBytes(tokens map[string]int) error {
	model := f.String("tokenizer.ggml.model")
	if model != "llama" && model != "plamo2" {
		return nil
	}
	for b := range 256 {
		_, named := tokens[fmt.Sprintf("<0x%02X>", b)]
		_, plain := tokens[string([]byte{byte(b)})]
		if !named && (!plain || model == "plamo2") {
			return f.invalid("tokenizer.ggml.model is %q, but no token stands for byte 0x%02X: the vocabulary is another tokenizer's", model, b)
		}
	}
	return nil
}

// Level says what a finding means.
type Level string

// The levels.
const (
	Fault Level = "fault" // the models cannot be mixed
	Note  Level = "note"  // they can, and people should know
)

// Finding is one way in which two models differ, or something else that people should know of a model.
type Finding struct {
	Level Level  `json:"level"`
	Text  string `json:"text"` // about the aligned model, which it calls "it"
}

// Compatible reports why two models cannot be decoded as a pair: their logits must be over the same
// tokens, and a text must become the same tokens for both. The error is the first fault that Compare finds.
func Compatible(reference, aligned *File) error {
	for _, f := range Compare(reference, aligned) {
		if f.Level == Fault {
			return fault.New(fault.Invalid, "%s does not fit %s: %s", aligned.name(), reference.name(), f.Text)
		}
	}
	return nil
}

// Compare lists in what an aligned model differs from its reference, faults first. Of each kind the first token that differs
// is named.
func Compare(reference, aligned *File) []Finding {
	findings := append(compareKinds(reference, aligned), compareTokens(reference, aligned)...)
	note := func(format string, args ...any) {
		findings = append(findings, Finding{Note, fmt.Sprintf(format, args...)})
	}
	if i, r, a, ok := difference(reference.types(), aligned.types()); ok && i < min(len(reference.tokens()), len(aligned.tokens())) {
		note("token %d, %q, is of type %v, not %v as in the reference, whose types are used", i, reference.tokens()[i], a, r)
	}
	for _, key := range special {
		name, flag := "tokenizer.ggml."+key, strings.HasPrefix(key, "add_") || strings.HasPrefix(key, "remove_")
		r, a := reference.effective(key), aligned.effective(key)
		switch {
		case r == a:
		case flag || key == "bos_token_id" || key == "unknown_token_id":
			note("%s is %s, not %s as in the reference, whose value is used", name, a, r)
		case reference.special(name) != "unset" && aligned.special(name) != "unset":
			note("%s is %s, not %s as in the reference: a lane ends at either", name, a, r)
		}
	}
	switch r, a := reference.ChatTemplate(), aligned.ChatTemplate(); {
	case r == a:
	case r == "":
		note("only the aligned model has a chat template: it is used for both")
	case a == "":
		note("only the reference has a chat template: it is used for both")
	default:
		note("its chat template is another than the reference's, which is used for both")
	}
	if reference.String("tokenizer.ggml.model") != "gpt2" { // byte-pair vocabularies have no use for scores
		r, a := reference.scores(), aligned.scores()
		if n := min(len(r), len(a)); n > 0 && len(reference.tokens()) != len(aligned.tokens()) {
			r, a = r[:n], a[:n]
		}
		if i, r, a, ok := difference(r, a); ok && i < len(reference.tokens()) {
			note("token %d, %q, has score %v, not %v as in the reference, whose scores are used", i, reference.tokens()[i], a, r)
		}
	}
	if r, a := reference.WeightType(), aligned.WeightType(); r != a {
		note("most of its weights are %s, the reference's %s", a, r)
	}
	r, _ := reference.Integer(reference.key("context_length"))
	if a, ok := aligned.Integer(aligned.key("context_length")); ok && a != r {
		note("its context has %d tokens, the reference's %d", a, r)
	}
	return findings
}

// compareTokens finds what makes mixing wrong: one id with two spellings, or a text that becomes other tokens.
func compareTokens(reference, aligned *File) (findings []Finding) {
	wrong := func(format string, args ...any) {
		findings = append(findings, Finding{Fault, fmt.Sprintf(format, args...)})
	}
	for _, key := range []string{"model", "pre"} {
		key = "tokenizer.ggml." + key
		if r, a := reference.String(key), aligned.String(key); r != a {
			wrong("%s is %q, not %q as in the reference", key, a, r)
			return findings
		}
	}
	r, a := reference.tokens(), aligned.tokens()
	for i := range min(len(r), len(a)) {
		if r[i] != a[i] {
			wrong("token %d is %q, not %q as in the reference", i, a[i], r[i])
			return findings
		}
	}
	findings = append(findings, compareSizes(reference, aligned)...)
	if i, r, a, ok := difference(reference.merges(), aligned.merges()); ok {
		wrong("merge %d is %q, not %q as in the reference", i, a, r)
	}
	return findings
}

// startsByDefault are the byte-pair vocabularies (tokenizer.ggml.pre) for which llama.cpp adds a start token unless the file
// says otherwise.
var startsByDefault = []string{"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken", "chameleon"}

// effective is a special token or a flag as llama.cpp takes it, absent ones included, as text.
func (f *File) effective(key string) string {
	name := "tokenizer.ggml." + key
	if text := f.special(name); text != "unset" {
		return text
	}
	model := f.String("tokenizer.ggml.model")
	sentencePiece := model == "llama"
	switch key {
	case "add_bos_token":
		return fmt.Sprint(sentencePiece || model == "bert" || slices.Contains(startsByDefault, f.String("tokenizer.ggml.pre")))
	case "add_eos_token":
		return fmt.Sprint(model == "t5")
	case "add_space_prefix":
		return fmt.Sprint(sentencePiece)
	case "remove_extra_whitespaces":
		return "false"
	}
	return "unset"
}

// Ends are the tokens that the file says end a generation.
func (f *File) Ends() (ends []int) {
	for _, key := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if id, ok := f.Integer("tokenizer.ggml." + key); ok && id >= 0 && id < int64(len(f.tokens())) {
			ends = append(ends, int(id))
		}
	}
	return ends
}

// special is a special token, with its spelling, or a flag, as an error shows it; "unset" where there is none.
func (f *File) special(key string) string {
	value, ok := f.Metadata[key]
	if !ok || value == uint32(unset) {
		return "unset"
	}
	if id, whole := f.Integer(key); whole && id >= 0 && id < int64(len(f.tokens())) {
		return fmt.Sprintf("%d, %q", id, f.tokens()[id])
	}
	return fmt.Sprint(value)
}

// difference finds the first place where two lists differ. An absent entry is shown as the zero value.
func difference[T comparable](r, a []T) (i int, inR, inA T, ok bool) {
	same := func(r, a T) bool { return r == a || r != r && a != a } // two NaN are the same here
	if slices.EqualFunc(r, a, same) {
		return 0, inR, inA, false
	}
	for i < len(r) && i < len(a) && same(r[i], a[i]) {
		i++
	}
	if i < len(r) {
		inR = r[i]
	}
	if i < len(a) {
		inA = a[i]
	}
	return i, inR, inA, true
}
