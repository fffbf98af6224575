package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
)

// Config is what a pool needs.
type Config struct {
	// Pairs are those that may be decoded on. Find is NotFound for another name.
	Pairs interface {
		// List is every pair, by name. Those that come with an error are good.
		List() ([]*pair.Pair, error)
		Find(name string) (*pair.Pair, error)
	}

	// Command makes the process that serves a pair; it runs Serve with the URL and the ID, and its
	// standard input as Parent. Nil starts no processes: only workers that join by themselves decode.
	Command func(pair, url, id string) *exec.Cmd

	// Cautious makes a process that leaves out what is known to end processes while they load, such as GPUs. It is used
	// after the second death in a row before the models were there. Nil is Command.
	Cautious func(pair, url, id string) *exec.Cmd

	URL    string // of an external NATS cluster; "" starts a server in this process
	Listen string // HOST:PORT where others may join the server in this process; "" for nobody but our children
	Token  string // that others show at Listen, or that we show at URL

	TLSCert, TLSKey string // files, PEM, for Listen; "" is a certificate of our own

	Data  string // folder for the embedded server's own files; "" for none
	Build string // of the program, for comparing with that of workers that join

	// Files are the SHA-256 sums of a pair's files by role, for comparing with those of workers that join. Nil compares none.
	Files func(ctx context.Context, pair string) (map[string]string, error)

	// Stderr gets what children write to their standard error. Nil is the server's own.
	Stderr io.Writer
	// Log is for what happens to workers. Nil logs nothing.
	Log *slog.Logger

	// Wait is how long Decode waits in all for the answer to a start: for a pair that is being loaded, and for a worker to
	// admit the request. Default 30 s.
	Wait time.Duration
}

// Pool is all the workers of a server: children it started and watches over, and workers on other
// machines that joined. Its methods may be called from any goroutine.
type Pool struct {
	config Config // with the defaults filled in
	log    *slog.Logger
	id     string          // random: other pools on the cluster have others
	url    string          // of children; it holds a password
	own    *embedded       // nil with an external cluster
	conn   *nats.Conn      // to the NATS server, until Close
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wait   sync.WaitGroup // children and loops
	active sync.WaitGroup // runs

	mu       sync.Mutex                 // guards what follows, and the fields of children and peers
	closed   bool                       // nothing new is started
	children map[string]*child          // by pair
	peers    map[string]*peer           // by worker
	runs     map[string]*remoteRun      // by id
	retired  map[string]decode.Counters // by pair: counters of the workers that are gone
	changed  chan struct{}              // closed at the next change of a status
}

// peer is a worker that has sent a heartbeat.
// Pool.mu guards it, but for why once gone is closed.
type peer struct {
	beat workerBeat    // the last heartbeat
	seen time.Time     // when that came
	own  bool          // a child of this pool
	gone chan struct{} // closed when it is known to be gone
	why  string        // set before gone is closed
}

// NewPool starts the NATS server or connects to one. It starts no worker: that is for Start and Decode. Errors are Invalid
// for an address or a token that will not do, Forbidden for a token that is not taken, and Unavailable.
func NewPool(c Config) (*Pool, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	if c.Wait <= 0 {
		c.Wait = 30 * time.Second
	}
	p := &Pool{
		config: c, log: c.Log, id: nuid.Next(), url: c.URL, children: map[string]*child{}, peers: map[string]*peer{},
		runs: map[string]*remoteRun{}, retired: map[string]decode.Counters{}, changed: make(chan struct{}),
	}
	options := []nats.Option{
		nats.Name("realign pool"), nats.CustomInboxPrefix(inbox(poolInbox, p.id)), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.log.Warn("nats", "error", err) }),
		nats.ReconnectHandler(p.restored),
	}
	var err error
	at := poolAddress{plain: "this process"}
	switch {
	case c.URL != "" && c.Listen != "":
		return nil, fault.Field("nats_listen", "there is no server here to listen: --nats names one elsewhere")
	case c.URL != "":
		if at, err = address(c.URL, c.Token); err != nil {
			return nil, err
		}
		p.url = at.children()
		options = append(options, at.options()...)
	default:
		if p.own, err = embed(&p.config); err != nil {
			return nil, err
		}
		p.url, at.full = p.own.child, p.own.own
		options = append(options, nats.InProcessServer(p.own.server))
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if p.conn, err = nats.Connect(at.full, options...); err != nil {
		p.shutdown()
		return nil, reach(err, at.plain)
	}
	// Subscriptions come before the flush, so that no beat that follows is missed.
	for subject, handle := range map[string]nats.MsgHandler{workerBeats: p.onHeartbeat, greetings: p.onJoin, events(p.id, "*", "*"): p.dispatch} {
		sub, err := p.conn.Subscribe(subject, handle)
		if err == nil {
			err = sub.SetPendingLimits(-1, maxPending) // dispatch hands on at once; a run's own bound is lower
		}
		if err != nil {
			p.shutdown()
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
	}
	if err := p.conn.Flush(); err != nil {
		p.shutdown()
		return nil, fmt.Errorf("flush: %w", err)
	}
	p.wait.Go(p.watch)
	return p, nil
}

// maxPending is how many bytes of messages may have arrived and not be handed on yet.
const maxPending = 256 << 20 // bytes of messages that arrived and were not handed on yet

// Close ends every run as unavailable, stops the children and waits for all of it. It is safe to call twice.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, r := range p.runs {
		r.fail(fault.New(fault.Unavailable, "the server was stopped"))
	}
	p.change()
	p.mu.Unlock()
	p.active.Wait()
	p.cancel()
	p.wait.Wait()
	p.shutdown()
	return nil
}

// shutdown closes the connection, and ends the server that is in this process.
func (p *Pool) shutdown() {
	p.cancel()
	if p.conn != nil {
		p.conn.Close()
	}
	if p.own != nil {
		p.own.server.Shutdown()
		p.own.server.WaitForShutdown()
	}
}

// Conn is the pool's connection, for others that speak over it. It is closed with the pool.
func (p *Pool) Conn() *nats.Conn { return p.conn }

// External reports whether the NATS server is not in this process, so that other servers may be on it.
func (p *Pool) External() bool { return p.own == nil }

// Ping reports whether the NATS server answers.
func (p *Pool) Ping(ctx context.Context) error {
	if err := p.conn.FlushWithContext(ctx); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the NATS server does not answer")
	}
	return nil
}

// URL is where children meet the pool. It holds a password.
func (p *Pool) URL() string { return p.url }

// JoinToken is what workers show that join the server in this process: the configured token, with the fingerprint of the
// certificate where nobody else has signed it.
func (p *Pool) JoinToken() string {
	if p.own == nil || p.own.pin == "" {
		return p.config.Token
	}
	return p.config.Token + pinMark + p.own.pin
}

// Start begins to load a pair without waiting for it. A pair that failed is tried again.
func (p *Pool) Start(name string) error {
	known, err := p.config.Pairs.Find(name)
	if err != nil {
		return err
	}
	if p.config.Command == nil {
		return nil
	}
	if err := known.Installed(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fault.New(fault.Unavailable, "the server is stopping")
	}
	c := p.children[name]
	if c == nil {
		c = &child{pool: p, pair: name, log: p.log.With("pair", name), state: pair.Starting, retry: make(chan struct{}, 1)}
		c.ctx, c.stop = context.WithCancel(p.ctx)
		p.children[name] = c
		p.wait.Go(c.supervise)
		p.change()
	} else if c.state == pair.Failed {
		select {
		case c.retry <- struct{}{}:
		default:
		}
	}
	return nil
}

// Unload ends the worker that this server has started for a pair, with what it decodes, and does not wait for it. Without one it does
// nothing.
func (p *Pool) Unload(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.children[name]; c != nil {
		delete(p.children, name)
		c.stop()
		p.change()
	}
}

// Status is the state of every pair, by name, and a channel that is closed at the next change.
func (p *Pool) Status() ([]pair.Status, <-chan struct{}) {
	pairs, _ := p.config.Pairs.List() // a broken manifest is told of where pairs are listed
	names, absent := make([]string, len(pairs)), map[string]string{}
	for i, known := range pairs {
		names[i] = known.Name
		if err := known.Installed(); err != nil {
			absent[known.Name] = err.Error()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, peer := range p.peers {
		if !slices.Contains(names, peer.beat.Pair) {
			names = append(names, peer.beat.Pair)
		}
	}
	slices.Sort(names)
	all := make([]pair.Status, len(names))
	for i, name := range names {
		all[i] = p.status(name)
		if why, ok := absent[name]; ok && all[i].State == pair.Idle {
			all[i].State, all[i].Message = pair.Absent, fault.WithoutPaths(why)
		}
	}
	return all, p.changed
}

// status is the state of one pair, in words for people outside; p.mu is held. Any ready worker makes the pair ready.
func (p *Pool) status(name string) pair.Status {
	s := pair.Status{Name: name, State: pair.Idle}
	if c := p.children[name]; c != nil {
		s.State, s.Progress, s.Message, s.Restarts = c.state, c.progress, c.message, c.restarts
	}
	first := ""
	for id, peer := range p.peers {
		if peer.beat.Pair == name && peer.beat.State == pair.Ready && (first == "" || peer.own || id < first) {
			first, s.Placement = id, peer.beat.Placement // our own's, if there is one
			if peer.own {
				first = "\x00"
			}
		}
		if peer.beat.Pair != name || s.State == pair.Ready {
			continue
		}
		if peer.beat.State == pair.Ready {
			s.State, s.Progress, s.Message = pair.Ready, 1, ""
		} else if s.State == pair.Idle {
			s.State, s.Progress, s.Message = peer.beat.State, peer.beat.Progress, peer.beat.Message
		}
	}
	s.Message = fault.WithoutPaths(s.Message)
	return s
}

// change wakes everybody who waits for a new status; p.mu is held.
func (p *Pool) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Ready waits until a pair can decode, starting it if need be, at most until ctx is done. The error is
// NotFound, or Unavailable with the reason.
func (p *Pool) Ready(ctx context.Context, name string) error {
	if err := p.Start(name); err != nil {
		return err
	}
	for first := true; ; first = false {
		p.mu.Lock()
		s, changed, closed := p.status(name), p.changed, p.closed
		p.mu.Unlock()
		switch {
		case closed:
			return fault.New(fault.Unavailable, "the server is stopping")
		case s.State == pair.Ready:
			return nil
		case s.State == pair.Failed && !first:
			return fault.New(fault.Unavailable, "pair %s cannot be loaded: %s", name, s.Message)
		case s.State == pair.Idle:
			return fault.New(fault.Unavailable, "no worker serves pair %s", name)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fault.New(fault.Unavailable, "pair %s is %s: try again soon", name, s.State)
		}
	}
}

// Worker is one worker as an administrator sees it.
type Worker struct {
	ID       string          `json:"id"`
	Pair     string          `json:"pair"`     // that it serves
	Host     string          `json:"host"`     // name of its machine
	PID      int             `json:"pid"`      // on that machine
	Own      bool            `json:"own"`      // started by this server
	State    pair.State      `json:"state"`    // as its last heartbeat has it
	Counters decode.Counters `json:"counters"` // of its engine, since it was loaded
}

// Workers lists the workers that are alive, by pair and ID.
func (p *Pool) Workers() []Worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Worker
	for id, w := range p.peers {
		b := w.beat
		all = append(all, Worker{ID: id, Pair: b.Pair, Host: b.Host, PID: b.PID, Own: w.own, State: b.State, Counters: b.Counters})
	}
	slices.SortFunc(all, func(a, b Worker) int { return strings.Compare(a.Pair+" "+a.ID, b.Pair+" "+b.ID) })
	return all
}

// Counters are the totals of each pair over all its workers, those that are gone included.
func (p *Pool) Counters() map[string]decode.Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	sums := map[string]decode.Counters{}
	for name, c := range p.retired {
		sums[name] = add(decode.Counters{}, c)
	}
	for _, w := range p.peers {
		sum := add(sums[w.beat.Pair], w.beat.Counters)
		sum.Lanes += w.beat.Counters.Lanes
		sum.Queue += w.beat.Counters.Queue
		sums[w.beat.Pair] = sum
	}
	return sums
}

// add is the sum of two sets of counters. The gauges (Lanes, Queue) are those of a.
func add(a, b decode.Counters) decode.Counters {
	sum := a
	sum.Requests += b.Requests
	sum.Tokens += b.Tokens
	sum.Seconds += b.Seconds
	sum.Rows, sum.Passes = map[string]int64{}, map[string]int64{}
	for _, c := range []decode.Counters{a, b} {
		for k, v := range c.Rows {
			sum.Rows[k] += v
		}
		for k, v := range c.Passes {
			sum.Passes[k] += v
		}
	}
	return sum
}

// onHeartbeat takes the beat of a worker.
func (p *Pool) onHeartbeat(m *nats.Msg) {
	var b workerBeat
	if err := read(m.Data, &b); err != nil {
		p.log.Warn("bad beat", "error", err)
		return
	}
	// A beat on a subject that is not its worker's own is of someone who speaks for it.
	if m.Subject != beatOf(escape(b.Pair), b.Worker) {
		p.log.Warn("a worker speaks for another", "subject", m.Subject, "worker", b.Worker)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.children[b.Pair]
	own := c != nil && c.id == b.Worker
	if c != nil && slices.Contains(c.past, b.Worker) {
		return // a last word of a child that is dead
	}
	w := p.peers[b.Worker]
	if w == nil {
		if b.Leaving {
			return
		}
		w = &peer{own: own, gone: make(chan struct{})}
		p.peers[b.Worker] = w
		if !own {
			p.log.Info("worker joined", "pair", b.Pair, "worker", b.Worker, "host", b.Host)
		}
	}
	news := w.beat.State != b.State || w.beat.Progress != b.Progress
	w.beat, w.seen = b, time.Now()
	if own {
		news = c.onHeartbeat(b) || news
	}
	if b.Leaving {
		p.lose(b.Worker, "it was stopped")
		return
	}
	if news {
		p.change()
	}
}

// lose forgets a worker; its runs end. p.mu is held.
func (p *Pool) lose(id, why string) {
	w := p.peers[id]
	if w == nil {
		return
	}
	delete(p.peers, id)
	p.retired[w.beat.Pair] = add(p.retired[w.beat.Pair], w.beat.Counters)
	w.why = why
	close(w.gone)
	if !w.own {
		p.log.Info("worker left", "pair", w.beat.Pair, "worker", id, "why", why)
	}
	p.change()
}

// watch sends heartbeats that name the runs that are wanted, and ends workers whose heartbeats stopped.
func (p *Pool) watch() {
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	for {
		p.mu.Lock()
		beat := poolBeat{Pool: p.id, Runs: make([]string, 0, len(p.runs))}
		for id := range p.runs {
			beat.Runs = append(beat.Runs, mark(id))
		}
		for id, w := range p.peers {
			silent := time.Since(w.seen)
			switch {
			case w.own && silent > hangTimeout:
				if c := p.children[w.beat.Pair]; c != nil && c.id == id {
					c.kill(fmt.Sprintf("it hung for %.0f s", silent.Seconds()))
				}
			case !w.own && silent > beatTimeout:
				p.lose(id, fmt.Sprintf("nothing was heard of it for %.0f s", silent.Seconds()))
			}
		}
		p.mu.Unlock()
		if err := p.conn.Publish(poolBeats, encoded(beat)); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			p.log.Warn("beat", "error", err)
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
	}
}
