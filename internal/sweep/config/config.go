// Package config reads the file of a sweep, which is YAML or JSON: JSON is YAML too, so there is one way to
// read both. What the fields mean is package sweep's.
package config

import (
	"encoding/json"

	"go.yaml.in/yaml/v4"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// MaxBytes is how large a file may be, prompts in it included.
const MaxBytes = sweep.MaxPromptFile

// Parse is sweep.Parse for YAML: one document, its mappings with texts as keys. The error is Invalid.
func Parse(data []byte) (*sweep.Config, error) {
	if len(data) > MaxBytes {
		return nil, fault.Field("config", "%d bytes, at most %d", len(data), MaxBytes)
	}
	var raw any
	if err := yaml.Load(data, &raw); err != nil {
		return nil, fault.Field("config", "is not YAML: %v", err)
	}
	if _, ok := raw.(map[string]any); !ok {
		return nil, fault.Field("config", "is not a mapping of fields to values")
	}
	text, err := json.Marshal(raw)
	if err != nil {
		return nil, fault.Field("config", "holds what a configuration cannot: %v", err)
	}
	return sweep.Parse(text)
}
