package convert

import (
	"encoding/json"
	"fmt"
	"strings"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// tokenizerFile is tokenizer.json, the form of the library tokenizers, as far as it matters here.
type tokenizerFile struct {
	Added         []added `json:"added_tokens"`
	Normalizer    *step   `json:"normalizer"`     // before a text is cut; nil: none
	PreTokenizer  *step   `json:"pre_tokenizer"`  // that cut a text; nil: none
	PostProcessor *step   `json:"post_processor"` // that put tokens around it; nil: none
	Model         struct {
		Type         string          `json:"type"`
		Vocabulary   json.RawMessage `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
	} `json:"model"`
}

// step is one step of those that a text goes through before and after it is merged. Which fields it has depends on
// its type.
type step struct {
	Type          string `json:"type"`
	PreTokenizers []step `json:"pretokenizers"` // of a sequence, as the two below
	Normalizers   []step `json:"normalizers"`
	Processors    []step `json:"processors"`

	Pattern struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`
	Behavior string     `json:"behavior"`          // of a cut: what becomes of the pattern's matches
	Invert   bool       `json:"invert"`            // the pattern is of what is kept, not of what is cut at
	Content  string     `json:"content"`           // of a replacement
	Prepend  string     `json:"prepend"`           // put before a text
	Prefix   *bool      `json:"add_prefix_space"`  // null is true
	Scheme   string     `json:"prepend_scheme"`    // of Metaspace: when a space is put before a text
	Regex    *bool      `json:"use_regex"`         // of ByteLevel: whether it cuts as GPT-2 does; null is true
	Digits   bool       `json:"individual_digits"` // each digit is a piece of its own
	Single   []struct { // of a template for one text: its parts in order
		SpecialToken *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
	} `json:"single"`
}

// steps is a step, or those that it consists of.
func (s *step) steps() (list []step) {
	if s == nil {
		return nil
	}
	inner := append(append(append([]step(nil), s.PreTokenizers...), s.Normalizers...), s.Processors...)
	if len(inner) == 0 {
		return []step{*s}
	}
	for i := range inner {
		list = append(list, inner[i].steps()...)
	}
	return list
}

// frame is the special tokens that every text is put between. false where the file says nothing of them.
func (s *step) frame() (first, last string, ok bool) {
	for _, s := range s.steps() {
		if s.Type != "TemplateProcessing" || len(s.Single) == 0 {
			continue
		}
		if t := s.Single[0].SpecialToken; t != nil {
			first = t.ID
		}
		if t := s.Single[len(s.Single)-1].SpecialToken; t != nil && len(s.Single) > 1 {
			last = t.ID
		}
		return first, last, true
	}
	return "", "", false
}

// space is how SentencePiece writes one.
const space = "▁"

// scored reports whether the tokenizer is SentencePiece's in the form of merges.
func (f *tokenizerFile) scored() bool {
	if f.Model.Type != "BPE" {
		return false
	}
	for _, s := range f.Normalizer.steps() {
		if s.Type == "Replace" && s.Pattern.String == " " && s.Content == space {
			return true
		}
	}
	for _, s := range f.PreTokenizer.steps() {
		if s.Type == "Metaspace" {
			return true
		}
	}
	return false
}

// prefixed reports whether SentencePiece's tokenizer puts a space before a text.
func (f *tokenizerFile) prefixed() bool {
	for _, s := range f.Normalizer.steps() {
		if s.Type == "Prepend" && s.Prepend == space {
			return true
		}
	}
	for _, s := range f.PreTokenizer.steps() {
		if s.Type == "Metaspace" {
			return s.Scheme == "always" || s.Scheme == "first" || s.Scheme == "" && (s.Prefix == nil || *s.Prefix)
		}
	}
	return false
}

// learnt lists the learnt tokens in the order of their ids.
// It has texts and types, and nothing else.
func (f *tokenizerFile) learnt() (*vocabulary, error) {
	if f.Model.Type != "BPE" {
		return nil, fault.New(fault.Invalid, "tokenizer.json is of kind %.40q, and BPE is converted here", f.Model.Type)
	}
	var ids map[string]int
	if err := json.Unmarshal(f.Model.Vocabulary, &ids); err != nil || len(ids) == 0 {
		return nil, fault.New(fault.Invalid, "tokenizer.json holds no vocabulary")
	}
	most := 0
	for text, id := range ids {
		if id < 0 || id > len(ids)+1<<20 {
			return nil, fault.New(fault.Invalid, "tokenizer.json has token %.80q at %d, among %d", text, id, len(ids))
		}
		most = max(most, id)
	}
	v := &vocabulary{}
	v.fill(most + 1) // ids that are left out
	for text, id := range ids {
		v.tokens[id], v.types[id] = text, gguf.Normal
	}
	return v, nil
}

// merges lists what is merged, first things first: two texts with a space between them.
func (f *tokenizerFile) merges() ([]string, error) {
	var list []string
	if json.Unmarshal(f.Model.Merges, &list) == nil {
		return list, nil
	}
	var pairs [][2]string
	if err := json.Unmarshal(f.Model.Merges, &pairs); err != nil {
		return nil, fault.New(fault.Invalid, "the merges of tokenizer.json cannot be understood: %v", err)
	}
	list = make([]string, len(pairs)) // the attempt above left something in it
	for i, p := range pairs {
		list[i] = p[0] + " " + p[1]
	}
	return list, nil
}

// bytePairs is the vocabulary of a tokenizer that merges bytes.
func (f *tokenizerFile) bytePairs() (*vocabulary, error) {
	v, err := f.learnt()
	if err != nil {
		return nil, err
	}
	v.model = "gpt2"
	if v.pre, err = f.cuts(); err != nil {
		return nil, err
	}
	v.merges, err = f.merges()
	return v, err
}

// pieces is the vocabulary of SentencePiece. Its pieces are merged by their scores; in the form of merges those are kept as
// ranks, so a piece's score is the rank of the first merge that makes it.
func (f *tokenizerFile) pieces() (*vocabulary, error) {
	v, err := f.learnt()
	if err != nil {
		return nil, err
	}
	merges, err := f.merges()
	if err != nil {
		return nil, err
	}
	v.model, v.pre = "llama", "default"
	rank := make(map[string]int, len(merges))
	for i, m := range merges {
		left, right, ok := cut(m)
		if !ok {
			return nil, fault.New(fault.Invalid, "merge %d of tokenizer.json is %.80q", i, m)
		}
		if _, ok := rank[left+right]; !ok {
			rank[left+right] = i
		}
	}
	v.scores = make([]float32, len(v.tokens))
	for i, t := range v.tokens {
		if v.types[i] == gguf.Normal {
			v.types[i] = pieceType(t)
		}
		if r, ok := rank[t]; ok {
			v.scores[i] = -float32(r)
		} else {
			v.scores[i] = -float32(len(merges)) // letters, which nothing is merged into
		}
	}
	return v, nil
}

// The ways to cut a text in tokenizer.json that llama.cpp knows under a name. A text that is cut otherwise becomes other
// tokens, so what is not here is refused.
const (
	words1 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	words3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	cased  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
	caps   = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`
	short  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`
	ending = ` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// cutters are llama.cpp's names, by what cuts makes of the steps.
var cutters = map[string]string{
	"bytes":                              "gpt-2",
	"digits, bytes":                      "smollm",
	"split " + words1 + ", plain":        "qwen2",
	"split " + words3 + ", plain":        "dbrx",
	"split " + words3 + ", plain, whole": "llama-bpe",
	"split " + cased + "|" + caps + `|\p{N}|` + ending + ", plain":                      "tekken",
	"split " + cased + "|" + caps + `|\p{N}|` + ending + ", plain, whole":               "tekken",
	"split " + cased + short + "|" + caps + short + `|\p{N}{1,3}|` + ending + ", plain": "gpt-4o",
}

// cuts is llama.cpp's name for how the tokenizer cuts a text.
// A way that llama.cpp has no name for is Invalid.
func (f *tokenizerFile) cuts() (string, error) {
	var words []string
	for _, s := range f.PreTokenizer.steps() {
		switch {
		case s.Type == "ByteLevel" && (s.Prefix == nil || *s.Prefix):
			return "", fault.New(fault.Invalid, "tokenizer.json puts a space before every text (add_prefix_space), which llama.cpp does not do for byte-pair vocabularies")
		case s.Type == "ByteLevel" && (s.Regex == nil || *s.Regex):
			words = append(words, "bytes")
		case s.Type == "ByteLevel":
			words = append(words, "plain")
		case s.Type == "Digits" && s.Digits:
			words = append(words, "digits")
		case s.Type == "Split" && (s.Behavior == "Isolated" && !s.Invert || s.Behavior == "Removed" && s.Invert):
			words = append(words, "split "+s.Pattern.Regex+s.Pattern.String)
		default:
			words = append(words, fmt.Sprintf("%s (%s)", s.Type, s.Behavior))
		}
	}
	if f.Model.IgnoreMerges {
		words = append(words, "whole")
	}
	way := strings.Join(words, ", ")
	if pre, ok := cutters[way]; ok {
		return pre, nil
	}
	return "", fault.New(fault.Invalid, "tokenizer.json cuts a text in a way that is not known here (%.200s)", way)
}
