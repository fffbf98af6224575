// Package load plays people and programs that use servers, and measures what they get and what it costs: browsers with an open
// socket, browsers that run prompts, programs on the API and annotators of a study. It is a client like any other, and checks
// nothing but that it is answered.
package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"realign/internal/fault"
)

// Config says who there is and for how long.
type Config struct {
	Servers []string    // addresses, http://HOST:PORT, of which people use one after the other
	Cert    *tls.Config // for https; nil is the system's

	For time.Duration // how long everybody is there once all have come

	Idle       int    // browsers that have a page open and do nothing
	Runners    int    // browsers that start a run, watch it to its end, and start the next one
	Elsewhere  bool   // runs are watched on another server, too, and how much later events come there is measured
	Programs   int    // clients of the API, each with one call at a time
	Annotators int    // people who rate
	Rate       string // the path of the study that they rate: /rate/TOKEN
	Key        string // of the API; "" sends none

	Pair   string        // that is decoded
	Lanes  int           // of a run
	Tokens int           // of a lane
	Think  time.Duration // between an answer and the next, of an annotator or a runner
}

// Series is how long something took, each time.
type Series struct {
	mu    sync.Mutex // guards all
	all   []time.Duration
	fails map[string]int // by the error's text: how often
}

// add counts one that succeeded.
func (s *Series) add(d time.Duration) {
	s.mu.Lock()
	s.all = append(s.all, d)
	s.mu.Unlock()
}

// fail counts one that failed.
func (s *Series) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails == nil {
		s.fails = map[string]int{}
	}
	s.fails[err.Error()]++
}

// Summary is what a Series comes to.
type Summary struct {
	Count              int     // that succeeded
	PerSecond          float64 // of those, while everybody was there
	Median, P95, P99   time.Duration
	Failures           int    // of all kinds
	MostCommonFailures string // the error that came most often; "" without any
}

// summary is what the series comes to; took is how long everybody was there.
func (s *Series) summary(took time.Duration) (out Summary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.all)
	at := func(q float64) time.Duration {
		if len(s.all) == 0 {
			return 0
		}
		return s.all[min(len(s.all)-1, int(q*float64(len(s.all))))]
	}
	out = Summary{Count: len(s.all), PerSecond: float64(len(s.all)) / took.Seconds(), Median: at(0.5), P95: at(0.95), P99: at(0.99)}
	most := 0
	for text, n := range s.fails {
		out.Failures += n
		if n > most {
			most, out.MostCommonFailures = n, text
		}
	}
	return out
}

// Server is what one server used while everybody was there.
type Server struct {
	Address string
	Seconds float64 // of processors, used by the server's own process
	Memory  float64 // bytes, at the end
	Sockets float64 // at the end
}

// Report is what was measured.
type Report struct {
	Took    time.Duration // how long everybody was there
	Opened  Summary       // sockets, with their page
	First   Summary       // from a run's start to its first event
	Runs    Summary       // from start to end
	Later   Summary       // how much later than where it runs another server shows an event
	Calls   Summary       // of the API
	Ratings Summary       // from an answer to the next question
	Tokens  int64         // that runners got
	Servers []Server      // in the order of Config.Servers
}

// load is one run of the generator.
type load struct {
	config Config
	http   http.Transport // of all clients, so that connections are kept
	here   sync.WaitGroup // until all have come: each calls Done once
	begin  chan struct{}  // closed when they have
	tokens atomic.Int64   // that runners got

	opened, first, runs, later, calls, ratings Series
}

// Run plays everybody. The error is Invalid for a configuration that makes no sense, and Unavailable where no server answers.
// It ends after Config.For, or earlier with ctx, and
// returns what was measured until then.
func Run(ctx context.Context, c Config) (Report, error) {
	switch {
	case len(c.Servers) == 0:
		return Report{}, fault.Field("server", "is empty: name the servers")
	case c.Annotators > 0 && !strings.HasPrefix(c.Rate, "/rate/"):
		return Report{}, fault.Field("rate", "is not like /rate/TOKEN, the path of the link that annotators join a study by")
	case c.Elsewhere && len(c.Servers) < 2:
		return Report{}, fault.Field("elsewhere", "needs two servers")
	case c.For <= 0:
		return Report{}, fault.Field("for", "%v is no time", c.For)
	}
	l := &load{config: c, begin: make(chan struct{})}
	l.http = http.Transport{MaxIdleConnsPerHost: 1000, TLSClientConfig: c.Cert}
	defer l.http.CloseIdleConnections()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	play := func(n int, one func(ctx context.Context, i int)) {
		for i := range n {
			l.here.Add(1)
			all.Go(func() { one(ctx, i) })
		}
	}
	play(c.Idle, l.idle)
	play(c.Runners, l.runner)
	play(c.Programs, l.program)
	play(c.Annotators, l.annotator)
	l.here.Wait()
	before, err := l.usage(ctx)
	if err != nil {
		return Report{}, err
	}
	close(l.begin)
	began := time.Now()
	select {
	case <-time.After(c.For):
	case <-ctx.Done():
	}
	took := time.Since(began)
	after, err := l.usage(context.WithoutCancel(ctx))
	if err != nil {
		return Report{}, err
	}
	cancel()
	all.Wait()
	for i := range after {
		after[i].Seconds -= before[i].Seconds
	}
	return Report{
		Took: took, Opened: l.opened.summary(took), First: l.first.summary(took), Runs: l.runs.summary(took), Later: l.later.summary(took),
		Calls: l.calls.summary(took), Ratings: l.ratings.summary(took), Tokens: l.tokens.Load(), Servers: after,
	}, nil
}

// server is the address of the server that the i-th one uses.
func (l *load) server(i int) string { return l.config.Servers[i%len(l.config.Servers)] }

// client is a browser without cookies yet.
func (l *load) client() *http.Client {
	jar, _ := cookiejar.New(nil)
	return &http.Client{Transport: &l.http, Jar: jar, Timeout: time.Minute}
}

// usage asks all servers what they have used so far.
func (l *load) usage(ctx context.Context) ([]Server, error) {
	var all []Server
	for _, address := range l.config.Servers {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		r, err := http.NewRequestWithContext(ctx, "GET", address+"/metrics", nil)
		if err != nil {
			cancel()
			return nil, fault.Field("server", "%q is not an address", address)
		}
		text, err := l.read(&http.Client{Transport: &l.http}, r)
		cancel()
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "%s does not tell what it uses", address)
		}
		s := Server{Address: address}
		for line := range strings.Lines(text) {
			for name, value := range map[string]*float64{"process_cpu_seconds_total": &s.Seconds, "process_resident_memory_bytes": &s.Memory, "realign_sockets": &s.Sockets} {
				if rest, ok := strings.CutPrefix(line, name+" "); ok {
					_, _ = fmt.Sscan(rest, value)
				}
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// read does a request and reads its answer, which must be a success.
func (l *load) read(client *http.Client, r *http.Request) (string, error) {
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 400 {
		err = fmt.Errorf("%s %s: %d", r.Method, r.URL.Path, answer.StatusCode)
	}
	return string(text), err
}
