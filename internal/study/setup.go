package study

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"realign/internal/decode"
	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/preference"
	"realign/internal/run"
	"realign/internal/title"
)

// Limits on what a study may ask for.
const (
	MaxGuidelines = 64 << 10 // bytes
	MaxPrompts    = 2000     // of a study
	MaxGrid       = 21       // values of λ
	MaxSamples    = 10       // per prompt and λ
	MaxOutputs    = 20_000   // prompts × λ × samples
	MaxItems      = 50_000   // questions, catch trials apart
	MaxOverlap    = 50       // ratings per item
	MaxCap        = 10_000   // questions per annotator
	MaxEvery      = 1000     // questions in which one is a catch trial
	MaxCriteria   = 8        // of a Likert scale
	MaxCriterion  = 60       // characters of a criterion's name
)

// Study is prompts × λ grid × samples, rated blind by annotators. It begins as a draft, gets an experiment whose outputs are decoded, is
// rated while it is open, and is closed in the end: see Status.
type Study struct {
	ID       string // random, unique among all servers
	Owner    string // who may see and change it; annotators come by its invite link
	Instance string // the server that decodes it
	Setup    Setup  // what the owner chose
	Status   Status // see Draft and those after it

	// Experiment is whose outputs are rated: an own one, of the same id, made when decoding begins, or one that was there.
	Experiment string

	Beta  float64    // that the aligned model was trained with; 0 when nobody says
	Files []run.File // of the models that decode it, from the start of decoding on
	Build string     // of the program that does, from then on

	CreatedAt time.Time
	UpdatedAt time.Time // when its setup or status changed last
	ClosedAt  time.Time // zero unless closed
	Invited   bool      // there is an invite link
}

// Setup is what the owner chose. It changes only while the study is a draft.
type Setup struct {
	Title      string `json:"title"`                // of the study
	Guidelines string `json:"guidelines,omitempty"` // Markdown

	Pair     string          `json:"pair"`             // its name
	Aligned  string          `json:"aligned"`          // the one aligned model whose λ is studied
	System   string          `json:"system,omitempty"` // for prompts that have none of their own
	Mode     run.Mode        `json:"mode"`
	Grid     []float64       `json:"grid"`          // λ, ascending
	Samples  int             `json:"samples"`       // per prompt and λ
	Sampling decode.Sampling `json:"sampling"`      // of all outputs
	Mix      string          `json:"mix,omitempty"` // what λ mixes: decode.MixLogits (or empty), or decode.MixWeights
	Seed     uint64          `json:"seed,string"`   // of outputs, orders and catch trials

	// Secret is 32 random bytes in hexadecimal that the study makes for itself when its decoding begins. With it in the
	// noise and in all orders, nobody who knows the seed can decode the answers at each λ and compare them with what they
	// are shown. It is kept beside the setup and told to nobody before the study is closed. "" for studies without one.
	Secret string `json:"-"`

	Pairwise bool   `json:"pairwise,omitempty"` // ask which of two answers is better
	Likert   *Scale `json:"likert,omitempty"`   // ask for scores; nil asks for none
	Ranked   int    `json:"ranked,omitempty"`   // answers in a best–worst ranking; 0 asks for none
	Comments bool   `json:"comments,omitempty"` // annotators may write some

	Overlap     int    `json:"overlap"`                // ratings per item
	Cap         int    `json:"cap"`                    // questions per annotator; 0 is no limit
	SameEvery   int    `json:"same_every,omitempty"`   // of so many questions one is about the same λ twice; 0 is none
	BrokenEvery int    `json:"broken_every,omitempty"` // and one about an answer spoilt on purpose
	Scheme      Scheme `json:"scheme"`                 // how the next pair of λ is chosen
}

// Scale is how an answer is scored.
type Scale struct {
	Points   int      `json:"points"`   // 5 or 7
	Criteria []string `json:"criteria"` // names; an answer has a score for each
}

// Scheme is how the next pair of λ is chosen.
type Scheme string

const (
	BalancedScheme Scheme = "balanced" // every pair equally often: preference.Balanced
	ActiveScheme   Scheme = "active"   // the pair that is expected to tell most: preference.WantedPairs
)

// Status of a study. Only Draft can be changed, only Open can be rated.
type Status string

const (
	Draft    Status = "draft"    // its setup may change
	Decoding Status = "decoding" // outputs are being decoded in the background
	Halted   Status = "halted"   // decoding was paused
	Ready    Status = "ready"    // all that can be decoded was; nobody rates yet
	Open     Status = "open"     // annotators rate
	Paused   Status = "paused"   // annotators are told to come back later
	Closed   Status = "closed"   // for good
)

// after are the states that may follow each.
var after = map[Status][]Status{
	Draft:    {Decoding},
	Decoding: {Halted, Ready},
	Halted:   {Decoding},
	Ready:    {Open, Closed},
	Open:     {Paused, Closed},
	Paused:   {Open, Closed},
}

// Become checks that a study may go from one state to another: Conflict otherwise.
func (s Status) Become(next Status) error {
	if !slices.Contains(after[s], next) {
		return fault.New(fault.Conflict, "the study is %s: it cannot become %s", s, next)
	}
	return nil
}

// Bounds is the one table of the ranges of a setup's numbers, those of its sampling among them: setups are checked by it, and
// forms take it from here.
func Bounds() []decode.Bound {
	return append(decode.Bounds(),
		decode.Bound{Field: "samples", Low: 1, High: MaxSamples, Whole: true}, decode.Bound{Field: "overlap", Low: 1, High: MaxOverlap, Whole: true},
		decode.Bound{Field: "cap", High: MaxCap, Whole: true}, decode.Bound{Field: "ranked", Low: 3, High: preference.MaxRanked, Whole: true},
		decode.Bound{Field: "same_every", High: MaxEvery, Whole: true}, decode.Bound{Field: "broken_every", High: MaxEvery, Whole: true},
	)
}

// numbers are a setup's numbers by their fields, but for those of the sampling.
func (s *Setup) numbers() map[string]int {
	all := map[string]int{"samples": s.Samples, "overlap": s.Overlap, "cap": s.Cap, "same_every": s.SameEvery, "broken_every": s.BrokenEvery}
	if s.Ranked != 0 {
		all["ranked"] = s.Ranked
	}
	return all
}

// Validate completes and checks a setup: the grid is sorted, spaces are trimmed. The error is Invalid and
// names the field and the limit. Whether the pair exists is the caller's to ask.
func (s *Setup) Validate() error {
	var wrong []error
	title, err := title.Clean(s.Title)
	if err != nil {
		wrong = append(wrong, err)
	} else {
		s.Title = title
	}
	if n := len(s.Guidelines); n > MaxGuidelines {
		wrong = append(wrong, fault.Field("guidelines", "%d bytes, at most %d: shorten them", n, MaxGuidelines))
	}
	if !utf8.ValidString(s.Guidelines) {
		wrong = append(wrong, fault.Field("guidelines", "is not valid UTF-8"))
	}
	if s.Pair == "" {
		wrong = append(wrong, fault.Field("pair", "is empty"))
	}
	numbers := s.numbers()
	for _, b := range Bounds() {
		if n, ok := numbers[b.Field]; ok && !b.Holds(float64(n)) {
			wrong = append(wrong, fault.Field(b.Field, "%d is outside %v to %v", n, b.Low, b.High))
		}
	}
	return errors.Join(append(wrong, s.validateGrid(), s.validateOutputs(), s.validateQuestions())...)
}

// validateGrid sorts the grid and wants distinct λ.
func (s *Setup) validateGrid() error {
	if n := len(s.Grid); n < 2 || n > MaxGrid {
		return fault.Field("grid", "%d values of λ, where 2 to %d are needed", n, MaxGrid)
	}
	for _, lambda := range s.Grid {
		if err := decode.CheckLambda("grid", decode.Vector{lambda}, 1); err != nil {
			return err
		}
	}
	slices.Sort(s.Grid)
	for i := range s.Grid[1:] {
		if s.Grid[i] == s.Grid[i+1] {
			return fault.Field("grid", "λ %g is there twice", s.Grid[i])
		}
	}
	return nil
}

// validateOutputs checks what outputs depend on. The error may join several, each with its field.
func (s *Setup) validateOutputs() error {
	var wrong []error
	if s.Sampling.Temperature == 0 && s.Samples > 1 {
		wrong = append(wrong, fault.Field("samples", "at temperature 0 every sample is the same: ask for 1, or raise the temperature"))
	}
	if s.Mode != run.Chat && s.Mode != run.Plain {
		wrong = append(wrong, fault.Field("mode", "%.20q is neither chat nor plain", string(s.Mode)))
	}
	if s.Mode == run.Plain && s.System != "" {
		wrong = append(wrong, fault.Field("system", "a text to complete has no system prompt"))
	}
	if n := len(s.System); n > decode.MaxPromptBytes {
		wrong = append(wrong, fault.Field("system", "%d bytes, at most %d", n, decode.MaxPromptBytes))
	}
	if err := decode.CheckMix("mix", s.Mix); err != nil {
		wrong = append(wrong, err)
	}
	if decode.InWeights(s.Mix) && s.Sampling.Exact > 0 {
		wrong = append(wrong, fault.Field("mix", "%s does not go with exact (%d), whose particles need both models: set one of them back", s.Mix, s.Sampling.Exact))
	}
	return errors.Join(append(wrong, s.Sampling.Validate())...)
}

// validateQuestions checks what is asked. The error may join several, each with its field.
func (s *Setup) validateQuestions() error {
	var wrong []error
	if !s.Pairwise && s.Likert == nil && s.Ranked == 0 {
		wrong = append(wrong, fault.Field("questions", "choose at least one of pairwise, Likert and ranking"))
	}
	if s.Likert != nil {
		wrong = append(wrong, s.Likert.validate())
	}
	if s.Ranked > len(s.Grid) {
		wrong = append(wrong, fault.Field("ranked", "%d answers of different λ, and the grid has %d", s.Ranked, len(s.Grid)))
	}
	for _, catch := range []struct {
		field string
		every int
	}{{"same_every", s.SameEvery}, {"broken_every", s.BrokenEvery}} {
		if catch.every > 0 && catch.every < 4 {
			wrong = append(wrong, fault.Field(catch.field, "one catch trial in %d questions is outside 4 to %d (0 is none)", catch.every, MaxEvery))
		}
	}
	if s.SameEvery > 0 && s.Sampling.Temperature == 0 {
		wrong = append(wrong, fault.Field("same_every", "at temperature 0 the same λ gives the same text whatever the seed: set it to 0, or raise the temperature"))
	}
	if s.Scheme != BalancedScheme && s.Scheme != ActiveScheme {
		wrong = append(wrong, fault.Field("scheme", "%.20q is neither balanced nor active", string(s.Scheme)))
	}
	if s.Scheme == ActiveScheme && !s.Pairwise {
		wrong = append(wrong, fault.Field("scheme", "active choice is about pairs of λ: it needs pairwise questions"))
	}
	return errors.Join(wrong...)
}

// validate trims the criteria's names and checks the scale.
func (s *Scale) validate() error {
	if s.Points != 5 && s.Points != 7 {
		return fault.Field("points", "a scale has 5 or 7 points, not %d", s.Points)
	}
	if n := len(s.Criteria); n < 1 || n > MaxCriteria {
		return fault.Field("criteria", "%d criteria, where 1 to %d are needed", n, MaxCriteria)
	}
	for i, name := range s.Criteria {
		name = strings.TrimSpace(name)
		s.Criteria[i] = name
		if n := utf8.RuneCountInString(name); n < 1 || n > MaxCriterion {
			return fault.Field("criteria", "criterion %d has %d characters, where 1 to %d are needed", i+1, n, MaxCriterion)
		}
		if slices.Contains(s.Criteria[:i], name) {
			return fault.Field("criteria", "%q is there twice", name)
		}
	}
	return nil
}

// Sized checks that a setup over so many prompts stays within what a study may have.
func (s *Setup) Sized(prompts int) error {
	if prompts == 0 {
		return fault.Field("prompts", "give at least one")
	}
	if prompts > MaxPrompts {
		return fault.Field("prompts", "%d prompts, at most %d", prompts, MaxPrompts)
	}
	if n := prompts * len(s.Grid) * s.Samples; n > MaxOutputs {
		return fault.Field("prompts", "%d prompts × %d λ × %d samples are %d answers to decode, at most %d", prompts, len(s.Grid), s.Samples, n, MaxOutputs)
	}
	perPrompt := 0
	if s.Pairwise {
		perPrompt += len(s.Grid) * (len(s.Grid) - 1) / 2
	}
	if s.Likert != nil {
		perPrompt += len(s.Grid)
	}
	if s.Ranked > 0 {
		perPrompt += (len(s.Grid) + s.Ranked - 1) / s.Ranked
	}
	if n := prompts * perPrompt * s.Samples; n > MaxItems {
		return fault.Field("prompts", "%d questions to ask, at most %d", n, MaxItems)
	}
	return nil
}

// Prompt is what outputs answer.
type Prompt struct {
	Place    int    `json:"place"`              // in the study, from 1
	Line     int    `json:"line"`               // where it began in what was pasted or uploaded, from 1
	Name     string `json:"name,omitempty"`     // its id in the set it comes from
	Text     string `json:"prompt"`             // what the user says last, with its context
	System   string `json:"system,omitempty"`   // instead of the setup's
	Category string `json:"category,omitempty"` // by which results are told apart; "" is none
	Problem  string `json:"problem,omitempty"`  // why it could not be decoded: it is left out

	History   []decode.Message           `json:"history,omitempty"`   // the conversation before it
	Turns     []string                   `json:"turns,omitempty"`     // all turns of the user's, where there are several: the first is asked
	Reference string                     `json:"reference,omitempty"` // an answer that the set it comes from has
	Other     map[string]json.RawMessage `json:"other,omitempty"`     // columns that it came with and nobody here asks for
}

// Key names the prompt in ratings.
func (p *Prompt) Key() string { return fmt.Sprintf("p%d", p.Place) }

// Output is one answer of the models: a cell of the study's experiment, or a text spoilt on purpose. It is planned
// when decoding begins.
type Output struct {
	ID     string  `json:"id"`               // random; in a file its number
	Prompt int     `json:"prompt"`           // its place
	Lambda float64 `json:"lambda"`           // that it was decoded at
	Sample int     `json:"sample"`           // samples have independent noise; that of same-λ trials follows those of the setup
	Seed   uint64  `json:"seed,string"`      // of its prompt's noise
	Broken bool    `json:"broken,omitempty"` // spoilt on purpose: another output with its words shuffled
	Source int     `json:"-"`                // index of the prompt in the experiment
	Done   bool    `json:"-"`                // it was decoded: Text is there
	Text   string  `json:"text"`
	Tokens int     `json:"tokens,omitempty"` // decoded, end token included
	Reason string  `json:"reason,omitempty"` // why it ended: stop or length
}

// Said is what annotators rate: the text without what the model thought.
func (o *Output) Said() string { return decode.Said(o.Text) }

// Side is the output as the statistics see it.
func (o *Output) Side() preference.Side { return preference.Side{Lambda: o.Lambda, Output: o.ID} }

// PromptSeed is the seed of a prompt's outputs. All λ of a prompt share it, so that they differ because
// of λ alone; prompts do not, so that no two are answered under the same noise.
func (s *Setup) PromptSeed(place int) uint64 {
	return experiment.PromptSeed(s.experimentSeed(), place-1)
}

// experimentSeed is the seed of an experiment of the study's own. A study counts its prompts from 1.
func (s *Setup) experimentSeed() uint64 { return experiment.NextSeed(s.secretSeed("noise")) }

// NewSecret is a study's Secret.
func NewSecret() string {
	b := make([]byte, sha256.Size)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// secretSeed is the seed for a use of it, by the secret: the first bytes of an HMAC (RFC 2104) of both.
func (s *Setup) secretSeed(use string) uint64 {
	if s.Secret == "" {
		return s.Seed
	}
	h := hmac.New(sha256.New, []byte(s.Secret))
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte(use), s.Seed)) // never fails
	return binary.BigEndian.Uint64(h.Sum(nil))
}
