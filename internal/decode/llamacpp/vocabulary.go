package llamacpp

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"realign/internal/decode"
	"realign/internal/fault"
)

// maxText is the longest text that is tokenised, in bytes: far more than fits any context.
const maxText = 8 << 20

// vocabulary is a decode.Vocabulary. It may be used from several goroutines at once, until its pair is
// closed.
type vocabulary struct {
	weights *weights                // the reference's
	pieces  []byte                  // of all tokens, one after another
	ends    []int64                 // by token: where its piece ends in pieces, and the next one's begins
	last    []bool                  // by token: whether it ends a generation
	start   decode.Token            // the token a prompt starts with, or -1
	closing decode.Token            // the token a prompt ends with, or -1
	names   map[decode.Token]string // of tokens without a piece
	special []special               // tokens that must not arise from a message's content, longest first
	chat    *chat                   // nil when the model has no template
	spaced  bool                    // see FirstSpace
}

// special is a token that stands for something other than its spelling.
type special struct {
	token decode.Token
	text  string // as the vocabulary writes it
}

// newVocabulary reads all tokens of a model once. template is the source of its chat template, "" if it has none.
func newVocabulary(w *weights, template string) *vocabulary {
	v := w.vocabulary()
	n := int(C.llama_vocab_n_tokens(v))
	vocab := &vocabulary{weights: w, ends: make([]int64, n), last: make([]bool, n), names: map[decode.Token]string{}, start: -1, closing: -1}
	for size := int64(16 * n); int64(len(vocab.pieces)) < size; {
		vocab.pieces = make([]byte, size)
		size = int64(C.realign_pieces(v, (*C.char)(unsafe.Pointer(&vocab.pieces[0])), C.int64_t(size),
			(*C.int64_t)(&vocab.ends[0]), (*C.bool)(&vocab.last[0])))
	}
	if w.source > 0 {
		vocab.closing = decode.Token(C.llama_vocab_eos(v))
	}
	vocab.spaced = w.source > 0 || C.llama_vocab_type(v) == C.LLAMA_VOCAB_TYPE_SPM && w.metadata("tokenizer.ggml.add_space_prefix") != "false"
	if w.model.AddBOSToken() {
		vocab.start = decode.Token(C.llama_vocab_bos(v))
	}
	const control = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN
	for t := range n {
		if token := decode.Token(t); len(vocab.Piece(token)) == 0 {
			vocab.names[token] = vocab.spelling(token)
		}
		if C.realign_attributes(v, C.llama_token(t))&control != 0 {
			vocab.special = append(vocab.special, special{decode.Token(t), vocab.spelling(decode.Token(t))})
		}
	}
	longestFirst(vocab.special)
	vocab.chat = newChat(template, vocab.spell(C.llama_vocab_bos(v)), vocab.spell(C.llama_vocab_eos(v)))
	return vocab
}

// spell is a special token's spelling, "" when the model has no such token.
func (v *vocabulary) spell(t C.llama_token) string {
	if t < 0 || int(t) >= v.Size() {
		return ""
	}
	return v.spelling(decode.Token(t))
}

// spelling is a token as it is written in the vocabulary.
func (v *vocabulary) spelling(t decode.Token) string {
	return C.GoString(C.realign_spelling(v.weights.vocabulary(), C.llama_token(t)))
}

// FirstSpace reports whether the vocabulary is SentencePiece's and puts a space before a text, so that a text's first word is spelled
// with one, or an encoder–decoder model's, whose text is one of its own.
func (v *vocabulary) FirstSpace() bool { return v.spaced }

// Size is the number of tokens.
func (v *vocabulary) Size() int { return len(v.ends) }

// Encode tokenises text, without adding a start token.
func (v *vocabulary) Encode(text string, special bool) ([]decode.Token, error) {
	if len(text) > maxText {
		return nil, fault.New(fault.Invalid, "the text is %d bytes long, the limit is %d", len(text), maxText)
	}
	if text == "" {
		return nil, nil
	}
	if v.weights.model == nil {
		return nil, fault.New(fault.Unavailable, "the pair is closed")
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD") // llama.cpp ends the process on some invalid sequences
	}
	bytes := unsafe.StringData(text) // llama.cpp is told the length, and reads no zero at the end
	tokens := make([]decode.Token, len(text)+2)
	for range 2 {
		n := C.realign_tokenize(v.weights.vocabulary(), (*C.char)(unsafe.Pointer(bytes)), C.int32_t(len(text)),
			(*C.llama_token)(unsafe.Pointer(&tokens[0])), C.int32_t(len(tokens)), C.bool(special))
		switch {
		case n == math.MinInt32:
			return nil, fault.New(fault.Invalid, "the model's vocabulary has no tokens for some of the text")
		case n >= 0:
			return slices.Clone(tokens[:n]), nil
		}
		tokens = make([]decode.Token, -n)
	}
	return nil, fault.New(fault.Internal, "the text cannot be tokenised")
}

// EncodePlain tokenises a text to be completed.
func (v *vocabulary) EncodePlain(text string) ([]decode.Token, error) {
	tokens, err := v.Encode(text, false)
	if err != nil {
		return nil, err
	}
	return v.EndPrompt(v.started(tokens)), nil
}

// EndPrompt puts the token that the model expects at the end of a prompt behind tokens, unless it is there: </s> for encoder–decoder models.
func (v *vocabulary) EndPrompt(tokens []decode.Token) []decode.Token {
	if v.closing < 0 || len(tokens) > 0 && tokens[len(tokens)-1] == v.closing {
		return tokens
	}
	return append(tokens, v.closing)
}

// started puts the start token that the model expects before tokens, unless it is there.
func (v *vocabulary) started(tokens []decode.Token) []decode.Token {
	if v.start < 0 || len(tokens) > 0 && tokens[0] == v.start {
		return tokens
	}
	return append([]decode.Token{v.start}, tokens...)
}

// Piece is a token's bytes, not to be written to. It is empty for a token that does not exist.
func (v *vocabulary) Piece(t decode.Token) []byte {
	if t < 0 || int(t) >= v.Size() {
		return nil
	}
	begin := int64(0)
	if t > 0 {
		begin = v.ends[t-1]
	}
	return v.pieces[begin:v.ends[t]:v.ends[t]]
}

// Name is a token as shown to a person. Bytes that are no characters by themselves are written <0xE2>.
func (v *vocabulary) Name(t decode.Token) string {
	if t < 0 || int(t) >= v.Size() {
		return fmt.Sprintf("<%d>", int(t))
	}
	piece := v.Piece(t)
	if len(piece) == 0 {
		return v.names[t]
	}
	if utf8.Valid(piece) {
		return string(piece)
	}
	var name strings.Builder
	for len(piece) > 0 {
		r, n := utf8.DecodeRune(piece)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&name, "<0x%02X>", piece[0])
		} else {
			name.Write(piece[:n])
		}
		piece = piece[n:]
	}
	return name.String()
}

// End reports whether a token ends a generation.
func (v *vocabulary) End(t decode.Token) bool {
	return t >= 0 && int(t) < v.Size() && v.last[t]
}
