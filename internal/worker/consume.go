package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"realign/internal/decode"
	"realign/internal/fault"
)

// consume asks the pools for work of the pair and decodes it, one piece after the other, until ctx is done. Pools without JetStream
// have no work.
//
// One piece at a time: where two share the cache, the order in which attention sums depends on how they happened to be mixed,
// and eight-bit layers after it round differently. A piece that is alone is decoded to the same numbers whenever it is.
func (s *service) consume(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		asking, cancel := context.WithTimeout(ctx, handTimeout)
		m, err := s.conn.RequestWithContext(asking, nextOf(s.config.Pair, s.config.ID), nil)
		cancel()
		switch {
		case err == nil && len(m.Data) > 0:
			s.work(ctx, m)
			continue
		case err != nil && ctx.Err() == nil && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, context.DeadlineExceeded):
			s.log.Warn("ask for work", "error", err)
		}
		if time.Since(began) >= workRetry {
			continue // it was waited for
		}
		select {
		case <-time.After(workRetry):
		case <-ctx.Done():
		}
	}
}

// workRetry is how soon a worker asks again after an answer that came at once, or none.
const workRetry = time.Second

// work decodes one piece of work and sends its answer, or gives it back.
func (s *service) work(ctx context.Context, m *nats.Msg) {
	var t task
	if err := read(m.Data, &t); err != nil || m.Reply == "" {
		s.log.Error("bad work", "error", err)
		return
	}
	log := s.log.With("batch", t.Batch, "work", t.ID)
	err := holding(func() { s.tell(m.Reply, progress{Hold: true}) }, workBeat, func() error {
		answer, err := s.answer(ctx, t, t.Delivered)
		if err != nil {
			return err
		}
		data, err := json.Marshal(progress{Answer: &answerMsg{answer}})
		if err == nil && len(data) > maxAnswer {
			err = fmt.Errorf("the answer takes %d bytes, at most %d", len(data), maxAnswer)
		}
		if err != nil { // of no use to try again
			f := fault.Wrap(err, fault.Internal, "the answer cannot be sent")
			data = encoded(progress{Answer: &answerMsg{decode.Answer{Batch: t.Batch, ID: t.ID, Worker: s.config.ID, Fault: f}}})
		}
		return s.deliver(context.WithoutCancel(ctx), m.Reply, data)
	})
	if err != nil {
		s.tell(m.Reply, progress{Back: true})
		if ctx.Err() == nil {
			log.Info("work given back", "why", err)
		}
	}
}

// tell sends the progress of a piece of work. A message that is lost does no harm: the work is then given to another worker.
func (s *service) tell(address string, p progress) {
	if err := s.conn.Publish(address, encoded(p)); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.log.Warn("tell of work", "error", err)
	}
}

// deliver sends an answer and waits until it is kept.
func (s *service) deliver(ctx context.Context, address string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	m, err := s.conn.RequestWithContext(ctx, address, data)
	if err != nil {
		return err
	}
	var kept reply
	if err := read(m.Data, &kept); err != nil {
		return err
	}
	if kept.Fault != nil {
		return kept.Fault
	}
	return nil
}

// deliveries is how often a message was given to somebody.
func deliveries(m jetstream.Msg) int {
	meta, err := m.Metadata()
	if err != nil {
		return 1
	}
	return int(min(meta.NumDelivered, 1<<30))
}

// answer decodes a piece of work. An error means that another worker should try.
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
