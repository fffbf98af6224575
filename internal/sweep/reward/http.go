package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"realign/internal/decode"
	"realign/internal/sweep"
)

// asked is what a program or an address of the user's is told about an answer.
type asked struct {
	Prompt    string           `json:"prompt"`
	History   []decode.Message `json:"history,omitempty"`
	System    string           `json:"system,omitempty"`
	Context   string           `json:"context,omitempty"`
	Reference string           `json:"reference,omitempty"`
	Category  string           `json:"category,omitempty"`
	Answer    string           `json:"answer"`
	Lambda    float64          `json:"lambda"`
	Sample    int              `json:"sample"`
	Tokens    int              `json:"tokens"`
}

// question is what is told about an output of a row.
func question(row *sweep.Row, o *sweep.Output) asked {
	return asked{row.Text, row.History, row.System, row.Context, row.Reference, row.Category, o.Text, o.Lambda, o.Sample, o.Tokens}
}

// answered reads a reward: a number, {"value": number} or {"missing": reason}.
func answered(text []byte) (sweep.Value, error) {
	if number, ok := numeric(text); ok {
		return sweep.Of(number), nil
	}
	var object struct {
		Value   json.RawMessage `json:"value"`
		Missing string          `json:"missing"`
	}
	err := json.Unmarshal(text, &object)
	number, ok := numeric(object.Value)
	switch {
	case err == nil && ok:
		return sweep.Of(number), nil
	case err == nil && object.Missing != "":
		return sweep.Missing("%s", object.Missing), nil
	}
	return sweep.Value{}, unreadable{reason: `the answer is neither a number nor {"value": number} nor {"missing": reason}` + tail(text)}
}

// numeric is a number in JSON, or a text that is one.
func numeric(data []byte) (x float64, ok bool) {
	var text string
	if json.Unmarshal(data, &text) == nil && len(data) > 0 {
		data = []byte(strings.TrimSpace(text))
	}
	if len(data) == 0 || bytes.ContainsAny(data[:1], "nN") || json.Unmarshal(data, &x) != nil {
		return 0, false
	}
	return x, true
}

// overHTTP is the Reward that asks an address of the user's.
type overHTTP struct {
	info Info // of this reward: its parameters say the direction
	*endpoint
}

// httpReward asks an address of the user's, once for each answer.
func httpReward() maker {
	info := Info{
		Name: "http", Title: "HTTP endpoint", Direction: sweep.Higher, Remote: true,
		About: "POSTs {prompt, history, system, context, reference, category, answer, lambda, sample, tokens} and takes a number, " +
			"{\"value\": number} or {\"missing\": reason} for an answer.",
		Schema: append(askingSchema(), directionParameter()),
	}
	return maker{info: info, make: func(parameters []byte, e Environment) (Reward, error) {
		p := struct {
			asking
			Direction sweep.Direction `json:"direction"`
		}{defaultAsking(), sweep.Higher}
		if err := sweep.Strict("", parameters, &p); err != nil {
			return nil, err
		}
		if err := oneOf("direction", string(p.Direction), string(sweep.Higher), string(sweep.Lower)); err != nil {
			return nil, err
		}
		opened, err := p.asking.open(e)
		if err != nil {
			return nil, err
		}
		info := info
		info.Direction = p.Direction
		return &overHTTP{info, opened}, nil
	}}
}

// directionParameter describes the parameter of rewards that do not know themselves which values are better.
func directionParameter() Parameter {
	return Parameter{"direction", "which values are better, higher or lower", "higher"}
}

// Info implements Reward.
func (r *overHTTP) Info() Info { return r.info }

// Check asks one question.
func (r *overHTTP) Check(ctx context.Context) error {
	row := sweep.Row{Text: "What is the capital of France?", Context: "Paris is the capital of France.", Reference: "Paris.", Category: "trial"}
	_, err := r.judge(r.trial(ctx), &row, &sweep.Output{Cell: sweep.Cell{Lambda: 1}, Text: "It is Paris.", Tokens: 5, Finish: "stop"})
	return r.tried(err)
}

// judge asks about one answer.
func (r *overHTTP) judge(ctx context.Context, row *sweep.Row, o *sweep.Output) (value sweep.Value, err error) {
	body, err := json.Marshal(question(row, o))
	if err != nil {
		return value, err
	}
	_, err = r.ask(ctx, r.key(r.URL, body), r.URL, body, func(answer []byte) (err error) {
		value, err = answered(answer)
		return err
	})
	return value, err
}

// Score implements Reward: a question for each answer, at the same time.
func (r *overHTTP) Score(ctx context.Context, rows []sweep.Row, outputs []sweep.Output) []sweep.Value {
	return together(len(outputs), func(i int) sweep.Value {
		value, err := r.judge(ctx, &rows[i], &outputs[i])
		if err != nil {
			return sweep.Missing("%v", err)
		}
		return value
	})
}
