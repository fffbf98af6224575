package web

import (
	_ "embed"
	"encoding/json"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
	"realign/web/templates"
)

// exampleFile is what `make example` wrote: the map of a prompt as `realign map --json` prints it.
//
//go:embed example.json
var exampleFile []byte

// example is the finished λ-map that somebody sees who comes for the first time.
func (s *Server) example() (*templates.Example, error) {
	var m struct {
		Pair     string          `json:"pair"`
		Text     string          `json:"text"`
		Sampling decode.Sampling `json:"sampling"`
		Aligned  []string        `json:"aligned"`
		From     float64         `json:"from"`
		To       float64         `json:"to"`
		Seed     uint64          `json:"seed,string"`
		decode.LambdaMap
	}
	if err := json.Unmarshal(exampleFile, &m); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the built-in example cannot be read")
	}
	state := &run.Map{LambdaMap: m.LambdaMap, From: m.From, To: m.To, Reason: decode.EndStop}
	v := mapView(state, &run.Spec{Map: &decode.Map{From: m.From, To: m.To, Branches: len(m.Branches)}, Sampling: m.Sampling})
	v.Aligned = s.alignedView(m.Pair, m.Aligned)
	return &templates.Example{Pair: m.Pair, Prompt: m.Text, Seed: seedText(m.Seed), Map: v}, nil
}
