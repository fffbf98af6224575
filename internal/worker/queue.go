package worker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"realign/internal/decode"
	"realign/internal/fault"
)

// Queue is the pool's side of the work that nobody waits for. Its methods may be called from any goroutine; they are
// Unavailable where NATS has no JetStream or does not answer.
type Queue struct {
	pool   *Pool // whose workers it hands work to
	stream jetstream.JetStream
	served sync.Map // jetstream.Consumer by pair (escaped)
	asking sync.Map // workers that wait for work

	mu     sync.Mutex        // guards pieces
	pieces map[string]*piece // handed out and not settled, by their random ids
}

// Queue opens the work queues, which outlive the server.
func (p *Pool) Queue(ctx context.Context) (*Queue, error) {
	stream, err := jetstream.New(p.conn)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the work queues cannot be opened")
	}
	// What a server left that was killed is read first, and disks can be busy.
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	for _, config := range streams() {
		if _, err := stream.CreateOrUpdateStream(ctx, config); err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the work queue %s cannot be opened: the NATS server needs JetStream", config.Name)
		}
	}
	q := &Queue{pool: p, stream: stream, pieces: map[string]*piece{}}
	pairs, _ := p.config.Pairs.List() // a broken manifest is told of where pairs are listed
	for _, known := range pairs {
		if err := q.serve(ctx, known.Name); err != nil {
			return nil, err
		}
	}
	if p.own != nil { // what older programs queued is offered again under the names of today
		for _, old := range oldStreams {
			if err := stream.DeleteStream(ctx, old); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				p.log.Warn("an old work queue is not removed", "name", old, "error", err)
			}
		}
	}
	return q, q.hands()
}

// serve makes the consumer of the work of a pair.
func (q *Queue) serve(ctx context.Context, pair string) error {
	if _, done := q.served.Load(escape(pair)); done {
		return nil
	}
	consumer, err := q.stream.CreateOrUpdateConsumer(ctx, workStream, takers(pair))
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "work for pair %s cannot be queued", pair)
	}
	q.served.Store(escape(pair), consumer)
	return nil
}

// openTimeout is how long opening the streams may take.
const openTimeout = time.Minute

// Start begins to load a pair, as Pool.Start.
func (q *Queue) Start(pair string) error { return q.pool.Start(pair) }

// Offer puts work into the queue, unless it, or its answer, is there already.
func (q *Queue) Offer(ctx context.Context, w decode.Work) error {
	data, err := json.Marshal(task{Batch: w.Batch, ID: w.ID, Request: w.Request})
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the request cannot be sent")
	}
	if len(data) > maxOrder {
		return fault.Field("prompt", "the request takes %d bytes, at most %d", len(data), maxOrder)
	}
	answers, err := q.stream.Stream(ctx, answerStream)
	if err == nil {
		if _, err = answers.GetLastMsgForSubject(ctx, answerSubject(w.Batch, w.ID)); err == nil {
			return nil
		}
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			if err = q.serve(ctx, w.Pair); err != nil {
				return err
			}
			err = publish(ctx, q.stream, workSubject(w.Pair, w.Batch, w.ID), data)
		}
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "work cannot be queued")
	}
	return nil
}

// publish keeps a message on its subject. Where one is kept already, that one stays.
func publish(ctx context.Context, stream jetstream.JetStream, subject string, data []byte) error {
	_, err := stream.Publish(ctx, subject, data)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == storeFailed && strings.Contains(refused.Description, "per subject") {
		return nil
	}
	return err
}

// storeFailed is the server's code for a message that a stream does not take.
const storeFailed jetstream.ErrorCode = 10077

// Withdraw takes back the work of a batch that no worker has begun, and, with answers, what was answered and not read.
// Work that a worker has begun is answered.
func (q *Queue) Withdraw(ctx context.Context, batch string, answers bool) error {
	purge := map[string]string{workStream: workPrefix + "*." + batch + ".>"}
	if answers {
		purge[answerStream] = answerPrefix + batch + ".>"
	}
	for name, subject := range purge {
		stream, err := q.stream.Stream(ctx, name)
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "work cannot be taken back")
		}
	}
	return nil
}

// Forget removes all that is left of a batch.
func (q *Queue) Forget(ctx context.Context, batch string) error {
	if err := q.Withdraw(ctx, batch, true); err != nil {
		return err
	}
	err := q.stream.DeleteConsumer(ctx, answerStream, readers(batch).Durable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fault.Wrap(err, fault.Unavailable, "the answers cannot be closed")
	}
	return nil
}

// Answers hands the answers of a batch to take, several at once, until ctx is done. One that take returns an error for
// is given again later, also by the next process. What cannot be read is dropped, with a word in the log.
func (q *Queue) Answers(ctx context.Context, batch string, atOnce int, take func(context.Context, decode.Answer) error) error {
	consumer, err := q.stream.CreateOrUpdateConsumer(ctx, answerStream, readers(batch))
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the answers cannot be read")
	}
	log := q.pool.log.With("batch", batch)
	var wait sync.WaitGroup
	for range atOnce {
		wait.Go(func() {
			pull(ctx, consumer, func(m jetstream.Msg) {
				var a answerMsg
				if err := read(m.Data(), &a); err != nil {
					log.Error("bad answer", "error", err)
					_ = m.Term() // a failure to say so gives it again, to the same end
					return
				}
				err := holding(func() { _ = m.InProgress() }, answerTimeout/3, func() error { return take(ctx, a.Answer) })
				switch {
				case err == nil:
					err = m.DoubleAck(context.WithoutCancel(ctx))
				case ctx.Err() != nil:
					err = m.Nak()
				default:
					log.Warn("answer not taken", "id", a.ID, "error", err)
					err = m.NakWithDelay(time.Second)
				}
				if err != nil && ctx.Err() == nil {
					log.Warn("acknowledge answer", "id", a.ID, "error", err)
				}
			}, func(err error) { log.Warn("read answers", "error", err) })
		})
	}
	wait.Wait()
	return nil
}

// pull handles messages one by one until ctx is done. A server that does not answer is asked again after a second.
func pull(ctx context.Context, consumer jetstream.Consumer, handle func(jetstream.Msg), trouble func(error)) {
	for ctx.Err() == nil {
		// One at a time, and none in advance: what waits here could not be given to another.
		asking, cancel := context.WithTimeout(ctx, pullWait)
		batch, err := consumer.Fetch(1, jetstream.FetchContext(asking))
		if err == nil {
			for m := range batch.Messages() {
				handle(m)
			}
			err = batch.Error()
		}
		cancel()
		if err == nil || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			continue
		}
		trouble(err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// pullWait is how long one question for a message waits.
const pullWait = 30 * time.Second

// holding runs f and calls hold, at once and every now and then until f returns.
func holding(hold func(), every time.Duration, f func() error) error {
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			hold()
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	defer wait.Wait()
	defer close(done)
	return f()
}
