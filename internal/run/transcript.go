package run

import (
	"slices"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Transcript is what a run's log adds up to. NewTranscript makes it, events are added in order, and it is used by
// one goroutine at a time.
type Transcript struct {
	Prompt []decode.Token // the prompt as tokens; nil until it was read

	AlignedPrompts [][]decode.Token // of aligned models, where one has another prompt than the reference; nil stands for the reference's

	Lanes []Lane         // by number
	Map   *Map           // instead of lanes, of a run that is a λ-map
	Stats []decode.Stats // one per decode request that has ended
	Seq   int            // number of the last event added

	texts bool // tokens are taken without their alternatives
}

// Lane is the state of one lane.
type Lane struct {
	decode.Lane // as it was asked for; Changes holds the moves of λ that happened, too

	Text        string        // all that it has said; of a lane that has ended, with what its end event added
	Tokens      []Token       // those that events have told, the end token included
	KLReference float64       // Σ KL(π_λ ‖ π_ref) over its tokens, nats
	KLAligned   []float64     // Σ KL(π_λ ‖ π_al), one per aligned model
	Reason      string        // why it ended; "" while it runs
	Error       *decode.Error // with reason error
	Exact       *decode.Exact // of a lane that was decoded by particles, once it has ended
}

// Token is one token of a lane with its trace, in nats. The fields are those of a token event: see decode.Event.
type Token struct {
	ID          decode.Token  `json:"id"`
	Text        string        `json:"text"`
	Name        string        `json:"name,omitempty"`
	Lambda      decode.Vector `json:"lambda"`
	Logp        *decode.Logp  `json:"logp,omitempty"`
	Top         *decode.Top   `json:"top,omitempty"`
	KLReference *float64      `json:"kl_reference,omitempty"`
	KLAligned   decode.Vector `json:"kl_aligned,omitempty"`
	LogZ        *float64      `json:"log_z,omitempty"`
}

// Ended reports whether the lane is done.
func (l *Lane) Ended() bool { return l.Reason != "" }

// Last is λ at the lane's end.
func (l *Lane) Last() decode.Vector {
	if n := len(l.Changes); n > 0 {
		return l.Changes[n-1].Lambda
	}
	return l.Lambda
}

// NewTranscript is a run before its first event.
func NewTranscript(spec *Spec) *Transcript {
	t := &Transcript{}
	t.add(spec.Lanes)
	if m := spec.Map; m != nil {
		t.Map = &Map{From: m.From, To: m.To}
	}
	return t
}

// NewTexts is NewTranscript for one whose tokens are to have no alternatives.
func NewTexts(spec *Spec) *Transcript {
	t := NewTranscript(spec)
	t.texts = true
	return t
}

// Lane is a lane by number, or nil.
func (t *Transcript) Lane(index int) *Lane {
	if index < 0 || index >= len(t.Lanes) {
		return nil
	}
	return &t.Lanes[index]
}

// Streams is how many lanes the run has; a map counts as one.
func (t *Transcript) Streams() int {
	if t.Map != nil {
		return 1
	}
	return len(t.Lanes)
}

// MissingEnds is the ends, with an error, of what has none.
func (t *Transcript) MissingEnds(cause *fault.Error) (ends []EncodedEvent) {
	if t.Map != nil && !t.Map.Ended() {
		ends = append(ends, encode(decode.EndWithError(decode.Lane{}, len(t.Map.Branches), cause)))
	}
	for i := range t.Lanes {
		if lane := &t.Lanes[i]; !lane.Ended() {
			ends = append(ends, encode(decode.EndWithError(decode.Lane{Index: i, Sample: lane.Sample}, len(lane.Tokens), cause)))
		}
	}
	return ends
}

// Done reports whether every lane, or the map, has ended.
func (t *Transcript) Done() bool {
	if t.Map != nil {
		return t.Map.Ended()
	}
	return !slices.ContainsFunc(t.Lanes, func(l Lane) bool { return !l.Ended() })
}

// Failed reports whether a lane, or the map, ended with an error.
func (t *Transcript) Failed() bool {
	if t.Map != nil {
		return t.Map.Reason == decode.EndError
	}
	return slices.ContainsFunc(t.Lanes, func(l Lane) bool { return l.Reason == decode.EndError })
}

// Add takes the next event of the log.
func (t *Transcript) Add(e Event) error {
	if t.texts {
		e.Event = withoutTop(e.Event)
	}
	d, err := e.Decode()
	if err != nil {
		return err
	}
	t.Apply(d)
	t.Seq = e.Seq
	return nil
}

// Apply takes the next event. One for a lane that does not exist changes nothing.
func (t *Transcript) Apply(e decode.Event) {
	switch e.Type {
	case decode.EventLanes:
		t.add(e.Lanes)
		return
	case decode.EventStart:
		if e.Prompt != nil && t.Prompt == nil {
			t.Prompt, t.AlignedPrompts = e.Prompt.Tokens, e.Prompt.Aligned
		}
		return
	case decode.EventStats:
		if e.Stats != nil {
			t.Stats = append(t.Stats, *e.Stats)
		}
		return
	}
	if t.Map != nil {
		t.Map.apply(e)
		return
	}
	lane := t.Lane(e.Lane)
	if lane == nil {
		return
	}
	switch e.Type {
	case decode.EventToken:
		lane.token(e)
	case decode.EventLambda:
		if !e.Lambda.Equal(lane.at(e.Index)) {
			lane.Changes = append(lane.Changes, decode.Change{At: e.Index, Lambda: e.Lambda})
		}
	case decode.EventEnd:
		lane.Text += e.Text
		lane.Reason, lane.Error, lane.Exact = e.Reason, e.Error, e.Exact
	}
}

// token adds a token and its divergences.
func (l *Lane) token(e decode.Event) {
	l.Text += e.Text
	l.Tokens = append(l.Tokens, Token{
		ID: e.ID, Text: e.Text, Name: e.Name, Lambda: e.Lambda,
		Logp: e.Logp, Top: e.Top, KLReference: e.KLReference, KLAligned: e.KLAligned, LogZ: e.LogZ,
	})
	if e.KLReference != nil {
		l.KLReference += *e.KLReference
	}
	if l.KLAligned == nil {
		l.KLAligned = make([]float64, len(e.KLAligned))
	}
	for i := range min(len(l.KLAligned), len(e.KLAligned)) {
		l.KLAligned[i] += e.KLAligned[i]
	}
}

// at is the λ in force at a token, as far as is known.
func (l *Lane) at(index int) decode.Vector {
	for _, c := range slices.Backward(l.Changes) {
		if c.At <= index {
			return c.Lambda
		}
	}
	return l.Lambda
}

// add adds lanes under the next numbers.
func (t *Transcript) add(lanes []decode.Lane) {
	for _, lane := range lanes {
		lane.Index = len(t.Lanes)
		lane.Changes = slices.Clone(lane.Changes)
		t.Lanes = append(t.Lanes, Lane{Lane: lane})
	}
}
