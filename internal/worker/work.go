package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"realign/internal/decode"
)

// Work that nobody waits for goes through two JetStream work queues on disk: orders to decode, which any worker of
// their pair is handed and which are acknowledged when its answer is kept, and the answers, which the server acknowledges when they
// are stored. Whoever dies in between leaves a message that is delivered again. A subject holds one message, so what is
// offered or answered twice is there once.
const (
	workStream    = "REALIGN_WORK_V3"
	answerStream  = "REALIGN_ANSWERS_V3"
	workPrefix    = prefix + "work."    // then pair, batch and key
	answerPrefix  = prefix + "answer."  // then batch and key
	workTimeout   = 12 * time.Second    // silence of a worker after which its work is given to another
	workBeat      = workTimeout / 4     // how often a worker says that it has its work
	answerTimeout = 30 * time.Second    // silence of a server after which an answer is given again
	maxAnswer     = 7 << 20             // bytes
	maxDeliveries = 25                  // of one piece of work; then it is given up
	maxWait       = 30 * 24 * time.Hour // for which work and answers are kept
)

// oldStreams are the names of earlier protocols.
var oldStreams = [...]string{"REALIGN_WORK_V1", "REALIGN_ANSWERS_V1", "REALIGN_WORK_V2", "REALIGN_ANSWERS_V2"}

// task is Work on the wire.
type task struct {
	Batch   string         `json:"batch"`   // what it belongs to
	ID      string         `json:"id"`      // within the batch
	Request decode.Request `json:"request"` // to be decoded in the background

	Delivered int `json:"delivered,omitempty"` // how often it was given to a worker, this time included
}

func (t *task) check() error {
	if !token(t.Batch) || t.ID == "" {
		return fmt.Errorf("work without batch or ID")
	}
	return nil
}

// answerMsg is an Answer on the wire.
type answerMsg struct {
	decode.Answer
}

func (a *answerMsg) check() error {
	if !token(a.Batch) || a.ID == "" || len(a.Replies) == 0 && a.Fault == nil {
		return fmt.Errorf("answer without batch, ID, or anything said")
	}
	return nil
}

// workSubject is where one piece of work waits: realign.v3.work.PAIR.BATCH.KEY.
func workSubject(pair, batch, id string) string {
	return workPrefix + escape(pair) + "." + batch + "." + key(id)
}

// answerSubject is where its answer waits: realign.v3.answer.BATCH.KEY.
func answerSubject(batch, id string) string { return answerPrefix + batch + "." + key(id) }

// key is an ID as one token of a subject.
func key(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// streams are the configurations of both queues.
func streams() []jetstream.StreamConfig {
	queue := jetstream.StreamConfig{
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxMsgsPerSubject: 1, DiscardNewPerSubject: true, AllowDirect: true, MaxAge: maxWait,
	}
	work, answers := queue, queue
	work.Name, work.Subjects = workStream, []string{workPrefix + ">"}
	answers.Name, answers.Subjects = answerStream, []string{answerPrefix + ">"}
	return []jetstream.StreamConfig{work, answers}
}

// takers is the consumer that the workers of a pair share.
func takers(pair string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: "pair-" + escape(pair), FilterSubject: workPrefix + escape(pair) + ".>",
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: workTimeout, MaxDeliver: -1, MaxAckPending: -1,
	}
}

// readers is the consumer of a batch's answers.
func readers(batch string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: "batch-" + batch, FilterSubject: answerPrefix + batch + ".>",
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: answerTimeout, MaxDeliver: -1, MaxAckPending: -1,
	}
}
