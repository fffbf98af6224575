// Package openai translates between OpenAI's API and Realign's requests: names of models with a λ, bodies of requests, replies
// and the chunks of streams. It is pure: no HTTP, no store and no models. docs/api.md describes what a client sees.
package openai

import (
	"strconv"
	"strings"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

// Model is what a model's name says: PAIR, PAIR@λ, PAIR:ALIGNED@λ, or several aligned models as in
// PAIR:WARM@0.5+SHORT@0.3. No name holds a comma, since some clients cut names there.
type Model struct {
	Pair    string        // a pair's name
	Aligned []string      // empty: the pair's default
	Lambda  decode.Vector // one per aligned model; nil where the name says none
}

// ParseModel reads a model's name. The error is Invalid with the field "model".
func ParseModel(name string) (Model, error) {
	var m Model
	invalid := func(reason string, args ...any) (Model, error) {
		f := fault.Field("model", reason, args...)
		f.Message = strconv.Quote(short(name)) + " " + f.Message + ": a model is PAIR[:ALIGNED]@λ, as in demo:warmth-b0.1@0.5"
		return Model{}, f
	}
	head, rest, several := strings.Cut(name, ":")
	if !several { // the aligned model is the pair's default
		head, lambda, stated := strings.Cut(name, "@")
		m.Pair = head
		if stated {
			l, err := parseLambda(lambda)
			if err != nil {
				return invalid("%v", fault.Of(err).Message)
			}
			m.Lambda = decode.Vector{l}
		}
	} else {
		m.Pair = head
		parts := strings.Split(rest, "+")
		if len(parts) > decode.MaxAligned {
			return invalid("names %d aligned models, where %d can be mixed", len(parts), decode.MaxAligned)
		}
		stated := 0
		for _, part := range parts {
			aligned, lambda, ok := strings.Cut(part, "@")
			if pair.CheckName("model", aligned) != nil {
				return invalid("names an aligned model %q", short(aligned))
			}
			m.Aligned = append(m.Aligned, aligned)
			if !ok {
				continue
			}
			l, err := parseLambda(lambda)
			if err != nil {
				return invalid("%v", fault.Of(err).Message)
			}
			stated++
			m.Lambda = append(m.Lambda, l)
		}
		if stated > 0 && stated < len(parts) {
			return invalid("gives λ for some of its aligned models and not for others")
		}
	}
	if pair.CheckName("model", m.Pair) != nil {
		return invalid("names no pair")
	}
	return m, nil
}

// String is the name that ParseModel reads.
func (m Model) String() string {
	var b strings.Builder
	b.WriteString(m.Pair)
	if len(m.Aligned) == 0 {
		if len(m.Lambda) == 1 {
			b.WriteString("@" + formatLambda(m.Lambda[0]))
		}
		return b.String()
	}
	for i, name := range m.Aligned {
		b.WriteByte(":+"[min(i, 1)])
		b.WriteString(name)
		if i < len(m.Lambda) {
			b.WriteString("@" + formatLambda(m.Lambda[i]))
		}
	}
	return b.String()
}

// formatLambda is the shortest text that ParseModel reads back as the same λ.
func formatLambda(l float64) string { return decode.FormatNumber(l) }

// parseLambda reads a number or a fraction such as 1/6, and refuses a λ that decoding would refuse.
func parseLambda(text string) (float64, error) {
	l, err := decode.ParseNumber("lambda", text)
	if err != nil {
		return 0, err
	}
	return l, decode.CheckLambda("lambda", decode.Vector{l}, 1)
}

// short is the beginning of a text from outside, for an error.
func short(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
