package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gpu"
	"realign/internal/pair"
)

// ServeConfig is what a worker needs.
type ServeConfig struct {
	URL   string // of the NATS server, with credentials
	Token string // instead of credentials in the URL
	ID    string // given by the pool that started it; "" makes one up
	Pair  string // name of the pair to serve
	Build string // of the program, for comparing with the server's

	// Files are the SHA-256 sums of the pair's files by role, for comparing with the server's. Nil compares none.
	Files func(ctx context.Context, pair string) (map[string]string, error)

	// Open loads the models and reports a fraction as it goes.
	Open func(ctx context.Context, progress func(float64)) (decode.Pair, error)
	// Engine are the limits of the worker's engine.
	Engine decode.Config

	// Parent is the standard input of a child: the worker ends when it does, or when its connection
	// does. Nil is a worker of its own, which outlives its server and connects again.
	Parent io.Reader

	// Wait is how long a worker of its own waits for a NATS server that is not there at first. Default 30 s.
	Wait time.Duration

	// Log is for the worker's own doings. Nil logs nothing.
	Log *slog.Logger
}

// Serve loads a pair and decodes for the pools on a NATS server until ctx is done, or, for a child, until
// its parent is gone. It returns nil after an orderly end. Errors are Forbidden for a token that is not taken, Conflict
// for a server of another version or with other files, and Unavailable. If ctx ends while Open runs, Serve returns and
// leaves Open behind: the process is expected to exit.
func Serve(ctx context.Context, c ServeConfig) error {
	if err := pair.CheckName("pair", c.Pair); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.ID == "" {
		c.ID = nuid.Next()
	}
	if c.Wait <= 0 {
		c.Wait = firstWait
	}
	at, err := address(c.URL, c.Token)
	if err != nil {
		return err
	}
	if !token(c.ID) {
		return fault.Field("worker_id", "%.80q is not a name: up to 64 characters without spaces, dots and wildcards", c.ID)
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	host, _ := os.Hostname()
	s := &service{
		config: c, quit: make(chan struct{}), log: c.Log.With("pair", c.Pair, "worker", c.ID), runs: map[string]*job{}, told: told{}, changed: make(chan struct{}, 1),
		beat:    workerBeat{Worker: c.ID, Pair: c.Pair, Host: host, PID: os.Getpid(), State: pair.Loading},
		leaving: ctx, leave: leave, servers: map[string]time.Time{},
	}
	options := []nats.Option{
		nats.Name(nameOf(c.Pair, c.ID)), nats.CustomInboxPrefix(inbox(workerInbox, c.ID)), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { s.log.Warn("nats", "error", err) }),
	}
	if c.Parent != nil {
		options = append(options, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { leave(nil) }))
		go func() {
			io.Copy(io.Discard, c.Parent)
			leave(nil)
		}()
	} else {
		options = append(options,
			nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
				if ctx.Err() == nil {
					s.log.Warn("the NATS server is gone: waiting for it", "why", err)
				}
			}),
			nats.ReconnectHandler(func(*nats.Conn) {
				s.log.Info("the NATS server is back")
				s.interrupted()
				s.rejoin("") // it may be of another version now
			}),
			nats.ClosedHandler(func(n *nats.Conn) { leave(reach(n.LastError(), at.plain)) }))
	}
	if err = s.connect(ctx, &at, options); err == nil {
		defer s.conn.Close()
		if c.Parent == nil {
			err = s.join(ctx, "")
		}
	}
	if err == nil {
		err = s.serve(ctx)
	}
	var why *fault.Error
	switch {
	case errors.As(context.Cause(ctx), &why): // it had to leave
		return why
	case ctx.Err() != nil:
		return nil
	}
	return err
}

// service is one worker at work. It joins the servers, loads its pair, and then decodes what they ask for until it is told to leave, or
// no server has been heard of for too long.
type service struct {
	config ServeConfig // with the defaults filled in
	log    *slog.Logger
	conn   *nats.Conn // set by connect, before anything else runs

	mu     sync.Mutex      // guards engine, placed, beat, runs, told and servers
	engine *decode.Engine  // nil until loaded
	placed placed          // of the engine's models; nil where they do not tell
	beat   workerBeat      // the next heartbeat
	runs   map[string]*job // being decoded, by the id of their request
	told   told            // runs whose events it sends, or has sent lately

	changed chan struct{}  // has room for one: the heartbeat has changed
	quit    chan struct{}  // closed when the worker leaves
	wait    sync.WaitGroup // goroutines of the service

	leaving context.Context         // done when the worker should leave
	leave   context.CancelCauseFunc // ends leaving, with the reason
	servers map[string]time.Time    // when the last heartbeat of each came; guarded by mu
}

// placed is models that tell where they are.
type placed interface {
	Placements() []gpu.Placement
}

// placement is where the models are, or will be when they are first used.
func (s *service) placement() []gpu.Placement {
	if s.placed == nil {
		return nil
	}
	return s.placed.Placements()
}

// job is one run of a worker.
// service.mu guards it. It is made when the order is taken, and dropped when all of its events are sent.
type job struct {
	job   *decode.Job // nil until the engine has admitted it
	seen  time.Time   // when a pool last said that it wants the run
	steer steering    // what is asked of it and not done yet
}

// serve loads the pair, decodes until ctx is done, and then says that it leaves. The error is that of loading.
func (s *service) serve(ctx context.Context) error {
	beating, stopBeats := context.WithCancel(context.WithoutCancel(ctx))
	var beats sync.WaitGroup
	beats.Go(func() { s.beats(beating) })
	defer beats.Wait()
	defer stopBeats()

	models, err := s.open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		s.update(func(b *workerBeat) { b.State, b.Message = pair.Failed, err.Error() })
		s.sendHeartbeat()
		return errors.Join(err, s.conn.FlushTimeout(beatTimeout))
	}
	engine := decode.NewEngine(models, s.config.Engine)
	defer engine.Close()
	s.mu.Lock()
	s.engine = engine
	s.placed, _ = models.(placed)
	s.mu.Unlock()
	subscriptions, err := s.subscribe()
	if err != nil {
		return err
	}
	at := s.placement()
	s.update(func(b *workerBeat) { b.State, b.Progress, b.Placement = pair.Ready, 1, at })
	s.log.Info("ready")
	var consuming sync.WaitGroup
	consuming.Go(func() { s.consume(ctx) })

	<-ctx.Done()
	for _, sub := range subscriptions {
		_ = sub.Unsubscribe() // fails on a connection that is closed already
	}
	s.update(func(b *workerBeat) { b.Leaving = true }) // no order is taken from here on
	close(s.quit)
	s.stop(func(*job) bool { return true })
	s.wait.Wait()
	consuming.Wait()
	s.sendHeartbeat()
	_ = s.conn.FlushTimeout(time.Second) // best effort: nobody may be there
	return nil
}

// open loads the models, or gives up waiting for them when ctx is done.
func (s *service) open(ctx context.Context) (decode.Pair, error) {
	type result struct {
		models decode.Pair
		err    error
	}
	opened := make(chan result, 1)
	go func() {
		models, err := s.config.Open(ctx, func(x float64) {
			s.update(func(b *workerBeat) { b.Progress = min(max(x, 0), 1) })
		})
		opened <- result{models, err}
	}()
	select {
	case r := <-opened:
		return r.models, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// subscribe listens for orders, controls and the heartbeats of pools.
func (s *service) subscribe() ([]*nats.Subscription, error) {
	var all []*nats.Subscription
	for _, start := range []func() (*nats.Subscription, error){
		func() (*nats.Subscription, error) { return s.conn.Subscribe(controls(s.config.ID), s.onControl) },
		func() (*nats.Subscription, error) { return s.conn.Subscribe(poolBeats, s.onPoolHeartbeat) },
		func() (*nats.Subscription, error) {
			return s.conn.QueueSubscribe(orders(s.config.Pair), queueGroup, s.onRequest)
		},
	} {
		sub, err := start()
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		all = append(all, sub)
	}
	return all, s.conn.Flush()
}

// onRequest accepts an order and starts it. The engine may be in the middle of a pass, so the answer does not
// wait for it.
func (s *service) onRequest(m *nats.Msg) {
	var o order
	if err := read(m.Data, &o); err != nil {
		s.log.Warn("bad order", "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beat.Leaving || s.runs[o.Run] != nil {
		s.log.Warn("order given twice, or to a worker that leaves", "run", o.Run)
		return
	}
	s.runs[o.Run] = &job{seen: time.Now()}
	subject := events(o.Pool, s.config.ID, o.Run)
	s.told.begin(subject)
	if err := m.Respond(encoded(receipt{Worker: s.config.ID})); err != nil {
		s.log.Warn("answer order", "error", err)
	}
	s.wait.Go(func() {
		s.decode(o)
		s.mu.Lock()
		delete(s.runs, o.Run)
		s.told.end(subject)
		s.mu.Unlock()
	})
}

// decode runs one order to its end.
func (s *service) decode(o order) {
	log := s.log.With("run", o.Request.Run)
	subject := events(o.Pool, s.config.ID, o.Run)
	publish := func(data []byte) error { return s.conn.Publish(subject, data) }
	f := newFeed(publish, s.quit)
	j, err := s.engine.Start(o.Request, f.emit)
	if err != nil {
		if f := fault.Of(err); f.Kind == fault.Internal {
			log.Error("request failed", "error", err)
		}
		if err := refuse(publish, err); err != nil {
			log.Warn("refuse", "error", err)
		}
		return
	}
	s.mu.Lock()
	s.runs[o.Run].job = j
	stopped := s.runs[o.Run].steer.stopped
	s.mu.Unlock()
	if stopped {
		_ = j.Stop(-1) // it was stopped while the engine admitted it
	}
	if err := f.run(); err != nil {
		log.Error("run broken off", "error", err)
		_ = j.Stop(-1) // stopping what has ended does nothing
		if fault.KindOf(err) == fault.Internal {
			err = fault.Wrap(err, fault.Internal, "the worker could not send an event")
		}
		if err := refuse(publish, err); err != nil {
			log.Warn("tell of a broken run", "error", err)
		}
	}
	<-j.Done()
}

// onPoolHeartbeat notes which runs a pool wants.
func (s *service) onPoolHeartbeat(m *nats.Msg) {
	var b poolBeat
	if err := read(m.Data, &b); err != nil {
		s.log.Warn("bad beat", "error", err)
		return
	}
	if s.meet(b.Pool) && s.config.Parent == nil {
		s.rejoin(b.Pool)
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.runs {
		if slices.Contains(b.Runs, mark(id)) {
			r.seen = now
		}
	}
}

// stop cancels some runs, without holding the lock while the engine works.
func (s *service) stop(which func(*job) bool) {
	var jobs []*decode.Job
	s.mu.Lock()
	for _, r := range s.runs {
		if r.job != nil && which(r) {
			jobs = append(jobs, r.job)
		}
	}
	s.mu.Unlock()
	for _, j := range jobs {
		_ = j.Stop(-1) // stopping what has ended does nothing
	}
}

// beats sends heartbeats until ctx is done. What waits for the engine, which may be in the
// middle of a long pass, is done beside it.
func (s *service) beats(ctx context.Context) {
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	var tending sync.WaitGroup
	defer tending.Wait()
	idle := make(chan struct{}, 1)
	idle <- struct{}{}
	for {
		s.sendHeartbeat()
		select {
		case <-s.changed:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case <-idle:
			tending.Go(func() {
				s.reapOrphans()
				idle <- struct{}{}
			})
		default:
		}
	}
}

// reapOrphans reads the engine's counters and stops runs that nobody wants any more.
func (s *service) reapOrphans() {
	s.mu.Lock()
	engine := s.engine
	s.mu.Unlock()
	if engine == nil {
		return
	}
	s.stop(func(r *job) bool { return time.Since(r.seen) > runTimeout })
	n, at := engine.Counters(), s.placement()
	s.mu.Lock()
	s.beat.Counters, s.beat.Placement = n, at
	s.mu.Unlock()
}

// update changes the beat and, if what a person sees changes, sends it soon.
func (s *service) update(f func(*workerBeat)) {
	s.mu.Lock()
	before := s.beat
	f(&s.beat)
	news := before.State != s.beat.State || int(before.Progress*50) != int(s.beat.Progress*50)
	s.mu.Unlock()
	if news {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// sendHeartbeat sends the heartbeat as it is now. One that cannot be sent is followed by another.
func (s *service) sendHeartbeat() {
	s.mu.Lock()
	data := encoded(s.beat)
	s.mu.Unlock()
	if err := s.conn.Publish(beatOf(escape(s.config.Pair), s.config.ID), data); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.log.Warn("beat", "error", err)
	}
}
