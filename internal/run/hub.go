package run

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"realign/internal/fault"
	"realign/internal/instance"
)

// Config is what a Hub is made of. Zero numbers stand for the defaults.
type Config struct {
	Store   Store            // of runs and their events
	Decoder Decoder          // that decodes requests
	Pairs   Pairs            // which models there are
	Now     func() time.Time // time.Now
	Logger  *slog.Logger     // slog.Default()

	Server instance.Server // nil: it has no name
	Peers  Peers           // nil: no other server shares the store
	Build  string          // recorded with every run

	MaxRuns      int // runs at once; 256
	MaxOwnerRuns int // runs at once for one owner; 8

	MaxClientRuns int // runs at once for one client; half of MaxRuns
	MaxGuestRuns  int // and for the guests of one place; an eighth of MaxRuns

	StartWait time.Duration // how long a start may wait for a worker to take it; 25 s

	QueueEvents int           // events of one run waiting to be saved; 4096
	QueueBytes  int           // bytes of events waiting to be saved; 64 MiB
	Recent      int           // events of an active run kept in memory for its watchers; 256
	Interval    time.Duration // least time from one commit to the next; 10 ms, negative is none
	Patience    time.Duration // how long a decoder's call may wait for a slow store; 2 s
	Retry       time.Duration // between attempts to save how a run ended; 1 s
	Grace       time.Duration // how long Close waits for decoders; 3 s
	Outage      time.Duration // how long saving is tried again while the store cannot be reached; 20 s
}

// Hub decodes and records runs. An event of a run gets its number when it enters the queue. One writer goroutine takes what
// has gathered in the queue and saves it in one transaction; watchers see an event only after that. All methods may be called
// by any goroutine.
//
// A store that cannot be reached is tried again, for Outage at most. One that is slow fills the queue; then decoders' calls wait, for Patience at most, after which the run
// they are about ends with an error. A store that fails (disk full) ends the runs that it could not save:
// their jobs are stopped, watchers get an Unavailable error after the last saved event, and the `end` events are tried
// again until they are saved, here or when the server starts next.
type Hub struct {
	config Config // with the defaults filled in
	log    *slog.Logger

	ctx           context.Context // of decoding: ends with Close
	cancel        context.CancelFunc
	wake          chan struct{}  // there is something to save; one place
	stop          chan struct{}  // closed: the writer saves what there is and returns
	abandon       chan struct{}  // closed: jobs are waited for no longer
	writer        sync.WaitGroup // the writer
	jobs          sync.WaitGroup // requests being made, and a goroutine per job
	closing       sync.Once      // Close works once
	stopListening func()         // to StopAll of other servers; nil without any

	mu       sync.Mutex                // guards everything below, and every activeRun, request and feed
	closed   bool                      // nothing new is accepted
	done     bool                      // nothing is saved any more
	active   map[string]*activeRun     // by the run's id
	starting map[string]bool           // runs that are being made in the store
	adding   map[addition]*turns       // whose turn it is to add lanes
	slots    int                       // runs at once
	owners   map[string]int            // and of each owner
	clients  map[string]int            // and of each client
	feeds    map[string]*feed          // by the run's id: of active runs and of those that are watched
	pending  []logEntry                // to be saved, in order
	bytes    int                       // of events in pending, in unsaved, and being saved
	room     chan struct{}             // closed and replaced whenever some of it was saved
	unsaved  map[*activeRun][]logEntry // how runs are to end whose events could not be saved: ends of lanes, then the status
	counters Counters                  // since the Hub was made
}

// Counters are what a Hub has done since it was made, and holds now.
type Counters struct {
	Runs, Requests, Lanes int64   // that were taken
	Tokens, Events, Bytes int64   // that were saved; bytes of events
	Commits               int64   // transactions that saved them
	CommitSeconds         float64 // that those took
	SaveFailures          int64   // runs cut off because their events could not be saved
	Refused               int64   // runs refused as busy
	Stalls                int64   // decoders' calls that waited for the store

	// Gauges.
	ActiveRuns int
	Queue      int // events waiting to be saved
	QueueBytes int // and theirs
	Watchers   int
}

// NewHub makes a hub in which nothing is decoded yet. Tidy and Inherit end the runs that servers were stopped in the middle of.
func NewHub(config Config) *Hub {
	config = config.withDefaults()
	h := &Hub{
		config:  config,
		log:     config.Logger,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		abandon: make(chan struct{}),
		active:  make(map[string]*activeRun), starting: make(map[string]bool),
		adding:  make(map[addition]*turns),
		owners:  make(map[string]int),
		clients: make(map[string]int),
		feeds:   make(map[string]*feed),
		room:    make(chan struct{}),
		unsaved: make(map[*activeRun][]logEntry),
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.writer.Go(h.write)
	if config.Peers != nil {
		h.stopListening = config.Peers.OnStopAll(h.stopHere)
		h.writer.Go(h.look)
	}
	return h
}

// withDefaults puts the defaults in place of zeros.
func (c Config) withDefaults() Config {
	number := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	duration := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	number(&c.MaxRuns, 256)
	number(&c.MaxOwnerRuns, 8)
	number(&c.MaxClientRuns, max(1, c.MaxRuns/2))
	number(&c.MaxGuestRuns, max(1, c.MaxRuns/8))
	number(&c.QueueEvents, 4096)
	number(&c.QueueBytes, 64<<20)
	number(&c.Recent, 256)
	duration(&c.Interval, 10*time.Millisecond)
	duration(&c.Patience, 2*time.Second)
	duration(&c.Retry, time.Second)
	duration(&c.Grace, 3*time.Second)
	duration(&c.Outage, 20*time.Second)
	duration(&c.StartWait, 25*time.Second)
	c.Server = instance.Or(c.Server)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Counters is a copy of the counters.
func (h *Hub) Counters() Counters {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.counters
	c.ActiveRuns, c.Queue, c.QueueBytes = len(h.active), len(h.pending), h.bytes
	for _, f := range h.feeds {
		c.Watchers += f.watchers
	}
	return c
}

// Close ends every run with an error that says so, saves it, and waits for the decoders and the writer.
// Watchers get the last events and then an Unavailable error. It is safe to call twice.
func (h *Hub) Close() error {
	h.closing.Do(func() {
		h.mu.Lock()
		h.closed = true
		var jobs []Job
		for _, a := range h.active {
			jobs = append(jobs, h.abort(a, fault.New(fault.Unavailable, "%s", Stopped))...)
		}
		h.mu.Unlock()
		stopAll(jobs)
		h.cancel()
		grace := time.AfterFunc(h.config.Grace, func() { close(h.abandon) })
		h.jobs.Wait()
		grace.Stop()
		close(h.stop)
		h.writer.Wait()
		if h.stopListening != nil {
			h.stopListening()
		}
		h.mu.Lock()
		h.done = true
		for _, f := range h.feeds {
			f.broadcast()
		}
		h.mu.Unlock()
	})
	h.writer.Wait()
	return nil
}

// Stopped is the error of a lane or a map that was being decoded when the server stopped.
const Stopped = "the server stopped while this was being decoded"

// errClosed refuses what comes after Close has begun.
var errClosed = fault.New(fault.Unavailable, "the server is stopping")

// stopAll stops all lanes of jobs and waits for none. Hub.mu is not held: a job may call its sink.
func stopAll(jobs []Job) {
	for _, job := range jobs {
		_ = job.Stop(-1) // a job that cannot be stopped is over
	}
}
