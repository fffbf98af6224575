// Package web is Realign's HTTP side: the pages and forms, the socket of docs/protocol.md, and what
// stands between them and the outside (who may come in, what is refused, what is counted). It turns
// requests into calls on the domain and the domain into view models; it has no SQL, no markup and no
// models.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"realign/internal/apikey"
	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/pair"
	"realign/internal/pair/manage"
	"realign/internal/run"
	"realign/internal/share"
	"realign/internal/study"
)

// Pairs tells what the workers of the pairs are doing.
type Pairs interface {
	// Status is the state of each pair's worker, by name, and a channel that is closed when it changes.
	Status() ([]pair.Status, <-chan struct{})

	// Counters are the totals of each pair over all its workers.
	Counters() map[string]decode.Counters
}

// Library is the pairs there are; *pair.Library is one. Find's error is NotFound; List's tells of manifests that
// could not be read.
type Library interface {
	// List is every pair, by name. Those that come with an error are good.
	List() ([]*pair.Pair, error)
	// Find is the pair of a name.
	Find(name string) (*pair.Pair, error)
}

// Config is what a server needs. Every field must be set, unless its comment says what zero means.
type Config struct {
	Hub          *run.Hub       // decodes and records runs
	Sessions     Sessions       // where sessions and their runs are kept
	Shares       *share.Service // makes and shows shared comparisons
	Studies      Studies        // where studies are kept, as their owner looks at them
	StudyService *study.Service // what changes studies, and what annotators use

	// Experiments is the store of studies and sweeps, asked about what they have in common.
	Experiments Experiments
	Decoder     run.Decoder // verifies comparisons, answers the API
	Models      run.Pairs   // of pairs, by name and file
	Pairs       Pairs
	Library     Library
	Keys        apikey.Store // of the API; nil: it asks for none, and there is no page of keys
	Sweeper     Sweeper      // nil: there are no sweeps
	Sweeps      Sweeps

	// Database is what /readyz asks; nil is not asked.
	Database interface{ Ping(context.Context) error }

	// Messages is what /readyz asks about NATS; nil is not asked.
	Messages interface{ Ping(context.Context) error }

	// Manager adds, checks, removes and fetches pairs; nil: nobody may, by a page.
	Manager *manage.Manager

	// Finder finds what the pages of pairs say of how models fit; nil reads heads only.
	Finder *pair.Finder

	DefaultPair string // the pair that /readyz waits for
	Build       string // version of the program
	Log         *slog.Logger

	Auth     AuthMode // "" is none
	Password string   // with AuthPassword
	Secret   []byte   // part of the key of logins; nil: they end with the process
	Logins   Logins   // with AuthPassword: who has logged in

	// PublicURL is the address that people use when a proxy stands before the server: it makes links
	// absolute, cookies Secure, and its Origin and Host our own. nil: the request's own host.
	PublicURL *url.URL

	// BasePath is the path of the host that the server is below, such as /realign; "" is the root.
	BasePath string

	// Proxies are the reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; none by default.
	Proxies []netip.Prefix

	// Origins are those of pages of other sites that may use the API; see ParseOrigins. None by default.
	Origins []string

	Queue int              // runs that may wait, for the socket's hello; 0 says nothing
	Now   func() time.Time // the clock; nil is time.Now
}

// Server answers requests. It is safe for use by many goroutines.
type Server struct {
	hub          *run.Hub       // decodes and records runs
	sessions     Sessions       // stored sessions
	shares       *share.Service // comparisons and published results
	studies      Studies        // stored studies
	studyService *study.Service // runs studies and hands out questions

	documents   *documents         // of the project, as pages
	experiments Experiments        // studies and sweeps by what they have in common
	resultCache *study.ResultCache // results of studies, computed once for each state of the answers
	decoder     run.Decoder        // verifies comparisons, scores and renders prompts: what is decoded and not recorded
	models      run.Pairs          // the models that a run of a pair would use
	pairs       Pairs              // what workers do
	library     Library            // the pairs that are installed
	manager     *manage.Manager    // adds and removes pairs; nil: nobody may, by a page
	finder      *pair.Finder       // how the models of a pair fit
	checking    chan struct{}      // a place for the check of a pair
	sweeper     Sweeper            // runs sweeps; nil: there are none
	sweeps      Sweeps             // stored sweeps

	database      interface{ Ping(context.Context) error } // what /readyz asks; nil is not asked
	messages      interface{ Ping(context.Context) error } // the same of NATS
	defaultPair   string                                   // its name
	build         string                                   // version of the program
	log           *slog.Logger
	auth          *auth
	public        *url.URL                    // the address that people use; nil: the request's own host
	crossOrigin   *http.CrossOriginProtection // refuses what pages of other sites send
	base          basePath                    // that the server is below
	proxies       proxies                     // that are believed
	origins       []string                    // of pages that may use the API
	unnamed       sync.Once                   // a proxy that is not among proxies was told of
	queue         int                         // runs that may wait; 0 says nothing
	now           func() time.Time
	metrics       *metrics
	ogImages      *ogImages // pictures of comparisons
	startLimiter  *limiter  // runs per owner
	createLimiter *limiter  // share links, imports and studies per owner
	joinLimiter   *limiter  // annotators who join, per client
	verifyLimiter *limiter  // verifications per client

	keys        apikey.Store // of the API; nil: it asks for none
	keyTries    *limiter     // wrong keys, per client
	keyRequests *budget      // calls per key and minute
	keyTokens   *budget      // tokens per key and minute
	calls       *places      // of the API, at once
	scores      *scoreCache  // scored texts of the API

	verifying chan struct{} // places for verifications at once

	budgets budgets // memory for what comes in

	handler http.Handler
	served  http.Handler // handler, with pages and files gzipped for those who take them so

	writeTimeout time.Duration // how long a client may take for a frame
	bodyWait     time.Duration // and for the body of a call of the API

	ctx    context.Context // ends the sockets
	cancel context.CancelCauseFunc
	open   sync.WaitGroup // sockets

	mu      sync.Mutex // guards closing and sockets
	closing bool
	sockets map[string]*seats // by seat: those with open ones
}

// New makes a server. The error is Invalid and names the setting that is wrong.
func New(c Config) (*Server, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Auth == "" {
		c.Auth = AuthNone
	}
	if u := c.PublicURL; u != nil && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || len(u.Path) > 1) {
		return nil, fault.Field("public-url", "%q is not like https://realign.example", u.String())
	}
	base, err := parseBase(c.BasePath)
	if err != nil {
		return nil, err
	}
	a, err := newAuth(&c)
	if err != nil {
		return nil, err
	}
	p, err := newOGImages()
	if err != nil {
		return nil, err
	}
	crossOrigin := http.NewCrossOriginProtection()
	if u := c.PublicURL; u != nil {
		if err := crossOrigin.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fault.Field("public-url", "%s", err)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Server{
		hub: c.Hub, sessions: c.Sessions, shares: c.Shares, studies: c.Studies, studyService: c.StudyService, experiments: c.Experiments, resultCache: &study.ResultCache{Store: c.Studies}, decoder: c.Decoder, models: c.Models, pairs: c.Pairs, library: c.Library, manager: c.Manager, finder: c.Finder, checking: make(chan struct{}, 1),
		documents: newDocuments(), sweeper: c.Sweeper, sweeps: c.Sweeps,
		database: c.Database, messages: c.Messages, defaultPair: c.DefaultPair, build: c.Build, log: c.Log, auth: a, public: c.PublicURL, base: base, crossOrigin: crossOrigin, proxies: c.Proxies, origins: c.Origins,
		queue: c.Queue, now: c.Now, metrics: newMetrics(), ogImages: p,
		startLimiter:  newLimiter(time.Second/2, 120, 10_000, c.Now),
		createLimiter: newLimiter(2*time.Second, 30, 10_000, c.Now),
		joinLimiter:   newLimiter(time.Second, 120, 10_000, c.Now),
		verifyLimiter: newLimiter(10*time.Second, 6, 10_000, c.Now),
		keys:          c.Keys, keyTries: newLimiter(10*time.Second, 20, 10_000, c.Now),
		keyRequests: newBudget(c.Now), keyTokens: newBudget(c.Now), calls: newPlaces(maxAPICalls), scores: newScoreCache(),
		writeTimeout: writeWait, bodyWait: apiBodyWait,
		ctx: ctx, cancel: cancel,
		verifying: make(chan struct{}, 2),
		sockets:   map[string]*seats{},
		budgets:   newBudgets(),
	}
	s.metrics.registry.MustRegister(gauges{c.Hub, c.Pairs})
	if s.handler, err = s.routes(); err != nil {
		return nil, err
	}
	if s.served, err = compress(s.handler); err != nil {
		return nil, err
	}
	s.served = base.serve(s.served)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.served.ServeHTTP(w, r) }

// Close tells every socket that the server is going away and waits until they are gone. Runs go on: they
// are the hub's. It is safe to call twice.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel(errShutdown)
	s.open.Wait()
	return nil
}

// mayStart limits how fast one owner starts runs.
func (s *Server) mayStart(owner string) error { return s.startLimiter.allow(owner, "runs started") }

// limits are those of runs, as the socket says them.
func (s *Server) limits() limits {
	return limits{
		Lanes: decode.MaxLanes, PromptBytes: decode.MaxPromptBytes, MaxTokens: decode.MaxTokensLimit,
		LambdaMin: decode.MinLambda, LambdaMax: decode.MaxLambda, Queue: s.queue, Fields: boundsView(decode.Bounds()),
	}
}
