package web

import (
	"context"
	"slices"
	"sync"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/openai"
	"realign/internal/run"
)

// sessionHeader tells where a call with "store" is kept.
const sessionHeader = "X-Realign-Session"

// callRuns are the runs of a call, one a prompt.
type callRuns interface {
	len() int

	// decode decodes the run of one prompt to its end. Several may be decoded at the same time.
	decode(ctx context.Context, prompt int, sink func(decode.Event)) error

	// tell adds headers to the answer, once a run has begun.
	tell(c echo.Context)
}

// callRuns are passing ones, unless the call is to be stored.
func (s *Server) callRuns(who *client, call *openai.Call) (callRuns, error) {
	if !call.Store {
		return &passingRuns{server: s, pair: call.Pair, requests: call.Requests()}, nil
	}
	switch {
	case who.key == nil:
		return nil, fault.Field("store", "a session needs an owner, and this call has no API key: make one on the page %s and send it as Authorization: Bearer …", s.keysPage())
	case who.key.Owner == "":
		return nil, fault.Field("store", "the API key %s has no owner whose session it could be: make one on the page %s instead of the command line", who.key.Name, s.keysPage())
	case len(call.Requests()) == 0:
		return nil, fault.Field("store", "a session keeps completions, and max_tokens 0 asks for none")
	}
	return &keptRuns{server: s, owner: who.key.Owner, call: call, places: make(chan struct{}, keptAtOnce)}, s.mayStart(who.key.Owner)
}

// keysPage is the address of the page Keys, as far as the server knows it.
func (s *Server) keysPage() string {
	if s.public != nil {
		return s.public.Scheme + "://" + s.public.Host + s.base.at("/keys")
	}
	return s.base.at("/keys")
}

// passingRuns leave nothing behind.
type passingRuns struct {
	server   *Server
	pair     string
	requests []decode.Request // by prompt
}

// len, tell and decode implement callRuns.
func (r *passingRuns) len() int          { return len(r.requests) }
func (r *passingRuns) tell(echo.Context) {}
func (r *passingRuns) decode(ctx context.Context, i int, sink func(decode.Event)) error {
	return r.server.decodeAll(ctx, r.pair, r.requests[i], sink)
}

// keptAtOnce is how many prompts of a call that is kept are decoded at the same time: half of what one owner's runs may be.
const keptAtOnce = 4

// keptRuns become a session of the key's owner, with a run for each prompt.
type keptRuns struct {
	server *Server
	owner  string
	call   *openai.Call
	places chan struct{} // holds a value for each run that is being decoded

	mu      sync.Mutex // guards session; held while a run is started
	session string     // "" until the first run has begun
}

// len, tell and decode implement callRuns. A run goes on in the session's history when the call is answered.
func (r *keptRuns) len() int { return len(r.call.Prompts) }

func (r *keptRuns) tell(c echo.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Response().Header().Set(sessionHeader, r.session)
}

// decode makes a run of the prompt and follows it as a watcher does. The seed of the start event is the run's own.
func (r *keptRuns) decode(ctx context.Context, i int, sink func(decode.Event)) error {
	r.places <- struct{}{}
	defer func() { <-r.places }()
	if err := ctx.Err(); err != nil {
		return err
	}
	spec, err := r.spec(ctx, i)
	if err != nil {
		return err
	}
	run, err := r.start(ctx, spec)
	if err != nil {
		return err
	}
	return r.server.followRun(ctx, run, func(e decode.Event) {
		if e.Type == decode.EventStart && e.Prompt != nil {
			e.Prompt.Seed = &spec.Seed
		}
		sink(e)
	})
}

// start starts a run in the call's session; the first makes that session.
func (r *keptRuns) start(ctx context.Context, spec run.Spec) (run.Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run, err := r.server.hub.Start(ctx, r.owner, r.session, spec)
	if err == nil {
		r.session = run.Session
	}
	return run, err
}

// spec is the run that a session keeps for a prompt. A session keeps prompts as texts: the error is Invalid for a prompt
// that no text stands for.
func (r *keptRuns) spec(ctx context.Context, i int) (run.Spec, error) {
	call, request := r.call, r.call.Requests()[i]
	spec := run.Spec{
		Pair: call.Pair, Aligned: call.Aligned, Mode: run.Plain, Lanes: request.Lanes, Sampling: request.Sampling,
		Alternatives: request.Trace.Alternatives, Bytes: request.Trace.Bytes, Totals: request.Totals,
		Rendering: request.Rendering.At(r.server.now()),
	}
	given, err := r.server.encodePrompt(ctx, call.Pair, call.Aligned, request.Prompt, spec.Rendering)
	if err != nil {
		return spec, err
	}
	spec.Seed = request.Seed
	if request.SeedByPrompt {
		spec.Seed = decode.PromptSeed(request.Seed, given.Tokens)
	}
	kept, err := keptPrompt(&spec, request.Prompt, given.Pieces)
	if err != nil {
		return spec, err
	}
	again, err := r.server.encodePrompt(ctx, call.Pair, call.Aligned, kept, spec.Rendering)
	if err == nil && !slices.Equal(again.Tokens, given.Tokens) {
		err = fault.Field("store", "a session keeps a prompt as a text, and prompt %d is of tokens that no text gives: send text without special tokens, or leave out store", i+1)
	}
	return spec, err
}

// keptPrompt puts a prompt into a spec and returns it as the run reads it. pieces are the bytes of its tokens.
func keptPrompt(spec *run.Spec, p decode.Prompt, pieces [][]byte) (decode.Prompt, error) {
	if len(p.Messages) == 0 {
		spec.Prompt = p.Text
		if p.Text == "" {
			spec.Prompt = string(slices.Concat(pieces...))
		}
	} else {
		spec.Mode = run.Chat
		messages := p.Messages
		if messages[0].Role == "system" && messages[0].Content != "" {
			spec.System, messages = messages[0].Content, messages[1:]
		}
		if n := len(messages); n == 0 || messages[n-1].Role != "user" {
			return p, fault.Field("store", "a session keeps conversations that end with a user's message")
		}
		last := len(messages) - 1
		spec.History, spec.Prompt = slices.Clone(messages[:last]), messages[last].Content
	}
	if err := spec.Validate(); err != nil {
		return p, fault.Field("store", "a session cannot keep this: %s: %s", fault.Of(err).Field, fault.Of(err).Message)
	}
	request := spec.Request("", nil)
	return request.Prompt, nil
}

// followRun passes on a run's events until it has ended. When ctx or the server ends, so do its lanes.
func (s *Server) followRun(ctx context.Context, run run.Run, sink func(decode.Event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.ctx, func() { cancel(fault.New(fault.Unavailable, "the server is being stopped")) })
	defer stop()
	err := s.watchRun(ctx, run, sink)
	if err == nil {
		return nil
	}
	if stopped := s.hub.Stop(context.WithoutCancel(ctx), run.Owner, run.ID, -1); stopped != nil {
		s.log.Warn("a call of the API was not stopped", "run", run.ID, "error", stopped)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watchRun passes on a run's events until its first request has ended.
func (s *Server) watchRun(ctx context.Context, run run.Run, sink func(decode.Event)) error {
	watch, err := s.hub.Watch(ctx, run.Owner, run.ID, 0)
	if err != nil {
		return err
	}
	defer watch.Close()
	ended, failed := 0, false
	for {
		events, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		for _, logged := range events {
			e, err := logged.Decode()
			if err != nil {
				return err
			}
			sink(e)
			switch e.Type {
			case decode.EventEnd:
				ended++
				failed = failed || e.Reason == decode.EndError
			case decode.EventStats:
				return nil
			}
		}
		if failed && ended == run.Lanes { // what was cut off has no stats
			return nil
		}
	}
}
