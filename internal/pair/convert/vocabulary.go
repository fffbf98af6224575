package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ollama/ollama/convert"

	"realign/internal/fault"
	"realign/internal/gguf"
)

// vocabulary is what turns a text into tokens, as GGUF has it.
type vocabulary struct {
	model  string    // gpt2: merges of bytes; llama: scored pieces of SentencePiece
	pre    string    // how a text is cut before it is merged, by llama.cpp's names
	tokens []string  // by id
	types  []int32   // by id, in GGUF's numbers
	scores []float32 // of pieces, by id; nil for merges of bytes
	merges []string  // of bytes, the first merged first; nil for pieces

	special  map[string]uint32 // ids by the name in GGUF, such as "bos"
	eot      *uint32           // another token that ends a turn; nil: none
	addStart bool              // whether "bos" is put before every text; addEnd: "eos" behind it
	addEnd   bool
	prefix   bool   // whether a text starts with a space that is not in it
	template string // of conversations, in Jinja; "" where there is none
	strips   bool   // whether markers take the spaces behind them along
}

// added is a token beside those that were learnt.
type added struct {
	ID      int    `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"` // a control token: no text stands for it
	RStrip  bool   `json:"rstrip"`  // it takes the spaces behind it along
}

// specials are the names of special tokens in transformers, and in GGUF, where "seperator" is spelled so.
var specials = []struct{ name, key string }{
	{"bos", "bos"}, {"eos", "eos"}, {"unk", "unknown"}, {"pad", "padding"}, {"sep", "seperator"}, {"cls", "cls"}, {"mask", "mask"},
}

// tokenizerConfig is tokenizer_config.json.
type tokenizerConfig struct {
	values map[string]json.RawMessage // by name; nil where there is no such file
}

// flag is true or false; ok is false where the file has neither.
func (c tokenizerConfig) flag(name string) (value, ok bool) {
	raw, there := c.values[name]
	return value, there && json.Unmarshal(raw, &value) == nil && string(raw) != "null"
}

// token is the spelling of a special token: a text, or an object with one.
func (c tokenizerConfig) token(name string) string {
	var text string
	if json.Unmarshal(c.values[name], &text) == nil {
		return text
	}
	var object struct {
		Content string `json:"content"`
	}
	_ = json.Unmarshal(c.values[name], &object) // neither: there is none
	return object.Content
}

// optional reads a file of JSON that need not be there.
func optional(dir, name string, limit int64, v any) error {
	if err := readJSON(dir, name, limit, v); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readVocabulary reads the tokenizer of a model's folder, for a model with embeddings for that many tokens.
func readVocabulary(dir string, rows int) (*vocabulary, error) {
	var config tokenizerConfig
	if err := optional(dir, "tokenizer_config.json", maxConfig*4, &config.values); err != nil {
		return nil, err
	}
	var file *tokenizerFile
	if err := optional(dir, "tokenizer.json", maxVocabulary, &file); err != nil {
		return nil, err
	}
	more, err := addedTokens(dir, file, config)
	if err != nil {
		return nil, err
	}
	var v *vocabulary
	_, missing := os.Stat(filepath.Join(dir, "tokenizer.model"))
	switch {
	case missing == nil:
		v, err = readPieces(filepath.Join(dir, "tokenizer.model"))
	case file == nil:
		err = fault.New(fault.Invalid, "%s has neither tokenizer.json nor tokenizer.model", dir)
	case file.scored():
		v, err = file.pieces()
	default:
		v, err = file.bytePairs()
	}
	if err != nil {
		return nil, err
	}
	if err := v.add(more, rows); err != nil {
		return nil, err
	}
	if err := v.name(dir, file, config); err != nil {
		return nil, err
	}
	v.template, err = chatTemplate(dir, config)
	return v, err
}

// addedTokens lists the tokens beside those that were learnt, wherever the tokenizer keeps them.
func addedTokens(dir string, file *tokenizerFile, config tokenizerConfig) (list []added, err error) {
	if file != nil {
		list = append(list, file.Added...)
	}
	var decoder map[string]added
	_ = json.Unmarshal(config.values["added_tokens_decoder"], &decoder) // absent in files of later versions
	for key, a := range decoder {
		if _, err := fmt.Sscanf(key, "%d", &a.ID); err != nil {
			return nil, fault.New(fault.Invalid, "%s: tokenizer_config.json has a token of id %.40q", dir, key)
		}
		if !slices.ContainsFunc(list, func(b added) bool { return b.ID == a.ID }) {
			list = append(list, a)
		}
	}
	var plain map[string]int
	if err := optional(dir, "added_tokens.json", maxConfig, &plain); err != nil {
		return nil, err
	}
	for text, id := range plain {
		if !slices.ContainsFunc(list, func(b added) bool { return b.ID == id }) {
			list = append(list, added{ID: id, Content: text})
		}
	}
	slices.SortFunc(list, func(a, b added) int { return a.ID - b.ID })
	return list, nil
}

// add puts tokens into the vocabulary and fills it up to the rows of the embedding. It is Invalid where a token has
// no embedding.
func (v *vocabulary) add(list []added, rows int) error {
	for _, a := range list {
		if a.ID < 0 || a.ID >= rows && a.ID < len(v.tokens) {
			return fault.New(fault.Invalid, "token %d, %.80q, has no embedding: there are %d", a.ID, a.Content, rows)
		}
		if a.ID >= rows {
			return fault.New(fault.Invalid, "token %d, %.80q, was added to the tokenizer, but the model has embeddings for %d: resize them (resize_token_embeddings) and save it again", a.ID, a.Content, rows)
		}
		v.fill(a.ID + 1)
		v.tokens[a.ID], v.types[a.ID] = a.Content, gguf.UserDefined
		if a.Special {
			v.types[a.ID] = gguf.Control
		}
		if v.scores != nil {
			v.scores[a.ID] = -1000
		}
		v.strips = v.strips || a.RStrip
	}
	if len(v.tokens) > rows {
		return fault.New(fault.Invalid, "the tokenizer has %d tokens, and the model embeddings for %d", len(v.tokens), rows)
	}
	v.fill(rows)
	return nil
}

// fill makes room for n tokens, with some that are never used and have a score that no text reaches.
func (v *vocabulary) fill(n int) {
	for i := len(v.tokens); i < n; i++ {
		v.tokens = append(v.tokens, fmt.Sprintf("[PAD%d]", i))
		v.types = append(v.types, gguf.Unused)
		if v.scores != nil {
			v.scores = append(v.scores, -1000)
		}
	}
}

// name finds the special tokens and what is added to every text. file is nil for a SentencePiece model without
// tokenizer.json.
func (v *vocabulary) name(dir string, file *tokenizerFile, config tokenizerConfig) error {
	var old tokenizerConfig // of versions that kept them apart
	if err := optional(dir, "special_tokens_map.json", maxConfig, &old.values); err != nil {
		return err
	}
	ids := make(map[string]uint32, len(v.tokens))
	for i, t := range v.tokens {
		ids[t] = uint32(i)
	}
	v.special = map[string]uint32{}
	text := func(name string) string {
		if t := config.token(name + "_token"); t != "" {
			return t
		}
		return old.token(name + "_token")
	}
	for _, s := range specials {
		if id, ok := ids[text(s.name)]; ok && text(s.name) != "" {
			v.special[s.key] = id
		}
	}
	if id, ok := v.special["unknown"]; ok && v.model == "llama" {
		v.types[id] = gguf.Unknown
	}
	for _, name := range []string{"generation_config.json", "config.json"} {
		if err := v.numbered(dir, name); err != nil {
			return err
		}
	}
	v.addStart, v.addEnd = v.model == "llama" && file == nil, false
	if value, ok := config.flag("add_bos_token"); ok {
		v.addStart = value
	}
	if value, ok := config.flag("add_eos_token"); ok {
		v.addEnd = value
	}
	if file != nil && file.PostProcessor != nil {
		if first, last, ok := file.PostProcessor.frame(); ok {
			v.addStart, v.addEnd = first != "" && first == text("bos"), last != "" && last == text("eos")
		}
	}
	if file != nil && v.model == "llama" {
		v.prefix = file.prefixed()
	}
	return nil
}

// numbered takes the ids of special tokens that have no name yet from a configuration, and a further end of turns.
func (v *vocabulary) numbered(dir, name string) error {
	var values map[string]json.RawMessage
	if err := optional(dir, name, maxConfig, &values); err != nil {
		return err
	}
	for _, s := range specials {
		var list []uint32
		var one uint32
		raw := values[s.name+"_token_id"]
		if json.Unmarshal(raw, &one) == nil && len(raw) > 0 && string(raw) != "null" {
			list = []uint32{one}
		} else if json.Unmarshal(raw, &list) != nil {
			continue
		}
		for _, id := range list {
			if int(id) >= len(v.tokens) {
				continue
			}
			known, ok := v.special[s.key]
			if !ok {
				v.special[s.key] = id
			} else if s.key == "eos" && id != known && v.eot == nil && name == "generation_config.json" {
				v.eot = &id
			}
		}
	}
	return nil
}

// chatTemplate reads the template of conversations; "" where there is none.
func chatTemplate(dir string, config tokenizerConfig) (string, error) {
	const most = 1 << 20
	if data, err := os.ReadFile(filepath.Join(dir, "chat_template.jinja")); err == nil {
		if len(data) > most {
			return "", fault.New(fault.Invalid, "%s: chat_template.jinja has %d bytes, more than %d", dir, len(data), most)
		}
		return string(data), nil
	}
	var apart struct {
		Template string `json:"chat_template"`
	}
	if err := optional(dir, "chat_template.json", maxConfig, &apart); err != nil {
		return "", err
	}
	if apart.Template != "" {
		return apart.Template, nil
	}
	raw, text := config.values["chat_template"], ""
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var several []struct{ Name, Template string }
	_ = json.Unmarshal(raw, &several) // neither: there is none
	for _, t := range several {
		if t.Name == "default" {
			return t.Template, nil
		}
	}
	return "", nil
}

// keys writes the vocabulary's metadata.
func (v *vocabulary) keys(keys convert.KV) {
	const prefix = "tokenizer.ggml."
	keys[prefix+"model"], keys[prefix+"pre"] = v.model, v.pre
	keys[prefix+"tokens"], keys[prefix+"token_type"] = v.tokens, v.types
	if v.scores != nil {
		keys[prefix+"scores"] = v.scores
		keys[prefix+"add_space_prefix"] = v.prefix
	}
	if v.merges != nil {
		keys[prefix+"merges"] = v.merges
	}
	for key, id := range v.special {
		keys[prefix+key+"_token_id"] = id
	}
	if v.eot != nil {
		keys[prefix+"eot_token_id"] = *v.eot
	}
	if _, ok := v.special["bos"]; ok {
		keys[prefix+"add_bos_token"] = v.addStart
	}
	if _, ok := v.special["eos"]; ok {
		keys[prefix+"add_eos_token"] = v.addEnd
	}
	if v.template != "" {
		keys["tokenizer.chat_template"] = v.template
	}
}

// byteToken is how a byte is spelled among pieces.
var byteToken = regexp.MustCompile(`^<0x[0-9A-F]{2}>$`)

// pieceType is the type of a learnt piece.
func pieceType(piece string) int32 {
	if byteToken.MatchString(piece) {
		return gguf.Byte
	}
	return gguf.Normal
}

// cut splits a merge into its halves.
func cut(merge string) (left, right string, ok bool) { return strings.Cut(merge, " ") }
