package decodetest

import (
	"fmt"
	"slices"

	"realign/internal/decode"
)

// encoder is what a Model of the encoder–decoder kind holds. Its logits are those of a deep table after the tokens of the source and then
// those of the sequence, so it says what a decoder-only pair with Deep says after the same tokens.
type encoder struct {
	held    [][]decode.Token // tokens by the source's number; nil: not read yet
	of      []int            // by sequence: the number of its source
	encodes int              // how many sources were read
}

// newEncoder is nil for a model without an encoder.
func newEncoder(o Options) *encoder {
	if o.Sources == 0 {
		return nil
	}
	return &encoder{held: make([][]decode.Token, o.Sources), of: make([]int, o.Sequences)}
}

// Encode implements decode.Encoder. It wants the sequences of the former source to be empty.
func (m *Model) Encode(source int, tokens []decode.Token) error {
	if m.encoder == nil || source < 0 || source >= len(m.encoder.held) {
		return fmt.Errorf("source %d", source)
	}
	for seq, cells := range m.seqs {
		if len(cells) > 0 && m.encoder.of[seq] == source {
			return fmt.Errorf("source %d is read by sequence %d, which holds %d tokens", source, seq, len(cells))
		}
	}
	m.encoder.held[source] = slices.Clone(tokens)
	m.encoder.encodes++
	return nil
}

// Encodes is how many sources were read.
func (m *Model) Encodes() int { return m.encoder.encodes }

// attend notes which source a row's sequence reads, and checks that it goes on with it.
func (m *Model) attend(r decode.Row) error {
	switch e := m.encoder; {
	case e == nil:
	case r.Source < 0 || r.Source >= len(e.held) || e.held[r.Source] == nil:
		return fmt.Errorf("sequence %d reads source %d, which is not there", r.Seq, r.Source)
	case r.Pos == 0:
		e.of[r.Seq] = r.Source
	case e.of[r.Seq] != r.Source:
		return fmt.Errorf("sequence %d reads source %d, and began with %d", r.Seq, r.Source, e.of[r.Seq])
	}
	return nil
}

// source is the tokens before those of a sequence.
func (m *Model) source(seq decode.Seq) []decode.Token {
	if m.encoder == nil {
		return nil
	}
	return m.encoder.held[m.encoder.of[seq]]
}

// EndPrompt implements decode.Ended.
func (p *Pair) EndPrompt(tokens []decode.Token) []decode.Token { return append(tokens, End) }
