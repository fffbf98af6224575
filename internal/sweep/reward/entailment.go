package reward

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// maxSentences limits what one answer may be asked about.
const maxSentences = 200

// entailmentParameters are those of entailment, as its Schema describes them.
type entailmentParameters struct {
	asking
	Format string `json:"format"` // classifier or openai
	Model  string `json:"model"`  // of the format openai
	Label  string `json:"label"`  // what the classifier calls entailment
	Reduce string `json:"reduce"` // mean or min, over the answer's sentences
}

// entailment is natural language inference by a model behind an endpoint: the premise is the prompt's context, each sentence of the
// answer a hypothesis.
type entailment struct {
	info Info // of the registry
	entailmentParameters
	*endpoint
}

// entails makes the reward entailment.
func entails() maker {
	info := Info{
		Name: "entailment", Title: "Entailment by the context", Direction: sweep.Higher, Needs: []string{sweep.ColumnContext}, Remote: true,
		About: "Whether the context entails each sentence of the answer, by a classifier or a language model behind an endpoint: their mean, or the least of them, from 0 to 1.",
		Schema: append(askingSchema(), []Parameter{
			{"format", "classifier (a text-classification server: {\"inputs\": [[premise, hypothesis]]}, answered by labels with scores) or openai (chat completions, answered by one word)", "classifier"},
			{"model", "openai: as the endpoint calls it", ""},
			{"label", "classifier: what it calls entailment", "entailment"},
			{"reduce", "mean over the answer's sentences, or min", "mean"},
		}...),
	}
	return maker{info: info, make: func(parameters []byte, e Environment) (Reward, error) {
		p := entailmentParameters{asking: defaultAsking(), Format: "classifier", Label: "entailment", Reduce: "mean"}
		if err := sweep.Strict("", parameters, &p); err != nil {
			return nil, err
		}
		if err := oneOf("format", p.Format, "classifier", "openai"); err != nil {
			return nil, err
		}
		if err := oneOf("reduce", p.Reduce, "mean", "min"); err != nil {
			return nil, err
		}
		switch {
		case p.Format == "openai" && p.Model == "":
			return nil, fault.Field("model", "is needed with the format openai")
		case p.Format == "classifier" && p.Model != "":
			return nil, fault.Field("model", "is for the format openai: a classifier has one")
		case p.Label == "":
			return nil, fault.Field("label", "is empty: name what the classifier calls entailment")
		}
		opened, err := p.asking.open(e)
		if err != nil {
			return nil, err
		}
		return &entailment{info, p, opened}, nil
	}}
}

// Info implements Reward.
func (r *entailment) Info() Info { return r.info }

// Check asks one question.
func (r *entailment) Check(ctx context.Context) error {
	_, err := r.entailed(r.trial(ctx), "Paris is the capital of France.", "The capital of France is Paris.")
	return r.tried(err)
}

// Score implements Reward: the answers at the same time, each one sentence after the other.
func (r *entailment) Score(ctx context.Context, rows []sweep.Row, outputs []sweep.Output) []sweep.Value {
	return together(len(outputs), func(i int) sweep.Value { return r.judge(ctx, rows[i].Context, outputs[i].Text) })
}

// judge asks about the sentences of one answer.
func (r *entailment) judge(ctx context.Context, premise, answer string) sweep.Value {
	all := sentences(answer)
	switch {
	case len(all) == 0:
		return sweep.Missing("the answer has no sentence")
	case len(all) > maxSentences:
		return sweep.Missing("the answer has %d sentences, at most %d are asked about", len(all), maxSentences)
	}
	sum, least := 0.0, 1.0
	for _, hypothesis := range all {
		p, err := r.entailed(ctx, premise, hypothesis)
		if err != nil {
			return sweep.Missing("%v", err)
		}
		sum += p
		least = min(least, p)
	}
	if r.Reduce == "min" {
		return sweep.Of(least)
	}
	return sweep.Of(sum / float64(len(all)))
}

// entailed is the probability that a premise entails a hypothesis; by a language model 1 or 0.
func (r *entailment) entailed(ctx context.Context, premise, hypothesis string) (p float64, err error) {
	address, body := r.endpoint.URL, any(map[string]any{"inputs": [][]string{{premise, hypothesis}}, "truncate": true})
	read := func(answer []byte) (err error) { p, err = r.labelled(answer); return err }
	if r.Format == "openai" {
		address = r.address("/chat/completions")
		body = map[string]any{"model": r.Model, "temperature": 0, "max_tokens": 16, "messages": []map[string]string{
			{"role": "system", "content": entailmentTask},
			{"role": "user", "content": "Premise:\n" + premise + "\n\nHypothesis:\n" + hypothesis},
		}}
		read = func(answer []byte) (err error) { p, err = relation(answer); return err }
	}
	data, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	_, err = r.ask(ctx, r.key(address, data), address, data, read)
	return p, err
}

// entailmentTask is what a language model is told to do.
const entailmentTask = "You judge natural language inference. Say how the premise relates to the hypothesis, by one word and nothing else: " +
	"entailment (whoever believes the premise must believe the hypothesis), contradiction (they cannot both be true) or neutral."

// labelled reads a classifier's answer: labels with scores, of one pair or in a list of one.
func (r *entailment) labelled(answer []byte) (float64, error) {
	type scored struct {
		Label string   `json:"label"`
		Score *float64 `json:"score"`
	}
	var one []scored
	var several [][]scored
	switch {
	case json.Unmarshal(answer, &several) == nil && len(several) == 1:
		one = several[0]
	case json.Unmarshal(answer, &one) == nil:
	default:
		return 0, unreadable{reason: `the answer is no list of {"label", "score"}` + tail(answer)}
	}
	names := make([]string, len(one))
	for i, s := range one {
		if names[i] = s.Label; strings.EqualFold(s.Label, r.Label) && s.Score != nil {
			if !(*s.Score >= 0 && *s.Score <= 1) {
				return 0, unreadable{reason: fmt.Sprintf("the score of %q is %g, not a probability", s.Label, *s.Score), final: true}
			}
			return *s.Score, nil
		}
	}
	return 0, unreadable{reason: fmt.Sprintf("the classifier has no label %q: its labels are %s; name one as label", r.Label, strings.Join(names, ", ")), final: true}
}

// relation reads the word of a language model: the last of the three that it says, as some think aloud first.
func relation(answer []byte) (float64, error) {
	text, _, err := content(answer)
	if err != nil {
		return 0, err
	}
	if rest, ended := concluded(text); ended {
		text = rest
	}
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) })
	for _, word := range slices.Backward(words) {
		switch word {
		case "entailment", "entailed", "entails":
			return 1, nil
		case "neutral", "contradiction", "contradicts", "contradictory":
			return 0, nil
		}
	}
	return 0, unreadable{reason: "the model said none of entailment, neutral and contradiction" + tail([]byte(text))}
}
