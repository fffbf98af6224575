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

// logitsHelp is the help of `realign logits`.
const logitsHelp = `Write the raw next-token logits of one model, for comparing with other implementations. The tokens file has ` +
	`one JSON list of token ids a line (or an object with such a list as "tokens", a "text", or "messages"); the output one object a line, ` +
	`{"model": "reference", "tokens": […], "logits": […]}, with the logits after the last token in the vocabulary's order. For an encoder–decoder pair the tokens are ` +
	`what the encoder reads, and "decoder" may list those of the text so far.`

// logitsCommand is `realign logits`, for comparisons with other implementations.
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

// Run writes the logits after each line's tokens, one line after another, each from an empty cache.
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
	for _, line := range lines {
		tokens, err := line.tokens(models.Vocabulary())
		var logits []float32
		if err == nil {
			logits, err = lastLogits(model, tokens, line.Decoder)
		}
		if err == nil {
			err = e.Encode(map[string]any{"model": c.Model, "tokens": tokens, "logits": logits})
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// pair is the pair of the flags, whose files they may replace. With both files given no pair need be registered.
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

// input is a line of the tokens file: a list of tokens, a text, or a conversation.
type input struct {
	Tokens   []decode.Token   `json:"tokens"`
	Decoder  []decode.Token   `json:"decoder"` // of an encoder–decoder model: the text so far, without the start token
	Text     string           `json:"text"`
	Messages []decode.Message `json:"messages"`
}

// tokens are those of the line, or what its text or conversation becomes.
func (i input) tokens(v decode.Vocabulary) ([]decode.Token, error) {
	switch {
	case i.Text != "":
		return v.EncodePlain(i.Text)
	case len(i.Messages) > 0:
		return v.EncodeChat(i.Messages)
	}
	return i.Tokens, nil
}

// readTokens reads the tokens file. Errors name the line.
func readTokens(path string) ([]input, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Field("--tokens-file", "%v", err)
	}
	var lines []input
	for i, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		var object input
		if line[0] == '[' {
			err = json.Unmarshal(line, &object.Tokens)
		} else {
			err = json.Unmarshal(line, &object)
		}
		if err != nil || len(object.Tokens) == 0 && object.Text == "" && len(object.Messages) == 0 {
			return nil, fault.Field("--tokens-file", "line %d has no list of token ids", i+1)
		}
		lines = append(lines, object)
	}
	return lines, nil
}

// lastLogits is what a model says after tokens, read in passes as large as fit. An encoder–decoder model reads them with its encoder, and then text.
func lastLogits(m decode.Model, tokens, text []decode.Token) ([]float32, error) {
	limits := m.Limits()
	m.Trim(0, 0)
	if limits.Sources > 0 {
		if len(tokens) > limits.SourceTokens {
			return nil, fault.Field("--tokens-file", "%d tokens, at most %d fit the encoder", len(tokens), limits.SourceTokens)
		}
		if err := m.(decode.Encoder).Encode(0, tokens); err != nil {
			return nil, err
		}
		tokens = append([]decode.Token{limits.Start}, text...)
	} else if len(text) > 0 {
		return nil, fault.Field("--tokens-file", "has text of a decoder, and the model has no encoder: put all tokens in one list")
	}
	if len(tokens) > limits.Cells {
		return nil, fault.Field("--tokens-file", "%d tokens, at most %d", len(tokens), limits.Cells)
	}
	for _, t := range tokens {
		if t < 0 || int(t) >= limits.Vocab {
			return nil, fault.Field("--tokens-file", "%v is outside the vocabulary of %d", t, limits.Vocab)
		}
	}
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
