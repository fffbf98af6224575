package reward

import (
	"context"
	"encoding/json"
	"net/http"

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

func question(row *sweep.Row, o *sweep.Output) asked {
	return asked{row.Text, row.History, row.System, row.Context, row.Reference, row.Category, o.Text, o.Lambda, o.Sample, o.Tokens}
}

// answered reads a reward: a number, {"value": number} or {"missing": reason}.
func answered(text []byte) (sweep.Value, error) {
	var number float64
	if json.Unmarshal(text, &number) == nil && len(text) > 0 && text[0] != 'n' {
		return sweep.Of(number), nil
	}
	var object struct {
		Value   *float64 `json:"value"`
		Missing string   `json:"missing"`
	}
	err := json.Unmarshal(text, &object)
	switch {
	case err == nil && object.Value != nil:
		return sweep.Of(*object.Value), nil
	case err == nil && object.Missing != "":
		return sweep.Missing("%s", object.Missing), nil
	}
	return sweep.Value{}, unreadable{`the answer is neither a number nor {"value": number} nor {"missing": reason}`}
}

type overHTTP struct {
	info Info
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

func directionParameter() Parameter {
	return Parameter{"direction", "which values are better, higher or lower", "higher"}
}

func (r *overHTTP) Info() Info { return r.info }

func (r *overHTTP) Check(ctx context.Context) error { return r.check(ctx, http.MethodOptions, r.URL) }

func (r *overHTTP) Judge(ctx context.Context, rows []sweep.Row, outputs []sweep.Output) []sweep.Value {
	return together(len(outputs), func(i int) sweep.Value {
		body, err := json.Marshal(question(&rows[i], &outputs[i]))
		if err != nil {
			return sweep.Missing("%v", err)
		}
		var value sweep.Value
		_, err = r.ask(ctx, r.URL, body, func(answer []byte) (err error) {
			value, err = answered(answer)
			return err
		})
		if err != nil {
			return sweep.Missing("%v", err)
		}
		return value
	})
}
