package web

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/openai"
)

// streamCompletion sends a call's chunks as they come.
func (s *Server) streamCompletion(c echo.Context, reply *openai.Reply, runs callRuns) error {
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	call := reply.Call
	type told struct {
		prompt int
		event  decode.Event
	}
	events := make(chan told, apiEventRoom)
	ended := make(chan error, 1)
	started := make(chan struct{}) // once the first run was admitted, or all have failed
	var once sync.Once
	go func() {
		ended <- s.eachPrompt(ctx, runs.len(), func(ctx context.Context, i int) error {
			return runs.decode(ctx, i, func(e decode.Event) {
				once.Do(func() { close(started) })
				select {
				case events <- told{i, e}:
				default: // the client does not read: nobody waits for it
					cancel()
				}
			})
		})
	}()
	// Until a run was admitted an error is an answer of its own.
	select {
	case <-started:
	case err := <-ended:
		if err != nil {
			return err
		}
		ended <- nil
	}
	runs.tell(c)
	out := newEventStream(c, s.writeTimeout)
	beta := s.beta(call)
	if call.Chat {
		for _, chunk := range reply.ChatStart() {
			out.send(chunk)
		}
	}
	take := func(t told) {
		if t.event.Type == decode.EventPrompt && t.event.Prompt != nil {
			out.comment("reading the prompt: " + strconv.Itoa(t.event.Prompt.Done) + " of " + strconv.Itoa(t.event.Prompt.Total))
		}
		i := reply.Event(t.prompt, t.event)
		if i < 0 {
			return
		}
		if call.Chat {
			if chunk, ok := reply.ChatChunk(i, beta); ok {
				out.send(chunk)
			}
		} else if chunk, ok := reply.CompletionChunk(i, beta); ok {
			out.send(chunk)
		}
	}
	// takeAll takes what has come, and sends it in one go: lanes that are decoded together are told of together.
	takeAll := func() {
		for out.err == nil {
			select {
			case t := <-events:
				take(t)
			default:
				out.flush()
				return
			}
		}
	}
	ping := time.NewTicker(apiPing)
	defer ping.Stop()
	out.flush()
	var err error
	for running := true; running && out.err == nil; {
		select {
		case t := <-events:
			take(t)
			takeAll()
		case err = <-ended:
			running = false
		case <-ping.C:
			out.comment("ping")
			out.flush()
		}
	}
	cancel()
	takeAll()
	if f := reply.Failure(); err == nil && f != nil {
		err = fault.New(fault.Kind(f.Code), "%s", f.Message)
	}
	switch {
	case out.err != nil: // nobody is there to be told
		return nil
	case err != nil:
		body, _ := openai.Error(err)
		out.send(body)
	case call.Usage && call.Chat:
		out.send(reply.ChatUsage())
	case call.Usage:
		out.send(reply.CompletionUsage())
	}
	out.line("data: [DONE]\n\n")
	out.flush()
	return nil
}

// eventStream writes server-sent events.
type eventStream struct {
	c        echo.Context
	control  *http.ResponseController
	patience time.Duration // for one write
	err      error         // the first one; nothing is written behind it
}

// newEventStream begins the answer: from here on an error can only be said in the stream. patience is for one
// write.
func newEventStream(c echo.Context, patience time.Duration) *eventStream {
	h := c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // nginx would hold the stream back
	c.Response().WriteHeader(http.StatusOK)
	return &eventStream{c: c, control: http.NewResponseController(c.Response()), patience: patience}
}

// send writes a value as one event. Like all writes it does nothing behind the first error.
func (o *eventStream) send(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		o.err = err
		return
	}
	o.line("data: " + string(data) + "\n\n")
}

// comment writes what clients pass over.
func (o *eventStream) comment(text string) { o.line(": " + text + "\n\n") }

// line writes a text as it is.
func (o *eventStream) line(text string) {
	if o.err != nil {
		return
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(o.patience)) // not every writer has deadlines
	_, o.err = io.WriteString(o.c.Response(), text)
}

// flush sends what was written.
func (o *eventStream) flush() {
	if o.err == nil {
		o.err = o.control.Flush()
	}
}
