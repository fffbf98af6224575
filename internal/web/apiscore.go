package web

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"sync"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/lru"
	"realign/internal/openai"
	"realign/internal/run"
)

// scoreGrid are the λ that every score is computed at, beside those asked for: a program that asks λ after λ about the same
// prompts pays for the models once.
var scoreGrid = []float64{0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2}

// maxScoreCache is the room for scores, in bytes.
const maxScoreCache = 64 << 20

// scoreCache keeps scores of prompts, by owner, models and prompt: see scoreKeyOf.
type scoreCache struct{ lru.Cache[*scoreEntry] }

// scoreEntry is a scored prompt.
type scoreEntry struct {
	tokens []decode.Token
	scores []decode.Scored // by token, as decode.Scored says; Mixture and Top are by λ
	lambda []decode.Vector // the λ of the scores
	top    int             // alternatives in each
}

// newScoreCache is an empty cache of at most maxScoreCache bytes.
func newScoreCache() *scoreCache {
	return &scoreCache{lru.Cache[*scoreEntry]{Most: maxScoreCache, Size: (*scoreEntry).size}}
}

// size is about what an entry takes, in bytes.
func (e *scoreEntry) size() int {
	return len(e.scores) * (120 + len(e.lambda)*(32+e.top*48))
}

// get is a prompt's scores at some λ with at least so many alternatives, and where those λ are among the entry's;
// nil if one is missing.
func (c *scoreCache) get(key string, lambda []decode.Vector, top int) (*scoreEntry, []int) {
	e, ok := c.Get(key)
	if !ok || e.top < top {
		return nil, nil
	}
	places := make([]int, len(lambda))
	for i, v := range lambda {
		places[i] = -1
		for j, w := range e.lambda {
			if v.Equal(w) {
				places[i] = j
				break
			}
		}
		if places[i] < 0 {
			return nil, nil
		}
	}
	return e, places
}

// put keeps the scores of a prompt, unless they take more than a quarter of the room.
func (c *scoreCache) put(key string, e *scoreEntry) {
	if e.size() <= maxScoreCache/4 {
		c.Put(key, e)
	}
}

// scoreKeyOf tells prompts apart by whose they are, the models' files and the tokens or the text.
func scoreKeyOf(owner, pair string, files []run.File, p decode.Prompt) string {
	h := sha256.New()
	add := func(s string) {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	add(owner)
	add(pair)
	for _, f := range files {
		add(f.SHA256)
	}
	add(p.Text)
	for _, m := range p.Messages {
		add(m.Role)
		add(m.Content)
	}
	var n [4]byte
	for _, t := range p.Tokens {
		binary.LittleEndian.PutUint32(n[:], uint32(t))
		h.Write(n[:])
	}
	return string(h.Sum(nil))
}

// scoreCall scores a call's prompts, where it asks for that, from the cache or by the models.
func (s *Server) scoreCall(ctx context.Context, reply *openai.Reply) error {
	call := reply.Call
	wanted := call.Scores(nil)
	if wanted == nil {
		return nil
	}
	_, files, err := s.models.Models(ctx, call.Pair, call.Aligned)
	if err != nil {
		return err
	}
	var others []decode.Vector
	if len(call.Aligned) == 1 {
		for _, l := range scoreGrid {
			others = append(others, decode.Vector{l})
		}
	}
	requests := call.Scores(others)
	var mu sync.Mutex // guards reply
	return s.eachPrompt(ctx, len(wanted), func(ctx context.Context, i int) error {
		key := scoreKeyOf(call.Owner, call.Pair, files, wanted[i].Prompt)
		e, places := s.scores.get(key, call.Lambda, wanted[i].Score.Alternatives)
		if e == nil {
			var err error
			if e, err = s.scorePrompt(ctx, call.Pair, requests[i]); err != nil {
				return err
			}
			s.scores.put(key, e)
			places = make([]int, len(call.Lambda)) // the call's λ come first
			for j := range places {
				places[j] = j
			}
		}
		mu.Lock()
		defer mu.Unlock()
		reply.Scored(i, e.tokens, e.at(places))
		return nil
	})
}

// at is an entry's scores at some of its λ, by their places. The entry stays as it is.
func (e *scoreEntry) at(places []int) []decode.Scored {
	list := make([]decode.Scored, len(e.scores))
	for i, s := range e.scores {
		mixture, top := make(decode.Vector, len(places)), make([][]decode.Alternative, len(places))
		for k, j := range places {
			mixture[k] = s.Mixture[j]
			if s.Top != nil {
				top[k] = s.Top[j]
			}
		}
		s.Mixture, s.Top = mixture, top
		list[i] = s
	}
	return list
}

// scorePrompt has the models score one prompt.
func (s *Server) scorePrompt(ctx context.Context, pair string, r decode.Request) (*scoreEntry, error) {
	e := &scoreEntry{lambda: r.Score.Lambda, top: r.Score.Alternatives}
	var failed *decode.Error
	err := s.decodeAll(ctx, pair, r, func(event decode.Event) {
		switch event.Type {
		case decode.EventStart:
			e.tokens = event.Prompt.Tokens
		case decode.EventScore:
			e.scores = append(e.scores, *event.Scored)
		case decode.EventEnd:
			failed = event.Error
		}
	})
	switch {
	case err != nil:
		return nil, err
	case failed != nil:
		return nil, fault.New(fault.Kind(failed.Code), "%s", failed.Message)
	case len(e.scores) != len(e.tokens):
		return nil, fault.New(fault.Unavailable, "the prompt was not scored to its end")
	}
	return e, nil
}

// scorePrompts answers POST /v1/score.
func (s *Server) scorePrompts(c echo.Context) error {
	asked, err := openai.ParseScore(apiBody(c), s.resolveModel, scoreGrid)
	if err != nil {
		return err
	}
	who := apiClient(c)
	asked.Call.Owner, asked.Call.Client = who.owner, who.place
	done, err := s.admitCall(who, asked.Call)
	if err != nil {
		return err
	}
	reply := openai.NewReply(asked.Call, "score-"+requestID(c), s.now().Unix(), s.build)
	defer func() { done(reply.Usage().Total) }()
	if err := s.scoreCall(c.Request().Context(), reply); err != nil {
		return err
	}
	answer, err := reply.Score(asked.From)
	if err != nil {
		return err
	}
	return s.apiJSON(c, http.StatusOK, answer)
}

// endsReply reports whether a token ends a reply: it is then no text.
func (s *Server) endsReply(ctx context.Context, call *openai.Call, t decode.Token) bool {
	pieces, err := s.encodePrompt(ctx, call.Pair, call.Aligned, decode.Prompt{Tokens: []decode.Token{t}}, decode.Rendering{})
	return err == nil && len(pieces.Pieces) == 1 && len(pieces.Pieces[0]) == 0
}
