// Package decodetest is a small deterministic pair of models for tests: its logits come from a table
// indexed by the last two tokens, so that everything it will say can be enumerated. It checks that it is
// used as a Model must be, and has nothing of a language.
package decodetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Tokens of the table's vocabulary. Letters follow them; Split1 and Split2 are the two bytes of "é".
const (
	Start decode.Token = iota // begins a prompt
	End                       // ends a generation
	Turn                      // between the messages of a conversation
	Split1
	Split2
	Letters // the first letter, 'a'
)

// Options change a table pair; the zero value is usable.
type Options struct {
	Seed      uint64        // of the tables: the same seed gives the same pair
	Letters   int           // letters in the vocabulary, 2 to 26; default 7
	Aligned   []string      // names of aligned models; default "warm" and "terse"
	Cells     int           // tokens of all sequences that a model holds; default 4096
	Context   int           // tokens of one sequence; default 512
	Batch     int           // rows of a pass; default 256
	Sequences int           // default 64
	Spread    float64       // standard deviation of the logits; default 1.5
	EndLogit  float64       // added to the end token's logit; negative makes texts long
	Delay     time.Duration // of every pass, for tests of streaming
	Spaced    bool          // letters are spelled with a space before them, as SentencePiece spells words
	Deep      bool          // logits depend on all tokens before, not on the last two
	Forbidden float64       // share of tokens, never the first two letters or the end, that a model gives −∞ after two others; default 0

	Sources   int                        // makes the models encoder–decoder ones that hold so many sources
	Contrasts map[string]decode.Contrast // aligned models that are the reference with another prompt
	Untuned   map[string]string          // names of the untuned models of aligned ones that are proxies
	Sizes     map[string]int             // tokens of models that have fewer than the pair's vocabulary; "reference" is one
}

// Pair is a decode.Pair over tables. It may be handed to one engine.
type Pair struct {
	options   Options
	reference *Model
	aligned   map[string]*Model // those that were opened, by name
	mu        sync.Mutex        // guards aligned
}

// New makes a pair.
func New(o Options) *Pair {
	set := func(x *int, to int) {
		if *x == 0 {
			*x = to
		}
	}
	set(&o.Letters, 7)
	set(&o.Cells, 4096)
	set(&o.Context, 512)
	set(&o.Batch, 256)
	set(&o.Sequences, 64)
	if o.Spread == 0 {
		o.Spread = 1.5
	}
	if o.Aligned == nil {
		o.Aligned = []string{"warm", "terse"}
	}
	p := &Pair{options: o, aligned: map[string]*Model{}}
	p.reference = p.model(0, p.size("reference"))
	return p
}

// model makes the model of a table, of n tokens. Index 0 is the reference's.
func (p *Pair) model(index uint64, n int) *Model {
	o := p.options
	m := &Model{
		limits: decode.Limits{
			Vocab: n, Train: o.Context, Cells: o.Cells, Batch: o.Batch, Sequences: o.Sequences, Forgets: true,
			Sources: o.Sources, SourceTokens: o.Context, Start: Start,
		},
		encoder: newEncoder(o), delay: o.Delay, deep: o.Deep || o.Sources > 0, table: make([][]float32, n*n), seqs: make([][]cell, o.Sequences),
	}
	random := rand.New(rand.NewPCG(o.Seed, index))
	for i := range m.table {
		m.table[i] = make([]float32, n)
		for v := range m.table[i] {
			m.table[i][v] = float32(o.Spread * random.NormFloat64())
		}
		m.table[i][Start] -= 30 // never seen again
		m.table[i][Turn] -= 30
		m.table[i][End] += float32(o.EndLogit)
	}
	if o.Forbidden > 0 { // after the logits, which stay what they are without
		for _, row := range m.table {
			for v := range row {
				if decode.Token(v) != End && decode.Token(v) != Letters && decode.Token(v) != Letters+1 && random.Float64() < o.Forbidden {
					row[v] = float32(math.Inf(-1))
				}
			}
		}
	}
	return m
}

// Size is the number of tokens.
func (p *Pair) Size() int { return int(Letters) + p.options.Letters }

// Vocabulary returns the pair itself.
func (p *Pair) Vocabulary() decode.Vocabulary { return p }

// Reference is the model at λ = 0.
func (p *Pair) Reference() decode.Model { return p.reference }

// Table is the reference model, for tests that reach into it.
func (p *Pair) Table() *Model { return p.reference }

// AlignedNames lists the aligned models.
func (p *Pair) AlignedNames() []string { return slices.Clone(p.options.Aligned) }

// Aligned makes an aligned model at its first use.
func (p *Pair) Aligned(name string) (decode.Model, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.names(), name)
	if i < 0 {
		return nil, fault.New(fault.NotFound, "no aligned model is called %q", name)
	}
	if p.aligned[name] == nil {
		p.aligned[name] = p.model(p.table(name, i), p.size(name))
	}
	return p.aligned[name], nil
}

// Close does nothing.
func (p *Pair) Close() error { return nil }

// Encode reads letters, "é" and, with special set, "|" as Turn; anything else is an Invalid error.
func (p *Pair) Encode(text string, special bool) ([]decode.Token, error) {
	var tokens []decode.Token
	for _, r := range text {
		switch {
		case r == 'é':
			tokens = append(tokens, Split1, Split2)
		case r == '|' && special:
			tokens = append(tokens, Turn)
		case 'a' <= r && int(r-'a') < p.options.Letters:
			tokens = append(tokens, Letters+decode.Token(r-'a'))
		case strings.ContainsRune(" \n?.,!", r):
		default:
			tokens = append(tokens, Letters+decode.Token(int(r)%p.options.Letters))
		}
	}
	return tokens, nil
}

// EncodeChat puts Turn before each message and after the last.
func (p *Pair) EncodeChat(messages []decode.Message) ([]decode.Token, error) {
	tokens := []decode.Token{Start}
	for _, m := range messages {
		t, err := p.Encode(m.Content, false)
		if err != nil {
			return nil, err
		}
		tokens = append(append(tokens, Turn), t...)
	}
	return append(tokens, Turn), nil
}

// EncodePlain puts Start before the text, or End behind it for encoder–decoder models.
func (p *Pair) EncodePlain(text string) ([]decode.Token, error) {
	t, err := p.Encode(text, false)
	if p.options.Sources > 0 {
		return p.EndPrompt(t), err
	}
	return append([]decode.Token{Start}, t...), err
}

// Piece is the bytes of a token.
func (p *Pair) Piece(t decode.Token) []byte {
	switch {
	case t == Split1:
		return []byte("é")[:1]
	case t == Split2:
		return []byte("é")[1:]
	case t >= Letters && p.options.Spaced:
		return []byte{' ', 'a' + byte(t-Letters)}
	case t >= Letters:
		return []byte{'a' + byte(t-Letters)}
	}
	return nil
}

// FirstSpace is the option Spaced.
func (p *Pair) FirstSpace() bool { return p.options.Spaced }

// Name shows a token.
func (p *Pair) Name(t decode.Token) string {
	switch t {
	case Start:
		return "<start>"
	case End:
		return "<end>"
	case Turn:
		return "<turn>"
	case Split1, Split2:
		return fmt.Sprintf("<0x%02X>", p.Piece(t)[0])
	}
	return string(p.Piece(t))
}

// End reports whether t ends a generation.
func (p *Pair) End(t decode.Token) bool { return t == End }

// Model is one table with a cache that only checks its use. It is used by one goroutine at a time, as decode.Model says,
// and panics where two passes are made at once.
type Model struct {
	limits  decode.Limits
	table   [][]float32 // rows of logits [n·n][n], by the last two tokens; with deep by a hash of all
	deep    bool
	delay   time.Duration
	seqs    [][]cell     // by sequence: what it holds
	encoder *encoder     // nil for a model without one
	next    int          // id of the next new cell
	rows    []decode.Row // of the last pass
	busy    atomic.Bool  // while a pass is made

	// FailAt makes the pass of that number (from 1) return an error; NaNAt makes it produce NaN.
	FailAt, NaNAt int
	passes        int // so far, those that failed included
}

// cell is one cached token; copies of a sequence hold the same cells.
type cell struct {
	id    int
	token decode.Token
}

// Limits are the options' limits.
func (m *Model) Limits() decode.Limits { return m.limits }

// Forward checks the rows as llama.cpp would and caches them.
func (m *Model) Forward(rows []decode.Row) error {
	if !m.busy.CompareAndSwap(false, true) {
		panic("decodetest: two passes of one model at once")
	}
	defer m.busy.Store(false)
	m.passes++
	if m.passes == m.FailAt {
		return fmt.Errorf("pass %d was made to fail", m.passes)
	}
	if len(rows) == 0 || len(rows) > m.limits.Batch {
		return fmt.Errorf("%d rows in a pass, where 1 to %d are allowed", len(rows), m.limits.Batch)
	}
	for _, r := range rows {
		if r.Seq < 0 || int(r.Seq) >= len(m.seqs) {
			return fmt.Errorf("sequence %d of %d", r.Seq, len(m.seqs))
		}
		if r.Pos != len(m.seqs[r.Seq]) {
			return fmt.Errorf("position %d does not continue sequence %d of length %d", r.Pos, r.Seq, len(m.seqs[r.Seq]))
		}
		if r.Token < 0 || int(r.Token) >= m.limits.Vocab {
			return fmt.Errorf("token %d of %d", r.Token, m.limits.Vocab)
		}
		if r.Pos >= m.limits.Train {
			return fmt.Errorf("position %d is outside the context of %d", r.Pos, m.limits.Train)
		}
		if err := m.attend(r); err != nil {
			return err
		}
		m.seqs[r.Seq] = append(m.seqs[r.Seq], cell{m.next, r.Token})
		m.next++
	}
	held := 0 // no less than the cells used, and cheap
	for _, seq := range m.seqs {
		held += len(seq)
	}
	if held > m.limits.Cells {
		if used := m.Used(); used > m.limits.Cells {
			return fmt.Errorf("%d cells used of %d", used, m.limits.Cells)
		}
	}
	m.rows = append(m.rows[:0], rows...)
	time.Sleep(m.delay)
	return nil
}

// Logits looks the last two tokens up.
func (m *Model) Logits(i int) []float32 {
	r := m.rows[i]
	if !r.Want {
		panic("decodetest: logits of a row that did not want them")
	}
	seq := m.seqs[r.Seq]
	history := make([]decode.Token, r.Pos+1)
	for i := range history {
		history[i] = seq[i].token
	}
	row := m.After(slices.Concat(m.source(r.Seq), history))
	if m.passes == m.NaNAt {
		row = slices.Clone(row)
		row[len(row)-1] = float32(math.NaN())
	}
	return row
}

// Next is the row of logits after two tokens.
func (m *Model) Next(before, last decode.Token) []float32 {
	return m.table[int(before)*m.limits.Vocab+int(last)]
}

// Copy shares the first n cells of src with dst.
func (m *Model) Copy(dst, src decode.Seq, n int) int {
	m.seqs[dst] = append(m.seqs[dst][:0:0], m.seqs[src][:n]...)
	if m.encoder != nil {
		m.encoder.of[dst] = m.encoder.of[src]
	}
	return n
}

// Trim keeps the first n cells.
func (m *Model) Trim(seq decode.Seq, n int) bool {
	m.seqs[seq] = m.seqs[seq][:min(n, len(m.seqs[seq]))]
	return true
}

// SetThreads does nothing.
func (m *Model) SetThreads(int) {}

// Used counts the distinct cells in use.
func (m *Model) Used() int {
	seen := map[int]bool{}
	for _, seq := range m.seqs {
		for _, c := range seq {
			seen[c.id] = true
		}
	}
	return len(seen)
}

// Passes is how many passes were made.
func (m *Model) Passes() int { return m.passes }

// Close does nothing.
func (m *Model) Close() error { return nil }
