package run

import (
	"slices"
	"strings"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/intake"
)

// MaxHistory is how many messages a conversation may have before its prompt.
const MaxHistory = 256

// MaxMoves is how often λ of a lane may be moved.
const MaxMoves = 1 << 16

// Spec is what a run was asked to do: enough to do it again. It comes from a page, the API or a file, is completed
// by Hub.Start, and does not change after that.
type Spec struct {
	Pair         string          `json:"pair"`             // name of the pair
	Aligned      []string        `json:"aligned"`          // names of aligned models; Start replaces none by the pair's default
	System       string          `json:"system,omitempty"` // the system prompt; "" is none. A text to complete has none
	Prompt       string          `json:"prompt"`           // the last message of the user, or the text to complete
	Mode         Mode            `json:"mode"`             // see Chat and Plain
	Parent       *Parent         `json:"parent,omitempty"` // nil: the run goes on with no other
	Lanes        []decode.Lane   `json:"lanes"`            // numbered by their place; those added later are in the log
	Map          *decode.Map     `json:"map,omitempty"`    // instead of lanes
	Sampling     decode.Sampling `json:"sampling"`         // of all lanes
	Seed         uint64          `json:"seed,string"`      // of the noise that all lanes share
	Alternatives int             `json:"alternatives"`     // most probable tokens that are recorded of each distribution

	Contrast  *decode.Contrast `json:"contrast,omitempty"` // in place of the pair's own
	Rendering decode.Rendering `json:"rendering,omitzero"` // of conversations; Start fills in the date

	// Special takes the spellings of special tokens in a text to be completed for those tokens.
	Special bool `json:"special,omitempty"`

	// What the log has beyond that: the bytes of each token, and sums over each lane in its end event.
	Bytes  bool `json:"bytes,omitempty"`
	Totals bool `json:"totals,omitempty"`

	// History is the conversation before the prompt. Start resolves it from Parent where there is one.
	History []decode.Message `json:"history,omitempty"`

	// Files and Build identify the models and the program it ran on. Start fills them in.
	Files []File `json:"files,omitempty"`
	Build string `json:"build,omitempty"`
}

// Mode says how the prompt is given to the models.
type Mode string

const (
	Chat  Mode = "chat"  // through the chat template
	Plain Mode = "plain" // as a text to complete
)

// Parent is the lane whose conversation a run continues.
type Parent struct {
	Run  string `json:"run"`  // its id
	Lane int    `json:"lane"` // by number
}

// File is one model file of a pair.
type File struct {
	Role   string `json:"role"`   // "reference", or the aligned model's name
	Name   string `json:"name"`   // base name of the file
	SHA256 string `json:"sha256"` // of its bytes, hexadecimal
}

// Validate returns an Invalid error naming the first field that is wrong and the limit it breaks. Aligned
// must have been resolved: it says how many numbers a λ has.
func (s *Spec) Validate() error {
	if s.Pair == "" {
		return fault.Field("pair", "is empty")
	}
	if s.Mode != Chat && s.Mode != Plain {
		return fault.Field("mode", "%.20q is neither chat nor plain", string(s.Mode))
	}
	if strings.TrimSpace(s.Prompt) == "" {
		return fault.Field("prompt", "is empty")
	}
	if n := len(s.Prompt); n > decode.MaxPromptBytes {
		return fault.Field("prompt", "%d bytes, at most %d", n, decode.MaxPromptBytes)
	}
	if !utf8.ValidString(s.Prompt) {
		return fault.Field("prompt", "is not valid UTF-8")
	}
	if s.Mode == Plain && s.System != "" {
		return fault.Field("system", "a text to complete has no system prompt")
	}
	if s.Mode == Chat && s.Special {
		return fault.Field("special", "is for a text to complete: in a conversation the template alone writes special tokens")
	}
	if !utf8.ValidString(s.System) {
		return fault.Field("system", "is not valid UTF-8")
	}
	if n := len(s.System); n > decode.MaxPromptBytes {
		return fault.Field("system", "%d bytes, at most %d", n, decode.MaxPromptBytes)
	}
	if s.Parent != nil && (s.Parent.Run == "" || s.Parent.Lane < 0) {
		return fault.Field("parent", "needs a run and a lane number from 0")
	}
	if err := s.validateHistory(); err != nil {
		return err
	}
	for i, lane := range s.Lanes {
		if lane.Index != i {
			return fault.Field("lanes", "lane number %d at place %d", lane.Index, i)
		}
	}
	if n := len(s.Lanes); n > decode.MaxLanes { // each of its requests may have so many
		return fault.Field("lanes", "%d lanes, at most %d", n, decode.MaxLanes)
	}
	for _, lanes := range ByMix(s.Lanes) {
		request := s.Request("", lanes)
		if err := request.Validate(len(s.Aligned)); err != nil {
			return err
		}
	}
	if s.Map == nil {
		return nil
	}
	return s.checkMap()
}

// ByMix are lanes by what λ mixes in them: a request decodes those of one kind. Without lanes there is one such list.
func ByMix(lanes []decode.Lane) [][]decode.Lane {
	var logits, weights []decode.Lane
	for _, l := range lanes {
		if decode.InWeights(l.Mix) {
			weights = append(weights, l)
		} else {
			logits = append(logits, l)
		}
	}
	switch {
	case len(weights) == 0:
		return [][]decode.Lane{logits}
	case len(logits) == 0:
		return [][]decode.Lane{weights}
	}
	return [][]decode.Lane{logits, weights}
}

// validateHistory wants whole turns of user and assistant, within the limits together with the prompt.
func (s *Spec) validateHistory() error {
	if n := len(s.History); n > MaxHistory {
		return fault.Field("history", "%d messages, at most %d", n, MaxHistory)
	}
	size := len(s.System) + len(s.Prompt)
	for i, m := range s.History {
		if want := [...]string{"user", "assistant"}[i%2]; m.Role != want {
			return fault.Field("history", "message %d is of role %.20q, where user and assistant take turns", i, m.Role)
		}
		if !utf8.ValidString(m.Content) {
			return fault.Field("history", "is not valid UTF-8")
		}
		size += len(m.Content)
	}
	if len(s.History)%2 != 0 {
		return fault.Field("history", "ends with a user's message, where the prompt should follow an answer")
	}
	if size > decode.MaxPromptBytes {
		return fault.Field("prompt", "%d bytes with the conversation before it, at most %d", size, decode.MaxPromptBytes)
	}
	return nil
}

// Request is the decoding of some lanes of the run, in all of which λ mixes the same.
func (s *Spec) Request(run string, lanes []decode.Lane) decode.Request {
	r := decode.Request{
		Run:      run,
		Aligned:  s.Aligned,
		Prompt:   s.prompt(),
		Lanes:    lanes,
		Map:      s.Map,
		Sampling: s.Sampling,
		Seed:     s.Seed,
		Trace:    decode.Trace{Alternatives: s.Alternatives, Bytes: s.Bytes},
		Totals:   s.Totals,

		Contrast: s.Contrast, Rendering: s.Rendering,
	}
	if len(lanes) > 0 && decode.InWeights(lanes[0].Mix) {
		r.Mix, r.Totals = decode.MixWeights, false // of two models' sums
	}
	return r
}

// prompt is the conversation, or the text to complete, as the decoder gets it.
func (s *Spec) prompt() decode.Prompt {
	if s.Mode == Plain {
		var text strings.Builder
		for _, m := range s.History {
			text.WriteString(m.Content)
		}
		return decode.Prompt{Text: text.String() + s.Prompt, Special: s.Special}
	}
	var messages []decode.Message
	if s.System != "" {
		messages = append(messages, decode.Message{Role: "system", Content: s.System})
	}
	messages = append(messages, s.History...)
	return decode.Prompt{Messages: append(messages, decode.Message{Role: "user", Content: s.Prompt})}
}

// continueFrom makes the spec's conversation follow a lane of its parent.
func (s *Spec) continueFrom(parent *Spec, lane *Lane) error {
	if parent.Mode != s.Mode {
		return fault.Field("parent", "is a run in mode %s, which mode %s cannot continue", parent.Mode, s.Mode)
	}
	if !lane.Ended() {
		return fault.New(fault.Conflict, "lane %d of the run to continue has not ended", lane.Index)
	}
	reply := lane.Text
	if s.Mode == Chat { // what a model thought is no part of the conversation
		thought, said := decode.CutThought(reply)
		if thought != "" && said == "" {
			return fault.New(fault.Conflict, "lane %d ended while it was thinking, and said nothing to go on from", lane.Index)
		}
		if thought != "" {
			reply = said
		}
	}
	s.History = append(slices.Clone(parent.History),
		decode.Message{Role: "user", Content: parent.Prompt},
		decode.Message{Role: "assistant", Content: reply})
	if s.System == "" {
		s.System = parent.System
	}
	if s.Rendering.Date.IsZero() { // so that what was said so far is rendered as it was
		s.Rendering.Date = parent.Rendering.Date
	}
	return nil
}

// NumberLanes returns the lanes numbered from first on, in a slice of their own.
func NumberLanes(lanes []decode.Lane, first int) []decode.Lane {
	lanes = slices.Clone(lanes)
	for i := range lanes {
		lanes[i].Index = first + i
	}
	return lanes
}

// Shape is what the JSON of a run may unfold to: a spec, an event, or a frame with one.
func Shape() intake.Shape {
	return intake.Shape{Depth: 12, Entries: 64, Named: map[string]int{
		"lanes": decode.MaxLanes, "prefix": decode.MaxTokensLimit, "changes": MaxMoves, "history": MaxHistory,
		"tokens": decode.MaxPromptBytes, "pieces": decode.MaxTokensLimit, "bias": 1 << 18,
	}}
}
