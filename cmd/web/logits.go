package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

const logitsHelp = `Write the raw next-token logits of one model, for comparing with other implementations. The tokens file has ` +
	`one JSON list of token ids a line (or an object with such a list as "tokens"); the output one object a line, ` +
	`{"model": "reference", "tokens": […], "logits": […]}, with the logits after the last token in the vocabulary's order.`

type logitsCommand struct {
	pairFlags
	modelFlags

	Pair      string `default:"demo" placeholder:"NAME" help:"Pair of models."`
	Reference string `placeholder:"FILE" help:"GGUF file to use in place of the pair's reference."`
	Adapter   string `placeholder:"FILE" help:"LoRA adapter to use in place of the pair's aligned models; its name is adapter."`
	Model     string `default:"reference" placeholder:"NAME" help:"reference, or an aligned model's name."`
	Tokens    string `name:"tokens-file" required:"" placeholder:"FILE" help:"Token ids."`
	Out       string `required:"" placeholder:"FILE" help:"Where to write."`
}

func (c *logitsCommand) Run(ctx context.Context, h env) error {
	p, err := c.pair()
	if err != nil {
		return asFlagError(err)
	}
	lines, err := readTokens(c.Tokens)
	if err != nil {
		return err
	}
	models, err := h.open(ctx, p, c.modelFlags, func(float64) {})
	if err != nil {
		return err
	}
	defer models.Close()
	model := models.Reference()
	if c.Model != pair.RoleReference {
		if model, err = models.Aligned(c.Model); err != nil {
			return err
		}
	}
	f, err := os.Create(c.Out)
	if err != nil {
		return fault.Field("--out", "%v", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	e := json.NewEncoder(w)
	for _, tokens := range lines {
		logits, err := lastLogits(model, tokens)
		if err == nil {
			err = e.Encode(map[string]any{"model": c.Model, "tokens": tokens, "logits": logits})
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

func (c *logitsCommand) pair() (*pair.Pair, error) {
	var p *pair.Pair
	if c.Reference == "" || c.Adapter == "" {
		var err error
		if p, err = findPair(c.library(), c.Pair); err != nil {
			return nil, err
		}
	} else {
		p = &pair.Pair{Name: "files"}
	}
	if c.Reference != "" {
		file, err := filepath.Abs(c.Reference)
		if err != nil {
			return nil, err
		}
		p.Reference = pair.Reference{File: file}
	}
	if c.Adapter != "" {
		file, err := filepath.Abs(c.Adapter)
		if err != nil {
			return nil, err
		}
		p.Aligned = []pair.Aligned{{Name: "adapter", Adapter: file}}
	}
	return p, p.Installed()
}

func readTokens(path string) ([][]decode.Token, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Field("--tokens-file", "%v", err)
	}
	var lines [][]decode.Token
	for i, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		var object struct {
			Tokens []decode.Token `json:"tokens"`
		}
		if line[0] == '[' {
			err = json.Unmarshal(line, &object.Tokens)
		} else {
			err = json.Unmarshal(line, &object)
		}
		if err != nil || len(object.Tokens) == 0 {
			return nil, fault.Field("--tokens-file", "line %d has no list of token ids", i+1)
		}
		lines = append(lines, object.Tokens)
	}
	return lines, nil
}

// lastLogits is what a model says after tokens, read in passes as large as fit.
func lastLogits(m decode.Model, tokens []decode.Token) ([]float32, error) {
	limits := m.Limits()
	if len(tokens) > limits.Cells {
		return nil, fault.Field("--tokens-file", "%d tokens, at most %d", len(tokens), limits.Cells)
	}
	for _, t := range tokens {
		if t < 0 || int(t) >= limits.Vocab {
			return nil, fault.Field("--tokens-file", "%v is outside the vocabulary of %d", t, limits.Vocab)
		}
	}
	m.Trim(0, 0)
	last := 0
	for start := 0; start < len(tokens); start += limits.Batch {
		var rows []decode.Row
		for i := start; i < min(start+limits.Batch, len(tokens)); i++ {
			rows = append(rows, decode.Row{Token: tokens[i], Pos: i, Want: i == len(tokens)-1})
		}
		if err := m.Forward(rows); err != nil {
			return nil, fmt.Errorf("forward %d rows from %d: %w", len(rows), start, err)
		}
		last = len(rows) - 1
	}
	return m.Logits(last), nil
}
