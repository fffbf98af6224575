package modelstore

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"

	"realign/internal/gguf"
)

// Format is how a model is stored.
type Format string

// The formats.
const (
	GGUF        Format = "gguf"
	Safetensors Format = "safetensors" // a folder: config.json and weights
	PEFT        Format = "peft"        // a folder: adapter_config.json and weights
)

// Model is one model or adapter in a store.
type Model struct {
	Name   string `json:"name"` // by which Resolve finds it
	Store  Kind   `json:"store"`
	Format Format `json:"format"`
	Path   string `json:"path"`            // its file, the first part of a split one, or its folder
	Parts  int    `json:"parts,omitempty"` // files of a split model
	Size   int64  `json:"size"`            // bytes, of all files
	Head

	// Base is the name of the model that an adapter belongs to, where the store says so.
	Base string `json:"base,omitempty"`
}

// Head is what the head of a model's file says. Of a folder of safetensors only the architecture, the context and the tokenizer are known.
type Head struct {
	Architecture string `json:"architecture,omitempty"` // as the file names it
	Title        string `json:"title,omitempty"`        // general.name of a GGUF file
	Adapter      bool   `json:"adapter,omitempty"`      // it is a LoRA adapter
	BaseModel    string `json:"base_model,omitempty"`   // what the file says that it was made from
	Parameters   uint64 `json:"parameters,omitempty"`   // weights, in the first part of a split model
	Quantisation string `json:"quantisation,omitempty"` // the type of most of the weights
	Context      int64  `json:"context,omitempty"`      // tokens that it was trained for
	Tokens       int    `json:"tokens,omitempty"`       // size of its vocabulary

	// Tokenizer is a fingerprint of what turns a text into tokens: the kind of tokenizer, and its merges or its scored
	// pieces. Models of one fingerprint may differ in added and padding tokens, and can be a pair all the same.
	Tokenizer string `json:"tokenizer,omitempty"`
}

// readHead reads the head of a GGUF file of that many bytes.
func readHead(f io.ReaderAt, size int64) (Head, error) {
	file, err := gguf.Read(f, size)
	if err != nil {
		return Head{}, err
	}
	h := Head{Architecture: file.Architecture(), Title: file.String("general.name"), Adapter: file.IsAdapter()}
	for _, key := range []string{"general.base_model.0.repo_url", "general.base_model.0.name"} {
		if h.BaseModel == "" {
			h.BaseModel = file.String(key)
		}
	}
	h.Context, _ = file.Integer(h.Architecture + ".context_length")
	for _, t := range file.Tensors {
		h.Parameters += t.Shape[0] * t.Shape[1] * t.Shape[2] * t.Shape[3]
	}
	h.Quantisation = file.WeightType()
	tokens, _ := file.Metadata["tokenizer.ggml.tokens"].([]string)
	h.Tokens = len(tokens)
	h.Tokenizer = fingerprint(file, tokens)
	return h, nil
}

// fingerprint sums up what turns a text into tokens. Byte-pair tokenizers are told by their merges; others by the pieces
// with their scores, without those that are only spelled out, such as markers of a chat. It is "" without a vocabulary.
func fingerprint(f *gguf.File, tokens []string) string {
	if len(tokens) == 0 {
		return ""
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00%s\x00", f.String("tokenizer.ggml.model"), f.String("tokenizer.ggml.pre"))
	if merges, _ := f.Metadata["tokenizer.ggml.merges"].([]string); len(merges) > 0 {
		for _, m := range merges {
			io.WriteString(sum, m)
			sum.Write([]byte{0})
		}
	} else {
		types, _ := f.Metadata["tokenizer.ggml.token_type"].([]int32)
		scores, _ := f.Metadata["tokenizer.ggml.scores"].([]float32)
		for i, t := range tokens {
			if i < len(types) && types[i] != gguf.Normal {
				continue
			}
			io.WriteString(sum, t)
			if i < len(scores) {
				bits := math.Float32bits(scores[i])
				sum.Write([]byte{0, byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// Quantisation is the word in a file's name that tells how weights are stored, such as Q4_K_M or F16, in capitals; "" when
// there is none.
func Quantisation(name string) string {
	for _, word := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("-. /", r) }) {
		up := strings.ToUpper(word)
		if slices.Contains([]string{"F16", "F32", "BF16", "FP16", "FP32"}, up) ||
			len(up) > 2 && (up[0] == 'Q' && up[1] >= '1' && up[1] <= '8' || strings.HasPrefix(up, "IQ") && up[2] >= '1' && up[2] <= '4') && strings.Contains(up, "_") {
			return up
		}
	}
	return ""
}

// head is the head of a file of the store, remembered while the file stays as it is. A file that had no head before gives
// the same error again without being read.
func (s *scan) head(path string) (Head, fs.FileInfo, error) {
	f, info, err := s.open(path)
	if err != nil {
		return Head{}, nil, err
	}
	defer f.Close()
	key := s.abs(path)
	if known, ok := s.heads.Get(key, info); ok {
		if known.Fault != "" {
			return Head{}, nil, fmt.Errorf("%s", known.Fault)
		}
		return known.Head, info, nil
	}
	h, err := readHead(f, info.Size())
	remembered := Remembered{Head: h}
	if err != nil {
		remembered.Fault = err.Error()
	}
	s.heads.Put(key, info, remembered)
	return h, info, err
}
