package decode

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/fault"
)

// Validate checks a request for a run over n aligned models against the package's limits. The error is of
// kind Invalid and names the field as the request's JSON does.
func (r *Request) Validate(n int) error {
	if n < 1 || n > MaxAligned {
		return fault.Field("aligned", "%d aligned models, where 1 to %d can be mixed", n, MaxAligned)
	}
	for i, name := range r.Aligned {
		if slices.Contains(r.Aligned[:i], name) {
			return fault.Field("aligned", "%.80q is named twice: its λ would be the sum of both", name)
		}
	}
	if err := r.Prompt.validate(); err != nil {
		return err
	}
	if err := r.Rendering.Validate(); err != nil {
		return err
	}
	if r.Contrast != nil {
		if err := r.Contrast.Validate("contrast"); err != nil {
			return err
		}
	}
	if r.Encode {
		return nil
	}
	if r.Score != nil {
		if err := r.Score.validate(n, r); err != nil {
			return err
		}
	} else if r.Map != nil {
		if err := r.Map.validate(n, r); err != nil {
			return err
		}
	} else if err := CheckLanes(r.Lanes, n, r.Sampling.MaxTokens); err != nil {
		return err
	}
	if err := checkBound("alternatives", float64(r.Trace.Alternatives)); err != nil {
		return err
	}
	if err := r.Sampling.Validate(); err != nil {
		return err
	}
	if err := r.validateExact(); err != nil {
		return err
	}
	if err := r.validateMix(); err != nil {
		return err
	}
	return r.validateEvaluate(n)
}

// validate checks that exactly one of the forms is given, and that it is valid UTF-8 or tokens from 0 on,
// within MaxPromptBytes.
func (p *Prompt) validate() error {
	set, size := 0, len(p.Text)
	if len(p.Messages) > 0 {
		set++
		for _, m := range p.Messages {
			size += len(m.Content)
			switch m.Role {
			case "system", "user", "assistant":
			default:
				return fault.Field("prompt", "role %q is none of system, user and assistant", m.Role)
			}
			if !utf8.ValidString(m.Content) {
				return fault.Field("prompt", "is not valid UTF-8")
			}
		}
		if strings.TrimSpace(p.Messages[len(p.Messages)-1].Content) == "" {
			return fault.Field("prompt", "is empty")
		}
	}
	if p.Text != "" {
		set++
		if !utf8.ValidString(p.Text) {
			return fault.Field("prompt", "is not valid UTF-8")
		}
	}
	if len(p.Tokens) > 0 {
		set++
		if slices.Min(p.Tokens) < 0 {
			return fault.Field("prompt", "token %d is negative", slices.Min(p.Tokens))
		}
	}
	switch {
	case set == 0:
		return fault.Field("prompt", "is empty")
	case set > 1:
		return fault.Field("prompt", "has more than one of messages, text and tokens")
	case size > MaxPromptBytes:
		return fault.Field("prompt", "%d bytes, at most %d", size, MaxPromptBytes)
	}
	return nil
}

// CheckLanes checks the lanes of a request over n aligned models.
func CheckLanes(lanes []Lane, n, maxTokens int) error {
	if len(lanes) == 0 {
		return fault.Field("lanes", "ask for at least one")
	}
	if len(lanes) > MaxLanes {
		return fault.Field("lanes", "%d lanes, at most %d", len(lanes), MaxLanes)
	}
	seen := make(map[int]bool, len(lanes))
	for _, l := range lanes {
		if l.Index < 0 || seen[l.Index] {
			return fault.Field("lanes", "lane number %d is negative or given twice", l.Index)
		}
		seen[l.Index] = true
		if err := CheckLambda("lambda", l.Lambda, n); err != nil {
			return err
		}
		if l.Sample < 0 {
			return fault.Field("sample", "%d is negative", l.Sample)
		}
		if len(l.Prefix) > maxTokens {
			return fault.Field("prefix", "%d tokens, more than max_tokens (%d)", len(l.Prefix), maxTokens)
		}
		if len(l.Prefix) > 0 && slices.Min(l.Prefix) < 0 {
			return fault.Field("prefix", "token %d is negative", slices.Min(l.Prefix))
		}
		last := -1
		for _, c := range l.Changes {
			if c.At < 0 || c.At < last {
				return fault.Field("changes", "token %d is out of order", c.At)
			}
			last = c.At
			if err := CheckLambda("changes", c.Lambda, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// Bound is the range of a number that a request holds.
type Bound struct {
	Field     string  // as in JSON
	Low, High float64 // both are allowed
	Whole     bool    // it has no fraction
}

// Holds reports whether a number is in the range. NaN is not.
func (b Bound) Holds(x float64) bool { return x >= b.Low && x <= b.High }

// Bounds is the one table of such ranges: requests are checked by it, and pages and their scripts take it from here.
func Bounds() []Bound {
	return []Bound{
		{"max_tokens", 1, MaxTokensLimit, true},
		{"temperature", 0, 100, false},
		{"top_k", 0, 1 << 20, true},
		{"top_p", 0, 1, false},
		{"min_p", 0, 1, false},
		{"repeat_penalty", 0, 10, false},
		{"presence_penalty", -10, 10, false},
		{"frequency_penalty", -10, 10, false},
		{"penalty_window", 0, MaxTokensLimit, true},
		{"alternatives", 0, MaxAlternatives, true},
		{"exact", 0, MaxParticles, true},
	}
}

// checkBound returns an Invalid error unless the number is in the field's range. A field that the table does
// not have passes.
func checkBound(field string, x float64) error {
	for _, b := range Bounds() {
		if b.Field == field && !b.Holds(x) {
			return fault.Field(field, "%v is outside %v to %v", x, b.Low, b.High)
		}
	}
	return nil
}

// Validate checks sampling parameters.
func (s *Sampling) Validate() error {
	for _, n := range []struct {
		field string
		x     float64
	}{
		{"max_tokens", float64(s.MaxTokens)}, {"temperature", s.Temperature}, {"top_k", float64(s.TopK)}, {"top_p", s.TopP}, {"min_p", s.MinP},
		{"repeat_penalty", s.RepeatPenalty}, {"presence_penalty", s.PresencePenalty}, {"frequency_penalty", s.FrequencyPenalty},
		{"penalty_window", float64(s.PenaltyWindow)},
	} {
		if err := checkBound(n.field, n.x); err != nil {
			return err
		}
	}
	if s.TopP == 0 {
		return fault.Field("top_p", "0 leaves no token; 1 switches it off")
	}
	if 0 < s.Temperature && s.Temperature < 1e-3 {
		return fault.Field("temperature", "%v is below 0.001; 0 is greedy", s.Temperature)
	}
	if len(s.Stop) > MaxStops {
		return fault.Field("stop", "%d stop strings, at most %d", len(s.Stop), MaxStops)
	}
	for _, stop := range s.Stop {
		if stop == "" || len(stop) > MaxStopBytes {
			return fault.Field("stop", "a stop string of %d bytes, where 1 to %d are allowed", len(stop), MaxStopBytes)
		}
	}
	for t, b := range s.Bias {
		if t < 0 {
			return fault.Field("bias", "token %d is negative", t)
		}
		if math.IsNaN(b) || math.IsInf(b, 1) {
			return fault.Field("bias", "%v is not a finite number", b)
		}
	}
	return s.validateExact()
}
