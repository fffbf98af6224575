package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"realign/internal/decode"
	"realign/internal/fault"
)

// labour takes work from the queue of the pair, piece by piece, until ctx is done. A NATS server without JetStream has none.
//
// One piece at a time: where two share the cache, the order in which attention sums depends on how they happened to be mixed,
// and eight-bit layers after it round differently. A piece that is alone is decoded to the same numbers whenever it is.
func (s *service) labour(ctx context.Context) {
	stream, err := jetstream.New(s.conn)
	if err != nil {
		s.log.Warn("no work is taken", "error", err)
		return
	}
	var consumer jetstream.Consumer
	for told := false; consumer == nil; {
		consumer, err = stream.CreateOrUpdateConsumer(ctx, workStream, takers(s.config.Pair))
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			break
		}
		consumer = nil
		if !told && !errors.Is(err, jetstream.ErrStreamNotFound) {
			s.log.Info("no work can be taken yet", "error", err)
			told = true
		}
		select { // the server makes the stream when it needs it
		case <-time.After(workRetry):
		case <-ctx.Done():
			return
		}
	}
	pull(ctx, consumer, func(m jetstream.Msg) { s.work(ctx, stream, m) }, func(err error) { s.log.Warn("take work", "error", err) })
}

const workRetry = time.Second

// work decodes one piece of work and keeps its answer, or gives it back.
func (s *service) work(ctx context.Context, stream jetstream.JetStream, m jetstream.Msg) {
	var t task
	if err := read(m.Data(), &t); err != nil {
		s.log.Error("bad work", "error", err)
		_ = m.Term() // a failure to say so gives it again, to the same end
		return
	}
	log := s.log.With("batch", t.Batch, "work", t.ID)
	err := holding(ctx, m, workBeat, func() error {
		answer, err := s.answer(ctx, t, deliveries(m))
		if err != nil {
			return err
		}
		data, err := json.Marshal(answer)
		if err == nil && len(data) > maxAnswer {
			err = fmt.Errorf("the answer takes %d bytes, at most %d", len(data), maxAnswer)
		}
		if err != nil { // of no use to try again
			data = encoded(decode.Answer{Batch: t.Batch, ID: t.ID, Worker: s.config.ID, Fault: fault.Wrap(err, fault.Internal, "the answer cannot be sent")})
		}
		return publish(context.WithoutCancel(ctx), stream, answerSubject(t.Batch, t.ID), data)
	})
	switch {
	case err == nil:
		err = m.DoubleAck(context.WithoutCancel(ctx)) // if it is lost the work is done once more, and its answer dropped
	case ctx.Err() != nil:
		err = m.Nak()
	default:
		log.Info("work given back", "why", err)
		err = m.NakWithDelay(workRetry)
	}
	if err != nil && ctx.Err() == nil {
		log.Warn("acknowledge work", "error", err)
	}
}

// deliveries is how often a message was given to somebody.
func deliveries(m jetstream.Msg) int {
	meta, err := m.Metadata()
	if err != nil {
		return 1
	}
	return int(min(meta.NumDelivered, 1<<30))
}

// answer decodes. An error says that somebody should try again.
func (s *service) answer(ctx context.Context, t task, delivered int) (decode.Answer, error) {
	a := decode.Answer{Batch: t.Batch, ID: t.ID, Worker: s.config.ID}
	if delivered > maxDeliveries {
		a.Fault = fault.New(fault.Internal, "given up: %d workers died or were stopped while they decoded it", maxDeliveries)
		return a, nil
	}
	t.Request.Background = true
	var gather decode.Gather
	var cost decode.Stats
	j, err := s.engine.Start(t.Request, func(e decode.Event) {
		gather.Add(e)
		if e.Stats != nil {
			cost = *e.Stats
		}
	})
	switch fault.KindOf(err) {
	case "":
	case fault.Busy, fault.Unavailable:
		return a, err
	default:
		a.Fault = fault.Of(err)
		return a, nil
	}
	select {
	case <-j.Done():
	case <-ctx.Done():
		_ = j.Stop(-1) // stopping what has ended does nothing
		<-j.Done()
	}
	replies, whole := gather.Replies(t.Request.Lanes)
	for _, r := range replies {
		whole = whole && r.Reason != decode.EndCancelled
	}
	if !whole {
		return a, fault.New(fault.Unavailable, "the worker was stopped")
	}
	a.Replies, a.Seconds = replies, cost.Seconds
	return a, nil
}
