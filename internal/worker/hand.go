package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"realign/internal/decode"
	"realign/internal/fault"
)

// A worker never speaks to JetStream: whoever may ask JetStream for a message may have it sent to any subject, also to one that
// deletes a queue. It asks a pool for work instead; the pool takes the message and hands out its content with an address
// that is good for this piece of work only:
//
//	worker                                       pool
//	next.PAIR.WORKER                 ─────────▶  takes a message of the pair's consumer
//	                                 ◀─────────  task, with the piece's address to reply to
//	hold, now and every workBeat     ─────────▶  tells JetStream that it is being worked on
//	answer                           ─────────▶  keeps the answer, then acknowledges the message
//	                                 ◀─────────  reply
//
// Instead of an answer a worker may give the work back; silence gives it back, too.

const (
	nextPrefix   = prefix + "next."
	nextGroup    = "pools"                  // of several servers one is asked
	nextWait     = 5 * time.Second          // that a pool waits for work before it answers that there is none
	firstHold    = 2 * time.Second          // a worker takes to say that it has the work
	handTimeout  = nextWait + 5*time.Second // that a worker waits for the answer
	settleWait   = 30 * time.Second         // for keeping an answer
	pieceSubject = ".work."                 // between a pool's inbox and the id of a piece
)

// nextOf is where a worker of a pair asks for work.
func nextOf(pair, worker string) string { return nextPrefix + escape(pair) + "." + worker }

// progress is a message of a worker about a piece of work; exactly one field is set.
type progress struct {
	Hold   bool       `json:"hold,omitempty"`   // the worker is at it
	Back   bool       `json:"back,omitempty"`   // somebody else should do it
	Answer *answerMsg `json:"answer,omitempty"` // it is done
}

func (p *progress) check() error {
	if p.Answer != nil {
		return p.Answer.check()
	}
	if p.Hold == p.Back {
		return errors.New("neither hold, back nor answer")
	}
	return nil
}

// piece is a piece of work that a worker has. It lives from when it is handed out until it is answered, given back, or
// no message about it has come for workTimeout.
// Queue.mu guards the map of pieces; a piece itself does not change.
type piece struct {
	worker  string        // its ID
	task    task          // what it was given
	message jetstream.Msg // of the stream, which is to be acknowledged
	silence *time.Timer   // gives it back
}

// hands begins to hand out work to workers that ask for it.
func (q *Queue) hands() error {
	p := q.pool
	for _, s := range []struct {
		subject, group string
		handle         nats.MsgHandler
	}{
		{nextPrefix + "*.*", nextGroup, q.next},
		{inbox(poolInbox, p.id) + pieceSubject + "*", "", q.progress},
	} {
		sub, err := p.conn.QueueSubscribe(s.subject, s.group, s.handle)
		if err == nil {
			err = sub.SetPendingLimits(-1, maxPending)
		}
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "work cannot be handed out")
		}
	}
	return p.conn.Flush()
}

// do runs f in a goroutine of the pool's, unless the pool is closed.
func (q *Queue) do(f func()) {
	p := q.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.wait.Go(f)
	}
}

// next answers a worker that asks for work.
func (q *Queue) next(m *nats.Msg) {
	pair, worker, _ := strings.Cut(m.Subject[len(nextPrefix):], ".")
	if !strings.HasPrefix(m.Reply, inbox(workerInbox, worker)+".") {
		q.pool.log.Warn("a worker asks for work for somebody else", "worker", worker)
		return
	}
	consumer, ok := q.served.Load(pair)
	if !ok { // nothing was ever offered
		_ = m.Respond(nil) // it asks again
		return
	}
	if _, asks := q.asking.LoadOrStore(worker, true); asks {
		_ = m.Respond(nil) // one piece at a time
		return
	}
	q.do(func() {
		if err := q.give(consumer.(jetstream.Consumer), worker, m); err != nil && q.pool.ctx.Err() == nil {
			q.pool.log.Warn("hand out work", "worker", worker, "error", err)
		}
	})
}

// give takes one message from the stream and sends it to a worker, or answers that there is none.
func (q *Queue) give(consumer jetstream.Consumer, worker string, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(q.pool.ctx, nextWait)
	defer cancel()
	batch, err := consumer.Fetch(1, jetstream.FetchContext(ctx))
	var message jetstream.Msg
	if err == nil {
		message = <-batch.Messages() // nil when it is closed without any
		err = batch.Error()
	}
	q.asking.Delete(worker) // it may ask again as soon as it has this answer
	if message != nil {
		return q.hand(message, worker, m)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout) {
		err = nil
	}
	return errors.Join(err, m.Respond(nil))
}

// hand sends a message's task to a worker and remembers the piece. Without a first word within firstHold the work
// goes to another.
func (q *Queue) hand(message jetstream.Msg, worker string, m *nats.Msg) error {
	w := &piece{worker: worker, message: message}
	if err := read(message.Data(), &w.task); err != nil {
		q.pool.log.Error("bad work", "error", err)
		return errors.Join(message.Term(), m.Respond(nil))
	}
	w.task.Delivered = deliveries(message)
	id := rand.Text()
	q.mu.Lock()
	w.silence = time.AfterFunc(firstHold, func() {
		if q.drop(id) != nil {
			q.pool.log.Info("work is given to another: its worker says nothing", "worker", worker, "batch", w.task.Batch, "work", w.task.ID)
			_ = message.Nak() // if this is lost, JetStream gives the message back by itself
		}
	})
	q.pieces[id] = w
	q.mu.Unlock()
	return m.RespondMsg(&nats.Msg{Reply: inbox(poolInbox, q.pool.id) + pieceSubject + id, Data: encoded(w.task)})
}

// drop forgets a piece of work; nil if it was forgotten before.
func (q *Queue) drop(id string) *piece {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.pieces[id]
	if w != nil {
		w.silence.Stop()
		delete(q.pieces, id)
	}
	return w
}

// progress handles a message about a piece of work from the worker that has it.
func (q *Queue) progress(m *nats.Msg) {
	id := m.Subject[strings.LastIndex(m.Subject, ".")+1:]
	var said progress
	if err := read(m.Data, &said); err != nil {
		q.pool.log.Warn("bad word of work", "error", err)
		return
	}
	switch {
	case said.Hold:
		q.mu.Lock()
		w := q.pieces[id]
		if w != nil {
			w.silence.Reset(workTimeout)
		}
		q.mu.Unlock()
		if w != nil {
			_ = w.message.InProgress() // one that is lost is followed by others
		}
	case said.Back:
		if w := q.drop(id); w != nil {
			_ = w.message.NakWithDelay(workRetry) // if this is lost, JetStream gives the message back by itself
		}
	default:
		q.do(func() { q.settle(m, id, said.Answer) })
	}
}

// settle keeps an answer and acknowledges the work.
func (q *Queue) settle(m *nats.Msg, id string, a *answerMsg) {
	q.mu.Lock()
	w := q.pieces[id]
	q.mu.Unlock()
	var err error
	switch {
	case w == nil:
		err = fault.New(fault.Conflict, "the work was given to another")
	case a.Batch != w.task.Batch || a.ID != w.task.ID:
		err = fault.New(fault.Invalid, "the answer is to other work")
	default:
		err = q.keep(w, id, a.Answer)
	}
	log := q.pool.log.With("batch", a.Batch, "work", a.ID)
	if err != nil {
		log.Warn("an answer is not kept", "error", err)
	}
	if strings.HasPrefix(m.Reply, inbox(workerInbox, "")) {
		if err := m.Respond(encoded(reply{Fault: fault.Of(err)})); err != nil && q.pool.ctx.Err() == nil {
			log.Warn("answer a worker", "error", err)
		}
	}
}

// keep stores an answer in the stream of answers, and acknowledges the work only then.
func (q *Queue) keep(w *piece, id string, a decode.Answer) error {
	ctx, cancel := context.WithTimeout(q.pool.ctx, settleWait)
	defer cancel()
	a.Worker = w.worker // whatever worker the answer names
	if err := publish(ctx, q.stream, answerSubject(a.Batch, a.ID), encoded(answerMsg{a})); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the answer cannot be kept")
	}
	q.drop(id)
	// If it is lost the work is done once more, and its answer dropped.
	if err := w.message.DoubleAck(ctx); err != nil {
		q.pool.log.Info("acknowledge work", "error", err)
	}
	return nil
}
