package worker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"realign/internal/decode"
	"realign/internal/pair"
)

// hostile is a connection with the token of workers and nothing else of ours.
type hostile struct {
	*nats.Conn
	t      *testing.T
	denied chan error
}

// newHostile connects under the name of a worker.
func newHostile(t *testing.T, p *Pool, pair, id string) *hostile {
	t.Helper()
	h := &hostile{t: t, denied: make(chan error, 100)}
	at, err := address(p.own.server.Addr().String(), p.JoinToken())
	if err != nil {
		t.Fatal(err)
	}
	options := append(at.options(), nats.Name(nameOf(pair, id)), nats.CustomInboxPrefix(inbox(workerInbox, id)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { h.denied <- err }))
	if h.Conn, err = nats.Connect(at.full, options...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// refused waits for the server's word that the last thing is not permitted.
func (h *hostile) refused(what string) {
	h.t.Helper()
	if err := h.FlushTimeout(10 * time.Second); err != nil {
		h.t.Fatal(err)
	}
	select {
	case err := <-h.denied:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			h.t.Errorf("%s: %v", what, err)
		}
	case <-time.After(10 * time.Second):
		h.t.Errorf("%s is permitted", what)
	}
}

// listening is a pool that others may join, over TLS, with work queues and a piece of work for each of two pairs.
func listening(t *testing.T) (*Pool, *Queue) {
	t.Helper()
	p := newPool(t, Config{Pairs: library(t, "demo", "other"), Listen: "127.0.0.1:0", Token: rightToken, Data: t.TempDir()})
	q := openQueue(t, p)
	for _, name := range []string{"demo", "other"} {
		w := work("b"+name, 1, 3)
		w.Pair = name
		if err := q.Offer(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	return p, q
}

// whole fails when the work that listening has queued, or a queue, is gone.
func whole(t *testing.T, q *Queue, when string) {
	t.Helper()
	for name, want := range map[string]uint64{workStream: 2, answerStream: 0} {
		s, err := q.stream.Stream(t.Context(), name)
		if err != nil {
			t.Fatalf("%s: %s: %v", when, name, err)
		}
		if got := s.CachedInfo().State.Msgs; got < want {
			t.Errorf("%s: %s holds %d messages, and held %d", when, name, got, want)
		}
	}
}

// TestTokenPermits: with a worker's token one can work, and can neither hear what is for others, nor speak for them, nor
// touch the queues.
func TestTokenPermits(t *testing.T) {
	p, q := listening(t)
	h := newHostile(t, p, "demo", "w1")
	for _, subject := range []string{
		">", "*.*.>", orders("demo"), orderPrefix + "*", prefix + ">", "realign.>", greetings, events(p.id, "*", "*"), events("*", "w1", "*"),
		workerBeats, beatOf("demo", "w1"), controls("w2"), controls("*"), workPrefix + ">", answerPrefix + ">",
		"_INBOX.>", inbox(poolInbox, p.id) + ".>", inbox(poolInbox, "*") + ".>", inbox(workerInbox, "w2") + ".>", "_INBOX_WORKER.>",
		"$JS.>", "$JS.EVENT.>", "$JS.ACK.>", "$SYS.>",
	} {
		if _, err := h.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		h.refused("hearing " + subject)
	}
	for _, group := range []string{"mine", ">", "workers2"} {
		if _, err := h.QueueSubscribeSync(orders("demo"), group); err != nil {
			t.Fatal(err)
		}
		h.refused("orders as one of the group " + group)
	}
	if _, err := h.QueueSubscribeSync(orders("other"), queueGroup); err != nil {
		t.Fatal(err)
	}
	h.refused("orders of another pair")

	for _, subject := range []string{
		events(p.id, "w2", "run"), events(p.id, "w1", "run") + ".more", prefix + "events." + p.id + ".run", beatOf("demo", "w2"), beatOf("other", "w1"), poolBeats,
		orders("demo"), controls("w1"), controls("w2"), inbox(poolInbox, p.id) + ".x.y", inbox(workerInbox, "w2") + ".x",
		workSubject("demo", "b", "1"), answerSubject("bdemo", work("bdemo", 1, 3).ID), nextOf("other", "w1"), nextOf("demo", "w2"), prefix + "more",
		inbox(poolInbox, p.id) + pieceSubject + "guess",
		"$JS.API.STREAM.DELETE." + workStream, "$JS.API.STREAM.PURGE." + workStream, "$JS.API.STREAM.UPDATE." + answerStream, "$JS.API.STREAM.CREATE.MINE",
		"$JS.API.STREAM.MSG.GET." + workStream, "$JS.API.STREAM.MSG.DELETE." + workStream, "$JS.API.DIRECT.GET." + workStream, "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
		"$JS.API.STREAM.INFO." + workStream, "$JS.API.INFO", "$JS.API.CONSUMER.CREATE." + workStream + ".mine", "$JS.API.CONSUMER.DURABLE.CREATE." + workStream + ".mine",
		"$JS.API.CONSUMER.DELETE." + workStream + "." + takers("demo").Durable, "$JS.API.CONSUMER.PAUSE." + workStream + "." + takers("demo").Durable,
		"$JS.API.CONSUMER.MSG.NEXT." + workStream + "." + takers("demo").Durable, "$JS.API.CONSUMER.MSG.NEXT." + workStream + "." + takers("other").Durable, "$JS.API.CONSUMER.MSG.NEXT." + answerStream + ".batch-bdemo",
		"$JS.API.CONSUMER.INFO." + workStream + "." + takers("demo").Durable,
		"$JS.ACK." + workStream + "." + takers("demo").Durable + ".1.1.1.1.1", "$JS.FC.x", "$SYS.REQ.SERVER.PING",
	} {
		if err := h.PublishRequest(subject, h.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
		h.refused("saying " + subject)
	}
	whole(t, q, "after what is refused")
}

// TestAnswersGoToWhoAsked: a hostile worker cannot have a pool, which may do everything, send an answer to a place where it
// does harm. (JetStream would: a request for a message may name any subject, also one that deletes a queue.)
func TestAnswersGoToWhoAsked(t *testing.T) {
	p, q := listening(t)
	h := newHostile(t, p, "demo", "w1")
	hi := encoded(joinRequest{Protocol: protocol, Worker: "w1", Pair: "demo"})
	for _, harm := range []string{"$JS.API.STREAM.PURGE." + workStream, "$JS.API.STREAM.DELETE." + workStream, inbox(workerInbox, "w2") + ".x"} {
		for subject, data := range map[string][]byte{greetings: hi, nextOf("demo", "w1"): nil} {
			if err := h.PublishRequest(subject, harm, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What was asked is done once these, which came later, are answered.
	if _, err := h.Request(greetings, hi, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	m, err := h.Request(nextOf("demo", "w1"), nil, 10*time.Second)
	if err != nil || len(m.Data) == 0 {
		t.Fatalf("the work went elsewhere: %v", err)
	}
	wrong := encoded(progress{Answer: &answerMsg{decode.Answer{Batch: "bother", ID: "x", Replies: []decode.Reply{{}}}}})
	if err := h.PublishRequest(m.Reply, "$JS.API.STREAM.PURGE."+workStream, wrong); err != nil {
		t.Fatal(err)
	}
	kept, err := h.Request(m.Reply, wrong, 10*time.Second)
	if err != nil || !strings.Contains(string(kept.Data), "other work") {
		t.Errorf("an answer to other work: %v, %v", kept, err)
	}
	whole(t, q, "after answers to other places")
}

// TestOnlyTheTakerIsHeard: events of a run count from the worker that took it only, and answers to work from those who were
// given the work.
func TestOnlyTheTakerIsHeard(t *testing.T) {
	p, q := listening(t)
	honest, hostile := newHostile(t, p, "demo", "w1"), newHostile(t, p, "demo", "w2")
	for _, h := range []struct {
		*nats.Conn
		id string
	}{{honest.Conn, "w1"}, {hostile.Conn, "w2"}} {
		if err := h.Publish(beatOf("demo", h.id), encoded(workerBeat{Worker: h.id, Pair: "demo", State: pair.Ready})); err != nil {
			t.Fatal(err)
		}
	}
	awaitWorkers(t, p, 2)
	_, err := honest.QueueSubscribe(orders("demo"), queueGroup, func(m *nats.Msg) {
		var o order
		if err := read(m.Data, &o); err != nil {
			t.Error(err)
			return
		}
		// Should the ID of the run be known, it is of no use to others.
		for _, text := range []string{`{"first":1,"events":[]}`, `{"fault":{"code":"internal","message":"forged"}}`} {
			if err := errors.Join(hostile.Publish(events(o.Pool, "w2", o.Run), []byte(text)), hostile.Flush()); err != nil {
				t.Error(err)
			}
		}
		if err := m.Respond(encoded(receipt{Worker: "w1"})); err != nil {
			t.Error(err)
		}
		honest.Publish(events(o.Pool, "w1", o.Run), []byte(`{"first":1,"events":[{"type":"start","lane":0,"prompt":{"total":3,"done":0}},`+
			`{"type":"end","lane":0,"reason":"stop"},{"type":"stats","stats":{}}]}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := honest.Flush(); err != nil {
		t.Fatal(err)
	}
	l := newLog()
	r, err := p.Decode(t.Context(), "demo", request(1, 3), l.sink)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the run", r.Done())
	for _, e := range l.ends(t, 1) {
		if e.Reason != decode.EndStop {
			t.Errorf("the run ends with %s, %+v", e.Reason, e.Error)
		}
	}

	// Who was given a piece of work answers it, under no other name, and once.
	var got answers
	defer got.read(t, q, "bdemo")()
	m, err := honest.Request(nextOf("demo", "w1"), nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var o task
	if err := read(m.Data, &o); err != nil || o.Delivered != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	right := encoded(progress{Answer: &answerMsg{decode.Answer{Batch: o.Batch, ID: o.ID, Worker: "w2", Replies: []decode.Reply{{Text: "right"}}}}})
	if err := hostile.PublishRequest(m.Reply, hostile.NewInbox(), right); err != nil {
		t.Fatal(err)
	}
	hostile.refused("answering the work of another whose address is known")
	for i, want := range []string{`{}`, "given to another"} {
		kept, err := honest.Request(m.Reply, right, 10*time.Second)
		if err != nil || !strings.Contains(string(kept.Data), want) {
			t.Errorf("answer %d: %v, %v", i, kept, err)
		}
	}
	for _, a := range got.until(t, 1) {
		if a.Replies[0].Text != "right" || a.Worker != "w1" {
			t.Errorf("the answer is %+v", a)
		}
	}
}

// TestSilentWorker: work is given to another at once if its worker does not say that it has it.
func TestSilentWorker(t *testing.T) {
	p, _ := listening(t)
	h := newHostile(t, p, "demo", "w1")
	for i := range 2 {
		m, err := h.Request(nextOf("demo", "w1"), nil, firstHold+nextWait+5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var o task
		if len(m.Data) == 0 {
			m, err = h.Request(nextOf("demo", "w1"), nil, firstHold+nextWait+5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := read(m.Data, &o); err != nil || o.Delivered != i+1 {
			t.Fatalf("%d: %+v, %v", i, o, err)
		}
	}
}

// TestChildIsNoMore: a child, which reads models that others made, has the permissions of a worker too.
func TestChildIsNoMore(t *testing.T) {
	p := newPool(t, Config{})
	at, err := address(p.URL(), "")
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{t: t, denied: make(chan error, 10)}
	h.Conn, err = nats.Connect(at.full, nats.Name(nameOf("demo", "c")), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { h.denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.SubscribeSync(">"); err != nil {
		t.Fatal(err)
	}
	h.refused("hearing all")
}

// TestOlderProgramIsTold: workers of earlier protocols connect, as those connected, and hear that they are too old.
func TestOlderProgramIsTold(t *testing.T) {
	p := newPool(t, Config{Listen: "127.0.0.1:0", Token: rightToken, Build: "b3"})
	at, _ := address(p.own.server.Addr().String(), p.JoinToken())
	for old, options := range map[int][]nats.Option{
		1: {nats.Name("realign worker demo")},
		2: {nats.Name(nameOf("demo", "old")), nats.CustomInboxPrefix(inbox(workerInbox, "old"))},
	} {
		conn, err := nats.Connect(at.full, append(at.options(), options...)...)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		m, err := conn.Request(greetings, encoded(joinRequest{Protocol: old, Build: "b", Worker: "old", Pair: "demo"}), 10*time.Second)
		if err != nil {
			t.Fatalf("protocol %d: %v", old, err)
		}
		var w joinReply
		if err := read(m.Data, &w); err != nil || w.Fault == nil || !strings.Contains(w.Fault.Message, "run the same version") {
			t.Errorf("protocol %d: %+v %v", old, w, err)
		}
	}
}

func TestPairToken(t *testing.T) {
	full := rightToken + pinMark + "ab12"
	got := PairToken(full, "a.b")
	if !strings.HasPrefix(got, "pair-") || !strings.HasSuffix(got, pinMark+"ab12") || strings.Contains(got, rightToken) || got == PairToken(full, "a") {
		t.Errorf("%s", got)
	}
	if secret, _ := unpin(got); secret != pairToken(rightToken, "a%2Eb") || len(secret) < minToken {
		t.Errorf("%s", secret)
	}
	for _, name := range []string{"", "realign worker", "realign worker a", "realign worker a b c", "realign worker a >", "realign worker * b", "x realign worker a b"} {
		if pair, id, ok := claim(name); ok {
			t.Errorf("%q claims %s %s", name, pair, id)
		}
	}
	if pair, id, ok := claim(nameOf("a.b", "w")); !ok || fmt.Sprint(pair, " ", id) != "a%2Eb w" {
		t.Errorf("%s %s", pair, id)
	}
}
