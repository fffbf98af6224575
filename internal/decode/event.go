package decode

import "realign/internal/fault"

// Event types, in the order in which a run may see them.
const (
	EventStart  = "start"  // the request was taken: prompt tokens are known
	EventPrompt = "prompt" // progress of reading the prompt
	EventToken  = "token"  // one token of one lane
	EventLambda = "lambda" // a lane's λ was moved
	EventEnd    = "end"    // one lane ended
	EventStats  = "stats"  // the request ended: the last event of it
	EventFork   = "fork"   // λ-map: where the texts on both sides of a λ part
	EventBranch = "branch" // λ-map: one continuation is complete
	EventStep   = "step"   // live λ-map: one token of all continuations on a span
	EventScore  = "score"  // score: what is said about one token of the prompt, or, last, about the one that follows
	EventLanes  = "lanes"  // lanes were added to the run; written by whoever keeps the run's log
)

// Reasons why a lane ended.
const (
	EndStop      = "stop"      // an end token or a stop string
	EndLength    = "length"    // the token limit or the context was reached
	EndCancelled = "cancelled" // somebody stopped it
	EndError     = "error"     // see Error
)

// Event is what a run tells as it goes. Its JSON form is the line that `decode --json` prints and the `event`
// of the socket protocol. Log-probabilities are natural logarithms of the distributions before temperature and
// truncation. Which fields are set depends on the type: comments name it.
type Event struct {
	Type string `json:"type"` // see EventStart and those after it
	Lane int    `json:"lane"` // number of the lane in its run

	Lambda Vector `json:"lambda,omitempty"` // token, lambda: λ in force
	Sample int    `json:"sample"`           // number of the sample: what the noise is made from, beside seed and position
	Index  int    `json:"index"`            // token: its number in the lane; lambda: of the first token at the new λ; end: tokens decoded

	ID          Token    `json:"id"`                     // token: in the pair's vocabulary
	Text        string   `json:"text"`                   // characters this token completed; "" while a character is unfinished
	Name        string   `json:"name,omitempty"`         // token as shown, when Text is not it
	Bytes       []byte   `json:"bytes,omitempty"`        // that the token stands for, where the trace asks for them
	Logp        *Logp    `json:"logp,omitempty"`         // of the token, under each distribution
	Top         *Top     `json:"top,omitempty"`          // alternatives
	KLReference *float64 `json:"kl_reference,omitempty"` // KL(π_λ ‖ π_ref) at this prefix, nats
	KLAligned   Vector   `json:"kl_aligned,omitempty"`   // KL(π_λ ‖ π_al), one per aligned model
	LogZ        *float64 `json:"log_z,omitempty"`        // local normaliser log Σ π_ref^{1−λ} π_al^λ

	Reason string `json:"reason,omitempty"` // end: see EndStop and those after it
	Error  *Error `json:"error,omitempty"`  // end with reason error

	Totals *Totals `json:"totals,omitempty"` // end of a lane, where the request asks for them
	Exact  *Exact  `json:"exact,omitempty"`  // end of a lane that had particles

	Prompt *PromptProgress `json:"prompt,omitempty"` // start, prompt
	Fork   *Fork           `json:"fork,omitempty"`   // fork
	Branch *Branch         `json:"branch,omitempty"` // branch
	Span   *Span           `json:"span,omitempty"`   // step; Index, ID and Text are its token's
	Scored *Scored         `json:"scored,omitempty"` // score; Index is the token's place in the prompt
	Stats  *Stats          `json:"stats,omitempty"`  // stats; flattened by the CLI
	Lanes  []Lane          `json:"lanes,omitempty"`  // lanes
}

// Logp is the log-probability of one token under the reference, the aligned models and their mixture, in nats.
// Where λ is in the weights only the mixture is known: the reference's is NaN, null in JSON.
type Logp struct {
	Reference float64 `json:"reference"` // under π_ref
	Aligned   Vector  `json:"aligned"`   // one per aligned model
	Mixture   float64 `json:"mixture"`   // under π_λ
}

// Top lists the most probable tokens of each distribution, best first.
type Top struct {
	Reference []Alternative   `json:"reference"`
	Aligned   [][]Alternative `json:"aligned"` // one list per aligned model
	Mixture   []Alternative   `json:"mixture"`
}

// Alternative is a token that could have been chosen.
type Alternative struct {
	ID   Token   `json:"id"`   // in the pair's vocabulary
	Name string  `json:"name"` // see Vocabulary.Name
	Logp float64 `json:"logp"` // in nats, under the distribution of the list
}

// Error is why a lane failed.
type Error struct {
	Code    string `json:"code"`    // a fault.Kind
	Message string `json:"message"` // for people
}

// EndWithError is the end of a lane that is decoded no further, told by whoever notices it when the engine cannot. index is how many
// tokens the lane has.
func EndWithError(l Lane, index int, cause *fault.Error) Event {
	return Event{
		Type: EventEnd, Lane: l.Index, Sample: l.Sample, Lambda: l.Lambda, Index: index,
		Reason: EndError, Error: &Error{Code: string(cause.Kind), Message: cause.Message},
	}
}

// PromptProgress tells how much of the prompt has been read.
type PromptProgress struct {
	Tokens []Token  `json:"tokens,omitempty"` // start: the prompt as tokens
	Pieces [][]byte `json:"pieces,omitempty"` // start of a request that only encodes: the bytes of each

	// Aligned are the prompts of the aligned models, where one is another than the reference's; null stands for the reference's.
	Aligned [][]Token `json:"aligned,omitempty"`

	// Names are the tokens as they are shown, of the reference's prompt and then of each of Aligned: of a request that only encodes.
	Names [][]string `json:"names,omitempty"`

	// Seed is the one that the noise is made from, where the request is SeedByPrompt; start only.
	Seed  *uint64 `json:"seed,string,omitempty"`
	Total int     `json:"total"` // tokens of the longest prompt that a model reads
	Done  int     `json:"done"`  // prompt: tokens read so far, of Total
}

// Stats is what a request cost, told when it ends.
type Stats struct {
	PromptTokens int              `json:"prompt_tokens"` // tokens of the longest prompt that a model read
	Cached       int              `json:"cached"`        // of them, read already for an earlier request of the same owner
	Tokens       int              `json:"tokens"`        // tokens emitted on all lanes
	Rows         map[string]int64 `json:"rows"`          // rows decoded per model, prompt included: "reference", "aligned"
	Passes       map[string]int64 `json:"passes"`        // forward passes that had rows of this request
	Accepted     int64            `json:"accepted"`      // drafted tokens that were chosen: each saved a pass
	Rejected     int64            `json:"rejected"`      // drafted tokens that were not: each cost a row that is not in Rows
	Seconds      float64          `json:"seconds"`       // from queueing to the end, so waiting counts
}
