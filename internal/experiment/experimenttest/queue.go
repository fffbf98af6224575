// Package experimenttest has a work queue for tests.
package experimenttest

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Decoder starts a request, as decode.Engine.Start does for one pair. done is closed at its end.
type Decoder func(pair string, r decode.Request, sink func(decode.Event)) (done <-chan struct{}, err error)

// Queue is a queue in this process, with a map for each of the two streams. Like the real one it keeps a message a key,
// outlives those who use it, gives again what was not taken, and has work that is refused as busy tried again.
type Queue struct {
	decoder Decoder

	mu      sync.Mutex               // guards what follows
	work    map[string]decode.Work   // queued or being decoded, by its key
	begun   map[string]bool          // being decoded
	answers map[string]decode.Answer // not taken yet, by the key of their work
	news    chan struct{}            // closed, and made anew, when something changes
	decoded int                      // pieces of work that were decoded
	most    int                      // lanes that a piece had at most
	twice   bool                     // each answer is given twice
	says    string                   // the text of every reply, in place of what was decoded; or ""
}

// New is an empty queue. Nothing is decoded before Serve.
func New(d Decoder) *Queue {
	return &Queue{
		decoder: d, work: map[string]decode.Work{}, begun: map[string]bool{}, answers: map[string]decode.Answer{}, news: make(chan struct{}),
	}
}

// Engine is a Decoder that decodes every pair with one engine.
func Engine(e *decode.Engine) Decoder {
	return func(_ string, r decode.Request, sink func(decode.Event)) (<-chan struct{}, error) {
		j, err := e.Start(r, sink)
		if err != nil {
			return nil, err
		}
		return j.Done(), nil
	}
}

// Twice has every answer given twice from now on.
func (q *Queue) Twice() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.twice = true
}

// Say has every sample be a text from now on, instead of what was decoded.
func (q *Queue) Say(text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.says = text
}

// Waiting is how many pieces of work nobody has begun.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.work)
}

// Decoded is how many pieces of work were decoded, and of how many lanes the largest was.
func (q *Queue) Decoded() (pieces, lanes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.decoded, q.most
}

// Rest waits until what was begun is decoded.
func (q *Queue) Rest() {
	for {
		q.mu.Lock()
		begun, news := len(q.begun), q.news
		q.mu.Unlock()
		if begun == 0 {
			return
		}
		<-news
	}
}

// tell wakes all who wait for news. The caller holds mu.
func (q *Queue) tell() {
	close(q.news)
	q.news = make(chan struct{})
}

// Start implements experiment.Queue.
func (q *Queue) Start(string) error { return nil }

// Offer implements experiment.Queue.
func (q *Queue) Offer(_ context.Context, w decode.Work) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := w.Batch + " " + w.ID
	if _, answered := q.answers[key]; !answered && !q.begun[key] {
		q.work[key] = w
		q.tell()
	}
	return nil
}

// Withdraw implements experiment.Queue.
func (q *Queue) Withdraw(_ context.Context, batch string, answers bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for key, w := range q.work {
		if w.Batch == batch {
			delete(q.work, key)
		}
	}
	for key := range q.answers {
		if answers && strings.HasPrefix(key, batch+" ") {
			delete(q.answers, key)
		}
	}
	return nil
}

// Forget implements experiment.Queue.
func (q *Queue) Forget(ctx context.Context, batch string) error { return q.Withdraw(ctx, batch, true) }

// Serve decodes until ctx is done.
func (q *Queue) Serve(ctx context.Context) {
	for {
		q.mu.Lock()
		news := q.news
		var key string
		var w decode.Work
		for key, w = range q.work {
			break
		}
		if key != "" {
			delete(q.work, key)
			q.begun[key] = true
		}
		q.mu.Unlock()
		switch {
		case key != "":
			q.decode(ctx, key, w)
		default:
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}
}

// decode decodes one piece of work, or gives it back.
func (q *Queue) decode(ctx context.Context, key string, w decode.Work) {
	a := decode.Answer{Batch: w.Batch, ID: w.ID, Worker: "one"}
	var gather decode.Gather
	done, err := q.decoder(w.Pair, w.Request, gather.Add)
	switch fault.KindOf(err) {
	case "":
		<-done
		a.Replies, _ = gather.Replies(w.Request.Lanes)
	case fault.Busy, fault.Unavailable:
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.begun, key)
		q.work[key] = w
		q.tell()
		return
	default:
		a.Fault = fault.Of(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range a.Replies {
		a.Replies[i].Text = cmp.Or(q.says, a.Replies[i].Text)
	}
	q.decoded++
	q.most = max(q.most, len(w.Request.Lanes))
	delete(q.begun, key)
	q.answers[key] = a
	q.tell()
}

// Answers implements experiment.Queue, one answer at a time.
func (q *Queue) Answers(ctx context.Context, batch string, _ int, take func(context.Context, decode.Answer) error) error {
	for ctx.Err() == nil {
		q.mu.Lock()
		news := q.news
		var key string
		var a decode.Answer
		for k, x := range q.answers {
			if x.Batch == batch {
				key, a = k, x
				break
			}
		}
		twice := q.twice
		q.mu.Unlock()
		if key == "" {
			select {
			case <-news:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		err := take(ctx, a)
		if err == nil && twice {
			err = take(ctx, a)
		}
		if err == nil {
			q.mu.Lock()
			delete(q.answers, key)
			q.mu.Unlock()
		}
	}
	return nil
}
