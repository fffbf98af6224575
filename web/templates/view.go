// Package templates holds the pages: templ components, and the view models that they take. It knows
// nothing of the store, the decoder or HTTP; handlers fill the structs in this file.
package templates

import (
	"strconv"
	"time"

	"github.com/a-h/templ"
)

// Layout is what every page has around its content.
type Layout struct {
	Title string // of the page, without the product's name
	Nav   string // which entry of the navigation is current: "playground", "sessions", "studies", "shares", "sweeps", "pairs" or ""
	CSRF  string // value of the hidden _csrf field and of <meta name="csrf-token">
	Theme string // "light" or "dark" from the cookie "theme"; anything else follows the system
	Build string // version of the program, for the footer
	Toast *Toast // shown once, or nil

	Description string // <meta name="description">
	OpenGraph   *OpenGraph
	NoIndex     bool // asks robots to stay away
	LoggedIn    bool // there is a login to end: shows "Log out", a POST to /logout
}

// OpenGraph is what a link preview shows. URLs are absolute.
type OpenGraph struct {
	Title, Description, URL, Image, ImageAlt string
}

// Toast tells what a form has done, and offers to undo it.
type Toast struct {
	Text  string
	Error bool
	Undo  string // path that a POST undoes it at: "/sessions/{id}/restore"; "" if it cannot be undone
}

// Playground is "/" and "/s/{id}": one run on the bench, and the runs of its session beside it.
type Playground struct {
	Layout
	Session *SessionItem // nil on "/": a session begins with the first run
	History History      // runs of the session, and sessions
	Run     *Run         // the run shown; nil: only the draft
	Draft   Draft        // what the form starts with; the run's own parameters where there is a run
	Pairs   []PairOption // pairs to choose from; empty: there are none, and the page says how to add one
	Limits  Limits
	Fork    *Fork // the comparison that the draft was taken from ("/?from=c:{token}"), or nil

	Example *Example // a finished map to begin with, where there is nothing of one's own; or nil
	Lanes   bool     // lanes side by side are shown, not the slider
	Begin   bool     // what the draft asks for is decoded as the page opens
}

// Example is a map that was decoded before, for somebody who has none yet.
type Example struct {
	Pair   string
	Prompt string // that it was decoded for
	Seed   string // in decimal
	Map    *Map
}

// Fork names the comparison that a draft was taken from.
type Fork struct {
	Title, URL string
}

// Limits are the largest values the server accepts.
type Limits struct {
	Lanes       int     `json:"lanes"`        // of a run
	PromptBytes int     `json:"prompt_bytes"` // of a prompt with all before it
	MaxTokens   int     `json:"max_tokens"`   // of a lane
	LambdaMin   float64 `json:"lambda_min"`   // smallest λ of a lane
	LambdaMax   float64 `json:"lambda_max"`
	Fields      []Bound `json:"fields"`
}

// Bound is the range of a number field, as the server checks it.
type Bound struct {
	Field string  `json:"field"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Whole bool    `json:"whole,omitempty"` // only whole numbers
}

// bounds are the attributes of a number field of the playground.
func (l *Limits) bounds(field string) templ.Attributes { return bounds(l.Fields, field) }

// bounds are the attributes of a number field that hold its range.
func bounds(fields []Bound, field string) templ.Attributes {
	for _, b := range fields {
		if b.Field == field {
			step := "any"
			if b.Whole {
				step = "1"
			}
			text := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
			return templ.Attributes{"min": text(b.Low), "max": text(b.High), "step": step}
		}
	}
	return templ.Attributes{"step": "any"}
}

// PairOption is a pair in the chooser.
type PairOption struct {
	Name     string         `json:"name"`
	Title    string         `json:"title"` // shown; the name if ""
	State    string         `json:"state"` // idle, starting, loading, ready, restarting, failed; those not installed are left out
	About    string         `json:"about"` // the first sentence of its description
	Aligned  []AlignedModel `json:"aligned"`
	Sampling Sampling       `json:"sampling"` // what it recommends
	Pace     float64        `json:"-"`        // tokens a second that it was decoded at in the background last; 0 is unknown
}

// AlignedModel is one aligned model of a pair.
type AlignedModel struct {
	Name        string  `json:"name"`
	Title       string  `json:"title"`    // shown; the name if ""
	Description string  `json:"-"`        // a sentence or two
	About       string  `json:"about"`    // the first of them
	Reward      string  `json:"-"`        // what it was trained for, in words
	Beta        float64 `json:"beta"`     // KL strength of its training; 0 is unknown
	Default     bool    `json:"default"`  // used when a request names none
	Kind        string  `json:"kind"`     // model, adapter, proxy, system prompt or context
	Contrast    string  `json:"contrast"` // what its prompt has beyond the reference's; "" for a model of its own
}

// Draft is a run that has not been started.
type Draft struct {
	Pair         string
	Aligned      []string // names; empty: the pair's default
	System       string
	Prompt       string
	Mode         string    // "chat" or "plain"
	Parent       *Parent   // the lane that the conversation goes on from, or nil
	History      []Message // conversation before the prompt, where it comes from a comparison: sent as spec.history
	Lanes        []DraftLane
	Map          *DraftMap // interval of the map it was taken from, or nil
	Sampling     Sampling
	Seed         string   // decimal; "" lets the page roll one
	Alternatives int      // most probable tokens that the trace has
	Contrast     string   // in place of the pair's; "" is the pair's
	Special      bool     // spellings of special tokens in a text count as such
	Variables    []string // of the chat template, NAME=VALUE each
}

// DraftMap is the interval of λ that the form offers to map.
type DraftMap struct {
	From, To float64
	Line     *MapLine // From and To are then places on it
	Branches int      // most texts that are followed
}

// DraftLane is a column before it runs.
type DraftLane struct {
	Lambda []float64 // one per aligned model
	Sample int
	Mix    string  // as Lane has it
	Prefix []int32 // tokens it starts with, sent as lane.prefix
}

// Parent is the lane whose conversation a run continues.
type Parent struct {
	Run  string
	Lane int
}

// Sampling mirrors decode.Sampling: its fields mean the same.
type Sampling struct {
	MaxTokens        int      `json:"max_tokens"`
	Temperature      float64  `json:"temperature"`
	TopK             int      `json:"top_k"`
	TopP             float64  `json:"top_p"`
	MinP             float64  `json:"min_p"`
	RepeatPenalty    float64  `json:"repeat_penalty"`
	PresencePenalty  float64  `json:"presence_penalty"`
	FrequencyPenalty float64  `json:"frequency_penalty"`
	PenaltyWindow    int      `json:"penalty_window"`
	Exact            int      `json:"exact"`
	Stop             []string `json:"stop"`
	IgnoreEnd        bool     `json:"ignore_end"`
}

// History is the list beside the bench.
type History struct {
	CSRF     string
	Session  string // shown; "" is none
	Run      string // shown
	Path     string // of the page that it is on
	Query    string // what was searched; "" is all
	Runs     []RunItem
	Sessions []SessionItem
	More     bool // there are older sessions
}

// RunItem is a run in the list beside the bench.
type RunItem struct {
	ID      string
	Number  int    // in its session, from 1
	Title   string // that its owner gave; "" is none
	Pinned  bool
	Pair    string
	Prompt  string   // whole; shortened where it is shown
	Lambdas []string // formatted by FormatLambda
	Map     string   // its interval, of a map; "" else
	Seed    string   // in decimal
	Status  string   // running, ended, failed
	At      time.Time
}

// Run is a run with all that was decoded.
type Run struct {
	ID       string
	Status   string // running, ended, failed
	Seq      int    // number of its last event
	SpecJSON string // run.Spec as JSON, for the controllers
	Pair     string
	Aligned  []AlignedModel // with β, for the effective β of a lane
	Mode     string         // "chat" or "plain"
	System   string         // system prompt
	History  []Message      // conversation before the prompt
	Prompt   string
	Lanes    []Lane // by number
	Map      *Map   // instead of lanes
	Sampling Sampling
	Seed     string
	Files    []File // of the models that decoded it
	Build    string // of the server that decoded it
	At       time.Time

	PromptTokens []int32 // empty until known

	Origin Origin // where it was decoded
}

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // system, user, assistant
	Content string `json:"content"`
}

// speaker names whose turn it is.
func (m Message) speaker() string {
	if m.Role == "assistant" {
		return "Assistant"
	}
	return "User"
}

// Lane is one column of a run.
type Lane struct {
	Index  int
	Lambda []float64 // as it was started
	Sample int
	Mix    string // "weights": λ is in the weights of the model; "": in the logits
	Prefix int    // how many of its first tokens were given, not chosen
	Tokens []Token
	Tail   string // text that only its end released; belongs to no token
	Reason string // stop, length, cancelled, error; "" while it runs
	Error  string // message, with reason error
	Trust  string // how far it may be from a whole reply at its λ; "" where there is nothing to say
}

// Token is one token of a lane. Numbers that were not recorded are left zero with Traced false.
type Token struct {
	ID     int32
	Text   string    // characters it completed; may be ""
	Name   string    // as shown where Text is not it
	Lambda []float64 // that it was chosen at
	Traced bool

	Reference, Aligned, Mixture float64 // log-probabilities of it; Aligned of the first aligned model
	KL                          float64 // KL(π_λ ‖ π_ref) at its prefix, nats
}

// File is one model file of a pair.
type File struct {
	Role   string // "reference", or the aligned model's name
	Name   string
	SHA256 string
	Bytes  int64 // 0 is unknown
}

// SessionItem is a session in the list and in the heading of its page.
type SessionItem struct {
	ID, Title string
	Pinned    bool
	Pair      string // of its newest run
	Lambdas   string // of its newest run, in words
	Runs      int    // how many
	Created   time.Time
	Updated   time.Time
}

// SessionList is "/sessions".
type SessionList struct {
	Layout
	ImportError string // what is wrong with a file that was to be imported
	Query       string
	Sessions    []SessionItem
	Next        string // cursor of the next page ("after"), "" at the end
}

// Comparison is "/c/{token}": a frozen run for anybody with the link.
type Comparison struct {
	Layout
	Path    string // "/c/{token}"
	Title   string
	Created time.Time
	Expires time.Time // zero: never
	Run     Run
	ShareID string // set for its owner, who may revoke it; "" for others

	Verified time.Time // when it was last decoded again and came out the same; zero if never

	Verification *Verification // what the Verify form found, or nil
}

// Origin is where what a page shows was decoded, as far as signatures tell.
type Origin struct {
	Kind   string // here, signed, unsigned, altered, unknown, as run.Origin has it
	Digest string // SHA-256 over all that is shown; "" without a signature
	Key    string // of the server that signed it
}

// Verification is what decoding a comparison again showed. It is also the JSON answer of
// POST /c/{token}/verify.
type Verification struct {
	Identical bool    `json:"identical"`
	Lanes     int     `json:"lanes"`              // compared
	Tokens    int     `json:"tokens"`             // compared, all lanes
	Branches  int     `json:"branches,omitempty"` // of a map, compared; Lane is then a branch
	Tolerance float64 `json:"tolerance"`          // nats that numbers may be apart
	Deviation float64 `json:"deviation"`          // the most by which one of a token was apart, in nats
	What      string  `json:"what,omitempty"`     // the rest: the first difference, as share.Verdict has it
	Lane      int     `json:"lane"`               // or text of a map, from 0; -1 for what belongs to none
	Index     int     `json:"index"`              // of a token, from 0; -1 for what belongs to none
	Stored    string  `json:"stored"`             // as the comparison shows it; of a token "" where the lane had ended
	Decoded   string  `json:"decoded"`            // as it was decoded now
	Note      string  `json:"note,omitempty"`     // a reason to expect a difference, such as other files or another build
	Error     string  `json:"error,omitempty"`    // why it could not be decoded again; the rest is then empty
}

// ShareList is "/shares": the links that the viewer made.
type ShareList struct {
	Layout
	Shares []Share
	New    *Share // just made: the only time its address is known, since tokens are stored hashed
}

// Share is one link.
type Share struct {
	ID      string
	Title   string
	Prompt  string // its beginning
	URL     string // absolute; known only when just made
	Session string // id of the session it was taken from, "" if that is gone
	Run     string // "" of a study's results
	Study   string // whose results it shows, or ""
	Sweep   string // that it shows, or ""
	Created time.Time
	Expires time.Time // zero: never
	Revoked time.Time // zero: it is not
	Expired bool      // its time is over
}

// KeyList is "/keys".
type KeyList struct {
	Layout
	Keys []Key
	New  *NewKey // just made: the only time it is known, since keys are stored hashed
}

// NewKey is a key that was just made.
type NewKey struct {
	Name   string
	Secret string
	Base   string // absolute address of the API
}

// Key is a key with which a program uses the API. Limits of 0 are none.
type Key struct {
	ID       string
	Name     string
	State    string // good, expired or revoked
	Created  time.Time
	Expires  time.Time // zero: never
	Revoked  time.Time // zero: it is not
	Used     time.Time // zero: never
	Requests int       // a minute
	Tokens   int       // a minute
	Lanes    int       // at the same time
}

// PairList is "/pairs".
type PairList struct {
	Layout
	Pairs  []PairItem
	Known  []KnownPair // the catalogue
	Manage *PairManage // nil for those who may only look
}

// PairItem is one pair and the state of its worker.
type PairItem struct {
	Name     string
	Title    string
	State    string  // of its worker, as PairOption has it, and "not installed"
	Progress float64 // from 0 to 1 while loading
	Message  string  // the worker's last error, or ""
	Restarts int     // since the server started
	Default  bool
	Aligned  []AlignedModel
	Licence  string // SPDX expression or words; "" is unknown
	Bytes    int64  // all files together
}

// PairPage is "/pairs/{name}".
type PairPage struct {
	Layout
	Pair        PairItem
	Description string // plain text, paragraphs parted by empty lines
	Source      string // where it comes from, plain text or a URL
	Files       []File
	Findings    []Fact // in what its models differ, by model, with the level before the words
	Facts       []Fact // architecture, vocabulary, context length and the like
	Placement   []Fact // which layers of each model are on which devices; empty until it is loaded
	Card        string // model card as plain text; "" if there is none

	Template, TemplateFrom string // the chat template, and whose it is; "" if there is none
	Checkable, Removable   bool   // by the viewer
	CheckLines             string // what a check has just found
}

// Fact is one line of a table of facts.
type Fact struct {
	Name, Value string
}

// Error is the page for a failed request.
type Error struct {
	Layout
	Status     int    // of HTTP
	Code       string // a fault kind
	Message    string
	Field      string // the input at fault, or ""
	RetryAfter int    // seconds, 0 if it says nothing
	Request    string // id to quote
}

// Login is "/login".
type Login struct {
	Layout
	Next    string // path to go on to
	Message string // why the last try failed, or ""
}
