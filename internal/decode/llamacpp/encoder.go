package llamacpp

/*
#include "bridge.h"
*/
import "C"

import (
	"cmp"
	"math"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gguf"
)

// maxSources is how many sources an encoder–decoder model holds at once. What an encoder has read lies in its context and is overwritten by the
// next source, so each has a context of its own, on the same weights.
const maxSources = 4

// maxSource is the longest source that an encoder reads: it reads it in one pass, whose attention is as wide as it is long.
const maxSource = 4096

// findEncoder notes what is particular to an encoder–decoder model.
func (w *weights) findEncoder(path string) error {
	head, err := gguf.Open(path)
	if err != nil {
		return err
	}
	w.source = min(int(C.llama_model_n_ctx_train(w.pointer())), maxSource)
	if w.start() < 0 {
		return fault.New(fault.Invalid, "%s: no token begins the decoder's text: the file has neither decoder_start_token_id nor a padding token", path)
	}
	w.scale, err = logitScale(head)
	return err
}

// logitScale is what the logits of a T5 must be multiplied by. T5 1.0 has one matrix for the embeddings and the output, and multiplies what the
// decoder made by d^−½ before it (Raffel et al. 2020; Mesh TensorFlow's shared_embedding_and_softmax_weights). llama.cpp's graph and its
// conversion leave the factor out. T5 1.1, FLAN-T5 and UMT5 have a matrix of their own for the output, and no factor. A file may hold the
// shared matrix twice, and it may state the factor as t5.logit_scale, which goes before all this.
func logitScale(head *gguf.File) (float32, error) {
	if scale, ok := head.Metadata[head.Architecture()+".logit_scale"].(float32); ok {
		return scale, nil
	}
	tied, err := head.TiedOutput()
	if err != nil || !tied {
		return 1, err
	}
	width, _ := head.Integer(head.Architecture() + ".embedding_length")
	return float32(1 / math.Sqrt(float64(width))), nil
}

// start is the token that the decoder's text begins with, −1 if there is none.
func (w *weights) start() C.llama_token {
	if t := C.llama_model_decoder_start_token(w.pointer()); t >= 0 {
		return t
	}
	return C.llama_vocab_pad(w.vocabulary())
}

// newOwn makes a model that shares its context with no other: of the kind that its weights are.
func newOwn(w *weights, a *adapter, o Options) (decode.Model, error) {
	var m decode.Model
	var err error
	if w.source > 0 {
		m, err = newEncoderDecoder(w, a, o)
	} else {
		m, err = newModel(w, a, o)
	}
	if err != nil {
		return nil, err // and no interface that holds a nil pointer
	}
	return m, nil
}

// encoderDecoder is an encoder–decoder model: a context for each source, made when it is first needed. It is a decode.Encoder.
// Like every model it is used by one goroutine at a time.
type encoderDecoder struct {
	weights *weights      // of the pair, which closes them
	adapter *adapter      // on them, or nil
	options Options       // of each context
	limits  decode.Limits // of one context, with Sources

	contexts [maxSources]*Model // by source; nil until its source is encoded
	of       []int              // by sequence: the number of the source that it attends to
	threads  int                // of the next pass of each context
	closed   bool

	// Of the last pass, by row: the context and the row of it.
	in [][]decode.Row // by source: the rows that its context read
	at []place        // by row of the pass
}

// place is where a row of a pass went: to the context of a source, as which of its rows.
type place struct{ source, row int }

var _ decode.Encoder = (*encoderDecoder)(nil)

// newEncoderDecoder makes the context of source 0, to learn what contexts hold; those of the other sources come
// with them.
func newEncoderDecoder(w *weights, a *adapter, o Options) (*encoderDecoder, error) {
	m := &encoderDecoder{weights: w, adapter: a, options: o, of: make([]int, o.Sequences), threads: o.Threads, in: make([][]decode.Row, maxSources)}
	first, err := m.context(0)
	if err != nil {
		return nil, err
	}
	m.limits = first.limits
	m.limits.Sources, m.limits.SourceTokens, m.limits.Start = maxSources, w.source, decode.Token(w.start())
	return m, nil
}

// context is that of a source.
func (m *encoderDecoder) context(source int) (*Model, error) {
	if m.closed {
		return nil, errClosed
	}
	if m.contexts[source] == nil {
		c, err := newModel(m.weights, m.adapter, m.options)
		if err != nil {
			return nil, err
		}
		c.SetThreads(m.threads)
		m.contexts[source] = c
	}
	return m.contexts[source], nil
}

// Limits is what each context was built for.
func (m *encoderDecoder) Limits() decode.Limits { return m.limits }

// Encode reads a source in one pass.
func (m *encoderDecoder) Encode(source int, tokens []decode.Token) error {
	if source < 0 || source >= maxSources {
		return fault.New(fault.Internal, "source %d is not in [0, %d)", source, maxSources)
	}
	c, err := m.context(source)
	if err != nil {
		return err
	}
	return c.encode(tokens)
}

// encode reads a source with the encoder of a context.
func (m *Model) encode(tokens []decode.Token) error {
	if len(tokens) == 0 || len(tokens) > len(m.token) {
		return fault.New(fault.Internal, "a source of %d tokens, where 1 to %d can be read", len(tokens), len(m.token))
	}
	for i, t := range tokens {
		if t < 0 || int(t) >= m.limits.Vocab {
			return fault.New(fault.Invalid, "%v is not in the vocabulary of %d", t, m.limits.Vocab)
		}
		m.token[i] = C.llama_token(t)
	}
	m.rows = 0
	var result C.int32_t
	pass := func() { result = C.realign_encode(m.c, C.int32_t(len(tokens))) }
	if m.active > 1 {
		call(m.active, pass)
	} else {
		pass()
	}
	m.encoded = result == 0
	if result != 0 {
		return fault.New(fault.Internal, "llama_encode of %d tokens failed with %d", len(tokens), result)
	}
	return nil
}

// Forward runs a pass of each context that rows belong to. If one fails, none enter the caches.
func (m *encoderDecoder) Forward(rows []decode.Row) error {
	m.at = m.at[:0]
	for i := range m.in {
		m.in[i] = m.in[i][:0]
	}
	for _, row := range rows {
		if row.Source < 0 || row.Source >= maxSources || m.contexts[row.Source] == nil || !m.contexts[row.Source].encoded {
			return fault.New(fault.Internal, "a row of source %d, which was not read", row.Source)
		}
		m.at = append(m.at, place{row.Source, len(m.in[row.Source])})
		m.in[row.Source] = append(m.in[row.Source], row)
	}
	for source, some := range m.in {
		if len(some) == 0 {
			continue
		}
		if err := m.contexts[source].Forward(some); err != nil {
			m.at = m.at[:0]
			for before := range source {
				m.contexts[before].retract(m.in[before])
			}
			return err
		}
	}
	for _, row := range rows {
		m.of[row.Seq] = row.Source
	}
	return nil
}

// retract takes the rows of the last pass out of the cache.
func (m *Model) retract(rows []decode.Row) {
	for i := len(rows) - 1; i >= 0; i-- {
		m.Trim(rows[i].Seq, rows[i].Pos)
	}
}

// Logits is the logits after row i of the last pass, in memory of its context.
func (m *encoderDecoder) Logits(i int) []float32 {
	if i < 0 || i >= len(m.at) {
		return nil
	}
	return m.contexts[m.at[i].source].Logits(m.at[i].row)
}

// Copy makes dst hold the first n positions of src, and attend to its source.
func (m *encoderDecoder) Copy(dst, src decode.Seq, n int) int {
	if m.closed || !m.has(dst) || !m.has(src) {
		return 0
	}
	if m.of[dst] != m.of[src] {
		m.Trim(dst, 0)
		m.of[dst] = m.of[src]
	}
	c := m.contexts[m.of[src]]
	if c == nil {
		return 0
	}
	return c.Copy(dst, src, n)
}

// Trim keeps the first n positions of a sequence.
func (m *encoderDecoder) Trim(seq decode.Seq, n int) bool {
	if m.closed || !m.has(seq) || n < 0 {
		return false
	}
	c := m.contexts[m.of[seq]]
	return c == nil || c.Trim(seq, n)
}

// has reports whether the contexts have such a sequence.
func (m *encoderDecoder) has(seq decode.Seq) bool { return seq >= 0 && int(seq) < m.limits.Sequences }

// SetThreads says on how many threads the next passes run.
func (m *encoderDecoder) SetThreads(n int) {
	m.threads = cmp.Or(n, m.options.Threads)
	for _, c := range m.contexts {
		if c != nil {
			c.SetThreads(m.threads)
		}
	}
}

// Close frees the contexts.
func (m *encoderDecoder) Close() error {
	m.closed = true
	for i, c := range m.contexts {
		if c != nil {
			c.Close()
			m.contexts[i] = nil
		}
	}
	return nil
}
