package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/ollama/ollama/convert"

	"realign/internal/fault"
)

// known asks package convert about a model: how its tensors are called and changed, and the keys of its architecture.
// Positions and vocabularies are ours.
func known(f family, c *config) (model convert.ModelConverter, keys convert.KV, err error) {
	model, vocabulary, err := load(f, c)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if r := recover(); r != nil { // on what it does not expect
			err = fault.New(fault.Invalid, "config.json cannot be understood: %v", r)
		}
	}()
	keys = convert.KV{}
	for key, value := range model.KV(vocabulary) {
		switch {
		case strings.HasPrefix(key, "general."), strings.HasPrefix(key, "tokenizer."), strings.Contains(key, "rope."):
		case strings.HasPrefix(key, f.name+"."):
			keys[key] = value
		default:
			keys[f.name+"."+key] = value
		}
	}
	return model, keys, nil
}

// load has package convert read a configuration. It reads files, so it is given a folder with a config.json as it expects
// one, and a vocabulary of one token.
func load(f family, c *config) (convert.ModelConverter, *convert.Tokenizer, error) {
	values := maps.Clone(c.values)
	values["architectures"] = []string{f.class}
	delete(values, "rope_scaling")
	delete(values, "rope_parameters")
	delete(values, "vision_config")
	data, err := json.Marshal(values)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "realign-convert-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string][]byte{"config.json": data, "tokenizer.json": []byte(`{"model":{"type":"BPE","vocab":{"a":0}}}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return nil, nil, err
		}
	}
	about, vocabulary, err := convert.LoadModelMetadata(os.DirFS(dir))
	if err != nil {
		return nil, nil, fault.New(fault.Invalid, "config.json cannot be understood: %v", err)
	}
	model, ok := about.(convert.ModelConverter)
	if !ok {
		return nil, nil, fmt.Errorf("%s is no converter but a %T", f.class, about)
	}
	return model, vocabulary, nil
}
