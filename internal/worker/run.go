package worker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/run"
)

// Limits of a run in a worker.
const (
	maxBacklog     = 64 << 20               // bytes of a run that its sink has not taken yet
	quiet          = 100 * time.Millisecond // once no message has come for this long, all messages of a dead worker have arrived
	receiptTimeout = 10 * time.Second       // for a worker to take an order
	controlTimeout = 5 * time.Second        // for a worker to answer a control
	tries          = 3                      // workers asked before a run is refused as busy
)

// remoteRun is a run that a worker decodes, as the pool sees it. It lives from Decode to its last event, which the worker has sent, or
// the pool has made in its place because the worker is gone, silent, or has lost something.
type remoteRun struct {
	pool    *Pool
	log     *slog.Logger
	id      string             // of this request, unguessable; a run of the user may be several
	request decode.Request     // as it was ordered
	sink    func(decode.Event) // takes the events in order, from one goroutine
	began   time.Time          // when it was ordered
	worker  string             // its ID
	peer    *peer              // what is known of the worker

	admitted chan struct{} // closed when refusal is known
	refusal  error         // nil once admitted
	done     chan struct{} // closed behind the last event

	wake chan struct{} // has room for one: there is a message, or a failure

	mu      sync.Mutex   // guards what follows
	backlog []parcel     // that came and were not delivered yet
	size    int          // of the backlog in bytes
	failure *fault.Error // ends the run; the first one counts

	// The rest belongs to the goroutine that delivers.
	finished bool                  // the last event went to the sink
	next     int                   // number of the next event
	ended    map[int]bool          // lanes
	tokens   map[int]int           // decoded, by lane
	lambda   map[int]decode.Vector // of the last token, by lane
	prompt   int                   // its tokens
}

// parcel is a message of events and the worker under whose ID it was sent.
type parcel struct {
	worker string
	data   []byte // a batch
}

var _ run.Decoder = (*Pool)(nil)

// Decode hands a request to a worker of the pair. It waits until the pair is loaded and a worker has
// admitted the request, at most until ctx is done and no longer than Config.Wait; from then on the run goes on until it ends or is
// stopped, whatever becomes of ctx. Events go to sink in order, from one goroutine; the last one is of type
// stats, also when the worker dies, whose lanes then end as unavailable. A sink may block for a while: what
// it has not taken is kept, up to a bound. Errors keep their kind and field.
func (p *Pool) Decode(ctx context.Context, name string, request decode.Request, sink func(decode.Event)) (run.Job, error) {
	waiting, cancel := context.WithTimeout(ctx, p.config.Wait)
	defer cancel()
	if err := p.Ready(waiting, name); err != nil {
		return nil, err
	}
	var err error
	for range tries {
		var r *remoteRun
		if r, err = p.decode(waiting, name, request, sink); err == nil {
			return &Run{r}, nil
		}
		if fault.KindOf(err) != fault.Busy || p.ready(name) < 2 {
			break
		}
	}
	return nil, err
}

// ready counts the workers of a pair.
func (p *Pool) ready(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, w := range p.peers {
		if w.beat.Pair == name && w.beat.State == pair.Ready {
			n++
		}
	}
	return n
}

// decode asks one worker.
func (p *Pool) decode(ctx context.Context, name string, request decode.Request, sink func(decode.Event)) (*remoteRun, error) {
	r := &remoteRun{
		pool: p, id: rand.Text(), request: request, sink: sink, began: time.Now(),
		log:      p.log.With("pair", name, "run", request.Run),
		admitted: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
		next: 1, ended: map[int]bool{}, tokens: map[int]int{}, lambda: map[int]decode.Vector{},
	}
	data, err := json.Marshal(order{Run: r.id, Pool: p.id, Request: request})
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the request cannot be sent")
	}
	if most := min(maxOrder, int(p.conn.MaxPayload())); len(data) > most {
		return nil, fault.Field("prompt", "the request takes %d bytes, at most %d", len(data), most)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fault.New(fault.Unavailable, "the server is stopping")
	}
	p.runs[r.id] = r
	p.active.Add(1)
	p.mu.Unlock()
	if r.worker, r.peer, err = p.ask(ctx, name, data); err != nil {
		r.forget()
		return nil, err
	}
	go r.deliver()
	select {
	case <-r.admitted:
		return r, r.refusal
	case <-ctx.Done():
		why := fault.New(fault.Unavailable, "nobody waits for the run any more")
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			why = fault.New(fault.Unavailable, "the worker of pair %s did not answer in time: try again soon", name)
		}
		r.fail(why)
		<-r.done
		return r, r.refusal // none if it was admitted just now
	}
}

// ask sends an order to the queue group and finds out who took it.
func (p *Pool) ask(ctx context.Context, name string, order []byte) (string, *peer, error) {
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	m, err := p.conn.RequestWithContext(ctx, orders(name), order)
	if err != nil {
		return "", nil, fault.Wrap(err, fault.Unavailable, "no worker of pair %s answers", name)
	}
	var taken receipt
	if err := read(m.Data, &taken); err != nil {
		return "", nil, fault.Wrap(err, fault.Internal, "a worker's answer cannot be read")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.peers[taken.Worker]; w != nil {
		return taken.Worker, w, nil
	}
	return "", nil, fault.New(fault.Unavailable, "the worker of pair %s has just died", name)
}

// dispatch hands a message to its run. It never blocks.
func (p *Pool) dispatch(m *nats.Msg) {
	worker, id, _ := strings.Cut(m.Subject[len(prefix+"events."+p.id+"."):], ".")
	p.mu.Lock()
	r := p.runs[id]
	p.mu.Unlock()
	if r == nil {
		return // its end has been told already
	}
	r.mu.Lock()
	r.size += len(m.Data)
	if r.size > maxBacklog {
		r.set(fault.New(fault.Unavailable, "the events of the run could not be kept as fast as they came"))
	} else {
		r.backlog = append(r.backlog, parcel{worker, m.Data})
	}
	r.mu.Unlock()
	r.nudge()
}

// fail ends the run from outside.
func (r *remoteRun) fail(f *fault.Error) {
	r.mu.Lock()
	r.set(f)
	r.mu.Unlock()
	r.nudge()
}

// set notes the first failure; r.mu is held.
func (r *remoteRun) set(f *fault.Error) {
	if r.failure == nil {
		r.failure = f
	}
}

// nudge wakes the goroutine that delivers.
func (r *remoteRun) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// deliver hands events to the sink until the last one, or until something fails. When the worker is gone (Pool.lose) it waits a little
// for late events, and then ends the run with the reason.
func (r *remoteRun) deliver() {
	defer r.forget()
	defer close(r.done)
	gone := r.peer.gone
	var silence <-chan time.Time
	for !r.finished {
		select {
		case <-r.wake:
			if gone == nil {
				silence = time.After(quiet)
			}
		case <-gone:
			gone = nil
			silence = time.After(quiet)
		case <-silence:
			r.fail(fault.New(fault.Unavailable, "the worker died: %s", fault.WithoutPaths(r.peer.why)))
		}
		r.mu.Lock()
		backlog, failure := r.backlog, r.failure
		r.backlog, r.size = nil, 0
		r.mu.Unlock()
		for _, from := range backlog {
			if from.worker != r.worker {
				r.log.Warn("events of a run from a worker that has not taken it", "worker", from.worker)
			} else if failure == nil {
				failure = r.accept(from.data)
			}
		}
		if failure != nil && !r.finished {
			r.breakOff(failure)
		}
	}
}

// accept reads one message and passes its events on.
func (r *remoteRun) accept(data []byte) *fault.Error {
	var b batch
	if err := read(data, &b); err != nil {
		r.log.Error("bad batch", "error", err)
		return fault.New(fault.Internal, "the worker sent what cannot be read")
	}
	if b.Fault != nil {
		return b.Fault
	}
	if b.First > r.next {
		r.log.Error("gap", "next", r.next, "got", b.First)
		return fault.New(fault.Unavailable, "events of the run were lost on their way")
	}
	r.admit(nil)
	skip := min(r.next-b.First, len(b.Events)) // those that came twice
	for _, e := range b.Events[skip:] {
		if r.finished {
			break
		}
		r.next++
		r.note(e)
		r.sink(e)
	}
	return nil
}

// note remembers what is needed to end the lanes if the worker cannot.
func (r *remoteRun) note(e decode.Event) {
	switch e.Type {
	case decode.EventStart:
		if e.Prompt != nil {
			r.prompt = e.Prompt.Total
		}
	case decode.EventToken:
		r.tokens[e.Lane]++
		r.lambda[e.Lane] = e.Lambda
	case decode.EventEnd:
		r.ended[e.Lane] = true
	case decode.EventStats:
		r.finished = true
	}
}

// breakOff ends what the worker did not end: the lanes that are left, or the map, then the run.
func (r *remoteRun) breakOff(f *fault.Error) {
	r.finished = true
	r.send(control{Run: r.id, Lane: -1}) // in case the worker is alive
	select {
	case <-r.admitted:
	default:
		r.admit(f)
		return
	}
	total := 0
	if r.request.Map != nil || r.request.Score != nil && !r.ended[0] { // what has not ended of a map is known to nobody here: it ends as a whole
		r.sink(decode.EndWithError(decode.Lane{}, 0, f))
	}
	for _, l := range r.request.Lanes {
		total += r.tokens[l.Index]
		if r.ended[l.Index] {
			continue
		}
		if moved := r.lambda[l.Index]; moved != nil {
			l.Lambda = moved
		}
		r.sink(decode.EndWithError(l, r.tokens[l.Index], f))
	}
	r.sink(decode.Event{Type: decode.EventStats, Stats: &decode.Stats{
		PromptTokens: r.prompt, Tokens: total, Rows: map[string]int64{}, Passes: map[string]int64{},
		Seconds: time.Since(r.began).Seconds(),
	}})
}

// admit settles whether the run was admitted, once.
func (r *remoteRun) admit(refusal *fault.Error) {
	select {
	case <-r.admitted:
		return
	default:
	}
	if refusal != nil {
		r.refusal = refusal
	}
	close(r.admitted)
}

// forget takes the run off the pool's list. It is called once, at the end of Decode where no worker took the run,
// or of deliver.
func (r *remoteRun) forget() {
	r.pool.mu.Lock()
	delete(r.pool.runs, r.id)
	r.pool.mu.Unlock()
	r.pool.active.Done()
}

// send steers the worker without an answer.
func (r *remoteRun) send(c control) {
	if err := r.pool.conn.Publish(controls(r.worker), encoded(c)); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		r.log.Warn("control", "error", err)
	}
}

// steer sends a control and waits for its answer.
func (r *remoteRun) steer(c control) error {
	select {
	case <-r.done:
		return fault.New(fault.Conflict, "the run has ended")
	default:
	}
	data, err := json.Marshal(c)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the control cannot be sent")
	}
	m, err := r.pool.conn.Request(controls(r.worker), data, controlTimeout)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the worker does not answer")
	}
	var answer reply
	if err := read(m.Data, &answer); err != nil {
		return fmt.Errorf("answer to a control: %w", err)
	}
	if answer.Fault != nil {
		return answer.Fault
	}
	return nil
}

// Run is a run in a worker.
type Run struct{ run *remoteRun }

// SetLambda moves a lane's λ from the next token on. The errors are those of decode.Job.SetLambda, and
// Unavailable if the worker does not answer.
func (r *Run) SetLambda(lane int, v decode.Vector) error {
	if err := decode.CheckLambda("lambda", v, len(v)); err != nil {
		return err
	}
	if len(v) == 0 {
		return fault.Field("lambda", "is missing")
	}
	return r.run.steer(control{Run: r.run.id, Lane: lane, Lambda: v})
}

// Stop ends a lane, or all lanes for -1, without waiting for it. Stopping what has ended does nothing.
func (r *Run) Stop(lane int) error {
	r.run.send(control{Run: r.run.id, Lane: lane})
	return nil
}

// Done is closed after the sink has taken the last event.
func (r *Run) Done() <-chan struct{} { return r.run.done }
