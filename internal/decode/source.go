package decode

import (
	"slices"

	"realign/internal/fault"
)

// Encoder–decoder models. Their prompt is not the beginning of the text that is decoded: an encoder reads it once, and every sequence of
// the decoder, which begins with a start token, attends to what the encoder made of it. What an encoder reads is called a source here. A
// job has one source for each of its models, all under the same number, so lanes, maps, particles and contrasts are decoded as with other
// models; only the history that branches share begins with the start token. There is no speculation, and nothing enters the prefix cache: a
// source that a model still holds is not read again.

// Encoder is a Model of the encoder–decoder kind: one whose Limits.Sources is not 0.
type Encoder interface {
	Model

	// Encode reads a source and holds it under a number in [0, Limits.Sources), in place of what that number stood for. The sequences that read
	// the former one are empty.
	Encode(source int, tokens []Token) error
}

// Ended is a Vocabulary of models whose prompts end with a token, as those of encoder–decoder models do.
type Ended interface {
	// EndPrompt is a prompt with that token at its end.
	EndPrompt(tokens []Token) []Token
}

// sourceSlot is one of the sources that the models can hold at once. Its place in Engine.sources is its number
// in every model.
type sourceSlot struct {
	job   *Job   // that reads it, or nil
	owner string // whose request read it last; it is read again for another owner
	used  int    // the engine's step when it was given to a job last
}

// encoding is a source that a model reads with its next pass.
type encoding struct {
	source int     // the number under which it is held
	tokens []Token // that the encoder reads
}

// encodes reports whether the pair's models have an encoder.
func (e *Engine) encodes() bool { return e.limits.Sources > 0 }

// checkKind refuses what encoder–decoder models cannot be asked for.
func (e *Engine) checkKind(r *Request) error {
	switch {
	case !e.encodes():
		return nil
	case r.Score != nil:
		return fault.Field("score", "is for models that read the prompt token by token, and this pair's encoder reads it whole: give the reply that is to be scored as a lane's prefix, with evaluate")
	case r.inWeights():
		return fault.Field("mix", "weights: is for pairs without an encoder: use mix logits")
	}
	return nil
}

// separate makes what was tokenised the sources of a job, and the start token its prompt.
func (j *Job) separate(start Token) {
	j.sources = make([][]Token, max(1, len(j.prompts)))
	copy(j.sources, j.prompts)
	j.sources[0] = j.prompt
	j.prompt, j.prompts = []Token{start}, nil
}

// sourceOf is what a model of the job reads with its encoder.
func (j *Job) sourceOf(m int) []Token {
	if m < len(j.sources) && j.sources[m] != nil {
		return j.sources[m]
	}
	return j.sources[0]
}

// promptTokens is the prompt as the reference reads it, with its encoder or as the beginning of its text.
func (j *Job) promptTokens() []Token {
	if j.sources != nil {
		return j.sources[0]
	}
	return j.prompt
}

// promptLength is the number of tokens of the longest prompt that a model of the job reads.
func (j *Job) promptLength() int {
	n := j.longest()
	for _, s := range j.sources {
		n = max(n, len(s))
	}
	return n
}

// checkSources wants every source to be one that the encoders can read.
func (e *Engine) checkSources(j *Job) error {
	for _, s := range j.sources {
		if n := len(s); n > e.limits.SourceTokens {
			return fault.Field("prompt", "%d tokens, at most %d fit the encoder", n, e.limits.SourceTokens)
		}
	}
	return nil
}

// takeSource gives a job a place for its sources, the one that holds them already if there is one. It reports false if all places are
// taken.
func (e *Engine) takeSource(j *Job) bool {
	if j.sources == nil {
		return true
	}
	best := -1
	for i, s := range e.sources {
		switch {
		case s.job != nil:
		case s.owner == j.request.Owner && j.holds(i):
			e.giveSource(j, i)
			return true
		case best < 0 || s.used < e.sources[best].used:
			best = i
		}
	}
	if best < 0 {
		return false
	}
	e.giveSource(j, best)
	return true
}

// holds reports whether one of a job's models has its source under a number.
func (j *Job) holds(i int) bool {
	for m, s := range j.models {
		if slices.Equal(s.source(i), j.sourceOf(m)) {
			return true
		}
	}
	return false
}

// giveSource makes a place a job's. What it held of another owner is forgotten.
func (e *Engine) giveSource(j *Job, i int) {
	if owner := j.request.Owner; owner == "" || e.sources[i].owner != owner {
		for _, s := range e.models {
			s.forgetSource(i)
		}
	}
	e.sources[i] = sourceSlot{job: j, owner: j.request.Owner, used: e.steps + 1}
	j.source = i
}

// releaseSource frees the place of a job that has ended.
func (e *Engine) releaseSource(j *Job) {
	if j.sources != nil {
		e.sources[j.source].job = nil
	}
}

// source is what a model holds under a number, nil if nothing.
func (s *modelState) source(i int) []Token {
	if i < len(s.sources) {
		return s.sources[i]
	}
	return nil
}

// forgetSource has the next use of a source read it anew.
func (s *modelState) forgetSource(i int) {
	if i < len(s.sources) {
		s.sources[i] = nil
	}
}

// want makes a model hold a source once its next pass is made.
func (s *modelState) want(i int, tokens []Token) {
	if slices.Equal(s.source(i), tokens) {
		return
	}
	for len(s.sources) <= i {
		s.sources = append(s.sources, nil)
	}
	s.sources[i] = tokens
	s.encodings = append(s.encodings, encoding{i, tokens})
}

// encode reads the sources that the next pass needs.
func (s *modelState) encode() error {
	for _, x := range s.encodings {
		m, ok := s.model.(Encoder)
		err := error(fault.New(fault.Internal, "the model has no encoder, and the reference has one"))
		if ok {
			err = m.Encode(x.source, x.tokens)
		}
		if err != nil {
			for _, x := range s.encodings {
				s.forgetSource(x.source)
			}
			return err
		}
	}
	return nil
}
