package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

func openQueue(t *testing.T, p *Pool) *Queue {
	t.Helper()
	q, err := p.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func work(batch string, i, tokens int) decode.Work {
	r := request(3, tokens)
	r.Seed, r.Totals, r.Evaluate = uint64(i), true, []float64{0, 0.5, 1}
	return decode.Work{Batch: batch, ID: fmt.Sprintf("%d_0.5", i), Pair: "demo", Request: r}
}

// answers gathers them, until some number of different ones is there.
type answers struct {
	mu    sync.Mutex
	all   []decode.Answer
	every chan struct{}
}

func (a *answers) read(t *testing.T, q *Queue, batch string) (stop func()) {
	t.Helper()
	a.every = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		err := q.Answers(ctx, batch, 2, func(_ context.Context, x decode.Answer) error {
			a.mu.Lock()
			a.all = append(a.all, x)
			a.mu.Unlock()
			select {
			case a.every <- struct{}{}:
			default:
			}
			return nil
		})
		if err != nil {
			t.Errorf("Answers: %v", err)
		}
	})
	return func() { cancel(); wait.Wait() }
}

func (a *answers) until(t *testing.T, n int) []decode.Answer {
	t.Helper()
	late := time.After(60 * time.Second)
	for {
		a.mu.Lock()
		all := slices.Clone(a.all)
		a.mu.Unlock()
		if len(all) >= n {
			return all
		}
		select {
		case <-a.every:
		case <-late:
			t.Fatalf("%d of %d answers came", len(all), n)
		}
	}
}

// TestWork: what is offered, twice or once, is answered once, with what the engine says to the same request.
func TestWork(t *testing.T) {
	p := newPool(t, Config{Command: process, Data: t.TempDir()})
	q := openQueue(t, p)
	if err := q.Start("demo"); err != nil {
		t.Fatal(err)
	}
	var got answers
	stop := got.read(t, q, "b")
	defer stop()
	for range 2 {
		for i := range 6 {
			if err := q.Offer(t.Context(), work("b", i, 12)); err != nil {
				t.Fatal(err)
			}
		}
	}
	bad := work("b", 6, 12)
	bad.Request.Sampling.TopK = 2
	if err := q.Offer(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	all := got.until(t, 7)
	e := decode.NewEngine(table(0), drafting)
	defer e.Close()
	seen := map[string]bool{}
	for _, a := range all {
		if seen[a.ID] {
			t.Errorf("%s is answered twice", a.ID)
		}
		seen[a.ID] = true
		if a.ID == bad.ID {
			if a.Fault == nil || a.Fault.Kind != fault.Invalid || a.Fault.Field != "top_k" {
				t.Errorf("bad work is answered by %+v", a.Fault)
			}
			continue
		}
		var i int
		fmt.Sscanf(a.ID, "%d_", &i)
		var gather decode.Gather
		j, err := e.Start(work("b", i, 12).Request, gather.Add)
		if err != nil {
			t.Fatal(err)
		}
		<-j.Done()
		want, _ := gather.Replies(work("b", i, 12).Request.Lanes)
		if fmt.Sprintf("%+v", plainReplies(a.Replies)) != fmt.Sprintf("%+v", plainReplies(want)) {
			t.Errorf("%s is answered by %+v, and the engine says %+v", a.ID, plainReplies(a.Replies), plainReplies(want))
		}
	}
}

// plainReplies are replies without pointers.
func plainReplies(all []decode.Reply) (plain []string) {
	for _, r := range all {
		plain = append(plain, fmt.Sprintf("%d %v %q %d %s %+v", r.Lane, r.Lambda, r.Text, r.Tokens, r.Reason, *r.Totals))
	}
	return plain
}

// TestWorkOutlivesThePool: what was offered and answered before the server died is there for the next one.
func TestWorkOutlivesThePool(t *testing.T) {
	data := t.TempDir()
	p := newPool(t, Config{Data: data})
	q := openQueue(t, p)
	for i := range 3 {
		if err := q.Offer(t.Context(), work("b", i, 8)); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()

	p = newPool(t, Config{Command: process, Data: data})
	q = openQueue(t, p)
	if err := q.Start("demo"); err != nil {
		t.Fatal(err)
	}
	var refused sync.Once
	ctx, cancel := context.WithCancel(t.Context())
	var got answers
	got.every = make(chan struct{}, 1)
	var wait sync.WaitGroup
	wait.Go(func() { // one that is not taken is given again
		q.Answers(ctx, "b", 1, func(_ context.Context, a decode.Answer) (err error) {
			refused.Do(func() { err = errors.New("no room") })
			if err == nil {
				got.mu.Lock()
				got.all = append(got.all, a)
				got.mu.Unlock()
				got.every <- struct{}{}
			}
			return err
		})
	})
	got.until(t, 3)
	cancel()
	wait.Wait()
	if err := q.Forget(t.Context(), "b"); err != nil {
		t.Error(err)
	}
}

// TestWithdraw: work that nobody has begun is not decoded after it was taken back.
func TestWithdraw(t *testing.T) {
	p := newPool(t, Config{Command: process, Data: t.TempDir()})
	q := openQueue(t, p)
	for i := range 4 {
		if err := errors.Join(q.Offer(t.Context(), work("gone", i, 8)), q.Offer(t.Context(), work("kept", i, 8))); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Withdraw(t.Context(), "gone", true); err != nil {
		t.Fatal(err)
	}
	if err := q.Start("demo"); err != nil {
		t.Fatal(err)
	}
	var kept, gone answers
	defer kept.read(t, q, "kept")()
	defer gone.read(t, q, "gone")()
	kept.until(t, 4)
	if len(gone.all) > 0 {
		t.Errorf("%d pieces of work were decoded after they were taken back", len(gone.all))
	}
}

// TestWorkers: two workers share the work; one is killed in the middle of it and nothing is lost. What it had answered
// and not acknowledged is answered again, in the same words.
func TestWorkers(t *testing.T) {
	p := newPool(t, Config{Data: t.TempDir()})
	q := openQueue(t, p)
	var got answers
	defer got.read(t, q, "b")()
	var workers []*os.Process
	for _, id := range []string{"one", "two"} {
		c := process("demo", p.URL(), id)
		c.Env = append(c.Env, "WORKER_TEST_REMOTE=1")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		workers = append(workers, c.Process)
		defer func() { c.Process.Kill(); c.Wait() }()
	}
	awaitWorkers(t, p, 2)
	const n = 24
	for i := range n {
		if err := q.Offer(t.Context(), work("b", i, 60)); err != nil {
			t.Fatal(err)
		}
	}
	by := map[string]int{}
	for want := 6; by["one"] == 0 || by["two"] == 0; want++ { // each has answered
		clear(by)
		for _, a := range got.until(t, want) {
			by[a.Worker]++
		}
	}
	if err := workers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for want := n; len(seen) < n; want++ {
		for _, a := range got.until(t, want) {
			said := fmt.Sprint(a.Fault, plainReplies(a.Replies))
			if before, again := seen[a.ID]; again && before != said || a.Fault != nil {
				t.Errorf("%s is answered by %s, and was by %s", a.ID, said, before)
			}
			seen[a.ID] = said
		}
	}
}

// TestWorkLetsRunsGoFirst: a run that somebody waits for is decoded while there is work for hours.
func TestWorkLetsRunsGoFirst(t *testing.T) {
	p := newPool(t, Config{Command: process, Data: t.TempDir()})
	q := openQueue(t, p)
	var got answers
	defer got.read(t, q, "b")()
	for i := range 40 {
		if err := q.Offer(t.Context(), work("b", i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Start("demo"); err != nil {
		t.Fatal(err)
	}
	alone := func() time.Duration {
		l := newLog()
		began := time.Now()
		j, err := p.Decode(t.Context(), "demo", request(2, 60), l.sink)
		if err != nil {
			t.Fatal(err)
		}
		within(t, "the run", j.Done())
		return time.Since(began)
	}
	before := len(got.until(t, 1))
	busy := alone()
	if n := len(got.until(t, 1)) - before; n > 20 { // of 40
		t.Errorf("%d pieces of work were answered before the run had ended", n)
	}
	if err := q.Withdraw(t.Context(), "b", false); err != nil {
		t.Fatal(err)
	}
	for begun, late := 1, time.Now().Add(time.Minute); begun > 0; time.Sleep(10 * time.Millisecond) {
		q.mu.Lock()
		begun = len(q.pieces)
		q.mu.Unlock()
		if time.Now().After(late) {
			t.Fatalf("%d pieces of work do not end", begun)
		}
	}
	idle := min(alone(), alone())
	t.Logf("a run takes %v beside work, %v alone", busy, idle)
	if busy > 3*idle+200*time.Millisecond && os.Getenv("REALIGN_SIMULATIONS") != "" { // other programs may take the processor
		t.Error("too long beside work")
	}
}

// TestNoJetStream: a NATS server without it is refused in words.
func TestNoJetStream(t *testing.T) {
	p := newPool(t, Config{})
	if _, err := p.Queue(t.Context()); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("Queue without JetStream: %v", err)
	}
}
