package web

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/apikey"
	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/intake"
	"realign/internal/openai"
	"realign/internal/run"
)

// Bounds of the API.
const (
	maxAPIBody    = 8 << 20          // bytes of a request
	maxTokenList  = 1 << 18          // entries of a list of tokens: more than any model's context or vocabulary
	apiAtOnce     = 8                // prompts of one call that are decoded at the same time
	maxAPICalls   = 256              // of all clients, at the same time
	apiEventRoom  = 8192             // events that wait for a client that reads slowly; one that lags more is dropped
	apiBodyWait   = 30 * time.Second // for a request's body
	apiPing       = 10 * time.Second // of silence, after which a stream says that it is alive
	keyUseRounded = time.Minute      // how exactly the last use of a key is noted
)

// apiRoutes are OpenAI's API, and vLLM's three addresses about the tokenizer.
func (s *Server) apiRoutes(e *echo.Echo) {
	group := []echo.MiddlewareFunc{s.apiTimes, s.apiErrors, s.requireKey, s.apiBodies}
	e.GET("/v1/models", s.listModels, group...)
	e.GET("/v1/models/:model", s.showModel, group...)
	e.POST("/v1/chat/completions", s.chatCompletions, group...)
	e.POST("/v1/completions", s.completions, group...)
	e.POST("/v1/score", s.scorePrompts, group...)
	e.POST("/tokenize", s.tokenize, group...)
	e.POST("/detokenize", s.detokenize, group...)
	e.GET("/tokenizer_info", s.tokenizerInfo, group...)
	e.GET("/v1/openapi.json", s.openAPI, s.apiTimes, s.apiErrors)
}

// apiErrors answers errors as OpenAI's clients expect them.
func (s *Server) apiErrors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if err == nil || c.Response().Committed {
			return err
		}
		var he *echo.HTTPError
		if known := (*fault.Error)(nil); errors.As(err, &he) && !errors.As(err, &known) {
			f, _ := outside(err)
			err = f
		}
		body, status := openai.Error(err)
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			c.Response().Header().Set("Retry-After", strconv.Itoa(retryAfter))
		}
		if status == http.StatusInternalServerError {
			s.log.ErrorContext(c.Request().Context(), "the API failed", "request_id", requestID(c), "error", err)
		}
		return s.apiJSON(c, status, body)
	}
}

// apiTimes replaces the times that the server gives a page: a call takes as long as its tokens do, so only its body and each
// write of its answer have a limit. Not every writer has deadlines, hence no errors here.
func (s *Server) apiTimes(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		control := http.NewResponseController(c.Response())
		_ = control.SetReadDeadline(time.Now().Add(s.bodyWait))
		_ = control.SetWriteDeadline(time.Time{})
		return next(c)
	}
}

// apiJSON answers a call.
func (s *Server) apiJSON(c echo.Context, status int, v any) error {
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(answerWait))
	return c.JSON(status, v)
}

// client is who makes a call of the API.
type client struct {
	owner string      // under whom its prompts are cached
	place string      // where it comes from: its network, or "key:" and its key's id
	key   *apikey.Key // nil where none is asked for
}

// clientKey is where a call has its client.
const clientKey = "api_client"

// requireKey lets in whoever holds a key; where nobody has to log in, everybody who reaches the server.
func (s *Server) requireKey(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		secret := apikey.Secret(c.Request().Header.Get("Authorization"))
		if s.keys == nil || s.auth.mode == AuthNone && !hasKeyForm(secret) {
			c.Set(clientKey, &client{owner: "api", place: network(c)})
			return next(c)
		}
		if secret == "" {
			return fault.New(fault.Forbidden, "an API key is needed: Authorization: Bearer %s…; realign keys add NAME makes one", apikey.Prefix)
		}
		ctx := c.Request().Context()
		k, err := s.keys.KeyByHash(ctx, apikey.Hash(secret))
		if fault.KindOf(err) == fault.NotFound {
			if err := s.keyTries.allow(network(c), "wrong API keys"); err != nil {
				return err
			}
			return fault.New(fault.Forbidden, "the API key is not known")
		}
		if err != nil {
			return err
		}
		now := s.now()
		if err := k.Check(now); err != nil {
			return err
		}
		if now.Sub(k.UsedAt) > keyUseRounded {
			if err := s.keys.UseKey(ctx, k.ID, now); err != nil {
				s.log.WarnContext(ctx, "the use of a key was not noted", "error", err)
			}
		}
		if k.Requests > 0 && !s.keyRequests.take(k.ID, k.Requests, 1) {
			return fault.New(fault.Busy, "the API key %s may make %d requests a minute: wait a little and try again", k.Name, k.Requests)
		}
		c.Set(clientKey, &client{owner: "key:" + k.ID, place: "key:" + k.ID, key: &k})
		return next(c)
	}
}

// hasKeyForm reports whether a secret looks like one of ours. Clients that insist on a key send any text to a server that
// asks for none.
func hasKeyForm(secret string) bool {
	return len(secret) > len(apikey.Prefix) && secret[:len(apikey.Prefix)] == apikey.Prefix
}

// apiClient is who makes a call, behind requireKey.
func apiClient(c echo.Context) *client { return c.Get(clientKey).(*client) }

// bodyKey is where a call has its body.
const bodyKey = "api_body"

// apiShape is what a body may unfold to: texts are bounded by its bytes.
var apiShape = intake.Shape{Depth: 24, Entries: 1024, Named: map[string]int{
	"prompt": maxTokenList, "prefix": maxTokenList, "tokens": maxTokenList, "logit_bias": maxTokenList,
}}

// apiCost is what a body of so many bytes and what it is read into may take in memory, measured by the tests of memory.
func apiCost(size int64) int64 { return 6 * size }

// apiBodies receives a request's body within the limits of size and time, and takes the memory that it may need until the call
// is answered. From then on a read means that the client is gone, and has no deadline.
func (s *Server) apiBodies(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		b, err := s.receive(http.MaxBytesReader(c.Response(), r.Body, maxAPIBody), func() {})
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			return fault.Field("body", "is larger than the %d bytes the server accepts", maxAPIBody)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fault.Field("body", "did not arrive within %v", s.bodyWait)
		case err != nil:
			return err
		}
		defer b.Close()
		if b.size > smallBody {
			release, err := s.budgets.uploads.Take(r.Context(), apiCost(b.size), uploadWait)
			if err != nil {
				return err
			}
			defer release()
		}
		data := make([]byte, b.size)
		if _, err := io.ReadFull(b, data); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the body cannot be read again")
		}
		if err := apiShape.Check(data); err != nil {
			return err
		}
		_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Time{})
		c.Set(bodyKey, data)
		return next(c)
	}
}

// apiBody is a request's body.
func apiBody(c echo.Context) []byte { return c.Get(bodyKey).([]byte) }

// resolveModel finds the pair that a model's name stands for.
func (s *Server) resolveModel(m openai.Model) (openai.Known, error) {
	missing := func(err error) error {
		return &fault.Error{Kind: fault.NotFound, Field: "model", Message: fault.Of(err).Message}
	}
	p, err := s.library.Find(m.Pair)
	if err != nil {
		return openai.Known{}, missing(err)
	}
	if err := p.Installed(); err != nil {
		return openai.Known{}, missing(err)
	}
	names := m.Aligned
	if len(names) == 0 {
		names = p.Names()[:1]
	}
	for _, name := range names {
		if _, err := p.Find(name); err != nil {
			return openai.Known{}, missing(err)
		}
	}
	return openai.Known{Aligned: names, Sampling: p.Sampling}, nil
}

// beta is the β of a call's only aligned model, 0 where it has none.
func (s *Server) beta(call *openai.Call) float64 {
	p, err := s.library.Find(call.Pair)
	if err != nil || len(call.Aligned) != 1 {
		return 0
	}
	a, err := p.Find(call.Aligned[0])
	if err != nil {
		return 0
	}
	return a.Beta
}

// chatCompletions answers POST /v1/chat/completions, and completions POST /v1/completions.
func (s *Server) chatCompletions(c echo.Context) error {
	return s.complete(c, openai.ParseChat, "chatcmpl-")
}
func (s *Server) completions(c echo.Context) error {
	return s.complete(c, openai.ParseCompletion, "cmpl-")
}

// complete answers a call for completions, at once or as a stream.
func (s *Server) complete(c echo.Context, parse func([]byte, openai.Resolve) (*openai.Call, error), prefix string) error {
	call, err := parse(apiBody(c), s.resolveModel)
	if err != nil {
		return err
	}
	who := apiClient(c)
	call.Owner, call.Client = who.owner, who.place
	if call.Seed == nil {
		seed := rand.Uint64()
		call.Seed = &seed
	}
	done, err := s.admitCall(who, call)
	if err != nil {
		return err
	}
	reply := openai.NewReply(call, prefix+requestID(c), s.now().Unix(), s.build)
	defer func() { done(reply.Usage().Total) }()
	runs, err := s.callRuns(who, call)
	if err != nil {
		return err
	}
	if call.Stream {
		return s.streamCompletion(c, reply, runs)
	}
	if err := s.gather(c.Request().Context(), reply, runs); err != nil {
		return err
	}
	runs.tell(c)
	if call.Chat {
		return s.apiJSON(c, http.StatusOK, reply.ChatCompletion(s.beta(call)))
	}
	return s.apiJSON(c, http.StatusOK, reply.Completion(s.beta(call)))
}

// admitCall takes a client's places for a call. The caller says at its end what it cost in tokens.
func (s *Server) admitCall(who *client, call *openai.Call) (done func(tokens int), err error) {
	return s.enterCall(who, min(len(call.Prompts), apiAtOnce)*len(call.Lambda)*call.N)
}

// enterCall takes a client's places for a call of so many lanes at the same time.
func (s *Server) enterCall(who *client, lanes int) (done func(tokens int), err error) {
	k := who.key
	if k != nil {
		if k.Tokens > 0 && !s.keyTokens.take(k.ID, k.Tokens, 0) {
			return nil, fault.New(fault.Busy, "the API key %s may use %d tokens a minute: wait a little and try again", k.Name, k.Tokens)
		}
		if k.Lanes > 0 && lanes > k.Lanes {
			return nil, fault.Field("n", "%d lanes, where the API key %s may have %d at the same time", lanes, k.Name, k.Lanes)
		}
	}
	if err := s.calls.enter(who, lanes); err != nil {
		return nil, err
	}
	return func(tokens int) {
		s.calls.leave(who, lanes)
		if k != nil && k.Tokens > 0 {
			s.keyTokens.take(k.ID, k.Tokens, tokens)
		}
	}, nil
}

// gather decodes a call to its end: it scores the prompts where that is asked for, and decodes unless the scores say what
// comes next. The error of a lane is the error of the call.
func (s *Server) gather(ctx context.Context, reply *openai.Reply, runs callRuns) error {
	call := reply.Call
	if err := s.scoreCall(ctx, reply); err != nil {
		return err
	}
	if call.GreedyNext() && !call.Store {
		reply.Next(func(t decode.Token) bool { return s.endsReply(ctx, call, t) })
		return nil
	}
	var mu sync.Mutex // guards reply
	err := s.eachPrompt(ctx, runs.len(), func(ctx context.Context, i int) error {
		return runs.decode(ctx, i, func(e decode.Event) {
			mu.Lock()
			defer mu.Unlock()
			reply.Event(i, e)
		})
	})
	if err != nil {
		return err
	}
	if f := reply.Failure(); f != nil {
		return fault.New(fault.Kind(f.Code), "%s", f.Message)
	}
	return nil
}

// eachPrompt runs f for some prompts at a time. The first error ends the others.
func (s *Server) eachPrompt(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	places := make(chan struct{}, apiAtOnce)
	for i := range n {
		places <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wait.Go(func() {
			defer func() { <-places }()
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

// decodeAll decodes a request and returns when it has ended. When ctx ends, its lanes do, at their next token. sink is
// called by another goroutine, one event after another.
func (s *Server) decodeAll(ctx context.Context, pair string, r decode.Request, sink func(decode.Event)) error {
	r.Rendering = r.Rendering.At(s.now()) // whichever worker takes it
	job, err := s.decoder.Decode(ctx, pair, r, sink)
	if err != nil {
		return err
	}
	return s.await(ctx, job)
}

// await waits for a job, and stops it when ctx or the server ends.
func (s *Server) await(ctx context.Context, job run.Job) error {
	select {
	case <-job.Done():
		return nil
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	if err := job.Stop(-1); err != nil {
		s.log.Warn("a call of the API was not stopped", "error", err)
	}
	<-job.Done()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return fault.New(fault.Unavailable, "the server is being stopped")
}
