package decode

import "fmt"

// Token is a position in a pair's shared vocabulary.
type Token int32

// Seq names one sequence of a model's cache, in [0, Limits.Sequences).
type Seq int32

// Row is one token of a forward pass.
type Row struct {
	Token Token // in the model's vocabulary
	Pos   int   // position of the token in its sequence, from 0
	Seq   Seq   // that it is appended to
	Want  bool  // whether the logits after this token are read

	Source int // of an encoder–decoder model: which of its sources the sequence attends to
}

// Limits is what one model's context was built for.
type Limits struct {
	Vocab     int // entries in the vocabulary: the length of a row of logits
	Train     int // tokens of context the model was trained for
	Cells     int // cache cells, shared by all sequences
	Batch     int // rows in one pass
	Sequences int // sequences held at once; a Seq is below it

	Forgets bool // whether a suffix of a sequence can be trimmed

	// Of encoder–decoder models, which are Encoders: how many sources they hold at once, and of how many tokens, and the token that a
	// decoded text begins with. Sources is 0 for other models.
	Sources      int
	SourceTokens int
	Start        Token
}

// Model is one set of weights with a cache of its own. It is used by one goroutine at a time.
//
// Positions of a sequence are contiguous from 0: a row continues its sequence or Forward returns an
// error and changes nothing.
type Model interface {
	Limits() Limits

	// Forward runs one pass over the rows. All of them or none enter the cache.
	Forward(rows []Row) error

	// Logits is the next-token logits after rows[i] of the last Forward, which had Want set: Vocab
	// values, valid until the next Forward, not to be written to.
	Logits(i int) []float32

	// Copy makes dst hold the first n positions of src, without copying any cell, and returns n; or 0, dst then
	// being empty, when the model cannot forget a suffix and n is not all of src. dst is emptied first.
	Copy(dst, src Seq, n int) int

	// Trim keeps the first n positions of a sequence; 0 empties it. It reports false when the model
	// cannot forget a suffix (recurrent models), and then leaves the sequence as it is unless n is 0.
	Trim(seq Seq, n int) bool

	// SetThreads says on how many threads the next passes run; 0 is what the model was opened with.
	SetThreads(n int)

	// Close frees the context. It is safe to call twice.
	Close() error
}

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// Vocabulary turns text into a pair's tokens and back. Its methods may be called from any goroutine.
type Vocabulary interface {
	Size() int // number of tokens: the largest of the pair's models

	// Encode tokenises text. With special set, special tokens written in the text are recognised as
	// such; otherwise they are plain characters.
	Encode(text string, special bool) ([]Token, error)

	// EncodeChat renders messages with the model's chat template, followed by the opening of an
	// assistant turn, and tokenises the result (with the start token the model expects, if any).
	// Text of a message never becomes a special token. It fails when the model has no template.
	EncodeChat(messages []Message) ([]Token, error)

	// EncodePlain tokenises a text to be completed, with the start token the model expects, if any.
	EncodePlain(text string) ([]Token, error)

	// Piece is the bytes a token stands for; they need not be whole UTF-8 characters. A control token's
	// piece is empty.
	Piece(Token) []byte

	// Name is a token as shown to a person: its piece, or its name for a control token.
	Name(Token) string

	// End reports whether a token ends a generation.
	End(Token) bool
}

// Spaced is a Vocabulary that may spell a text's first word with a space that the text does not have, as SentencePiece does.
// In a conversation that space belongs to the template: a reply's text is without it.
type Spaced interface {
	// FirstSpace reports whether the vocabulary does so.
	FirstSpace() bool
}

// Pair is a reference model and its aligned models. The engine calls Aligned on the goroutines of its callers,
// and the models' methods on its own.
type Pair interface {
	Vocabulary() Vocabulary

	// Reference is the model at λ = 0.
	Reference() Model

	// Aligned opens the named aligned model, once: later calls return the same one. The error is of
	// kind NotFound for an unknown name.
	Aligned(name string) (Model, error)

	// AlignedNames lists the aligned models in the order of the pair's manifest; the first is the default.
	AlignedNames() []string

	// Close closes every model that is open.
	Close() error
}

func (t Token) String() string { return fmt.Sprintf("token %d", int32(t)) }
