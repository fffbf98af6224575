package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/experiment"
	"realign/internal/experiment/experimenttest"
	"realign/internal/fault"
	"realign/internal/instance"
	"realign/internal/pair"
	"realign/internal/pair/manage"
	"realign/internal/run"
	"realign/internal/share"
	"realign/internal/store"
	"realign/internal/study"
	"realign/internal/sweep/runner"
)

// world is a whole server but for the models, which are a table: real store, real hub, real sockets.
type world struct {
	*Server
	t            testing.TB
	http         *httptest.Server
	store        *store.Store
	hub          *run.Hub
	sweeps       *runner.Runner
	idle         *experiment.Generator // of sweeps
	queue        *experimenttest.Queue // of studies; for sweeps there is none
	made         *experiment.Generator // of studies
	studyService *study.Service
	models       *tables
	clock        *clock
	logs         *logs
}

type setup struct {
	delay   time.Duration // of every pass
	auth    AuthMode
	public  string
	proxies []netip.Prefix
	origins []string
	tune    func(*run.Config)
	manager *manage.Manager
	finder  *pair.Finder
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, clock: &clock{}, logs: &logs{}}
	log := slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if w.store, err = store.Open(ctx, store.Config{Data: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	w.models = newTables(decodetest.Options{Delay: s.delay, EndLogit: -30, Sequences: 256, Cells: 1 << 17, Context: 2048})
	config := run.Config{
		Store: w.store, Decoder: w.models, Pairs: w.models, Logger: log, Server: instance.Fixed("test"), Build: "test",
		MaxRuns: 500, MaxOwnerRuns: 300, Now: w.clock.now,
	}
	if s.tune != nil {
		s.tune(&config)
	}
	w.hub = run.NewHub(config)
	w.idle = experiment.NewGenerator(experiment.Config{Store: w.store, Queue: idle{}, Log: log})
	w.sweeps = runner.New(runner.Config{Store: w.store, Generator: w.idle, Pairs: w.models, Log: log, Server: instance.Fixed("test"), MaxOpen: 5})
	w.queue = experimenttest.New(w.models.start)
	serving, stop := context.WithCancel(ctx)
	t.Cleanup(stop)
	go w.queue.Serve(serving)
	w.made = experiment.NewGenerator(experiment.Config{Store: w.store, Queue: w.queue, Log: log, Retry: 50 * time.Millisecond})
	w.studyService = study.NewService(study.ServiceConfig{
		Store: w.store, Pairs: w.models, Generator: w.made, Now: w.clock.now, Logger: log, Server: instance.Fixed("test"), Build: "test",
	})
	signer, err := run.NewSigner(make([]byte, run.SignerSeed))
	if err != nil {
		t.Fatal(err)
	}
	var public *url.URL
	if s.public != "" {
		public, _ = url.Parse(s.public)
	}
	w.Server, err = New(Config{
		Manager: s.manager, Finder: s.finder, Origins: s.origins,
		Hub: w.hub, Sessions: w.store, Shares: &share.Service{Store: w.store, Now: w.clock.now, Signer: signer}, Studies: w.store, StudyService: w.studyService, Experiments: w.store,
		Decoder: w.models, Models: w.models, Pairs: w.models, Library: w.models.library(t),
		DefaultPair: "table", Build: "test", Log: log, Auth: s.auth, Password: "correct horse", Logins: w.store, Database: w.store, Proxies: s.proxies,
		PublicURL: public, Now: w.clock.now, Sweeper: w.sweeps, Sweeps: w.store, Keys: w.store,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.http = httptest.NewServer(w.Server)
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	w.http.Close()
	for _, c := range []io.Closer{w.studyService, w.made, w.hub, w.Server, w.sweeps, w.idle, w.models.engine, w.store} {
		if err := c.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	}
}

// clock is the real one, moved on.
type clock struct {
	mu      sync.Mutex
	ahead   time.Duration
	stopped time.Time // zero while the clock goes
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped.IsZero() {
		return c.stopped.Add(c.ahead)
	}
	return time.Now().Add(c.ahead)
}

// stop is for tests of rates, which must not depend on how long their requests take.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = time.Now()
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// tables is a pair of table models as everything the server asks of workers and pairs.
type tables struct {
	engine *decode.Engine
	pace   chan struct{} // of studies: each piece of work takes one; nil lets them all go on

	mu      sync.Mutex
	state   pair.State
	changed chan struct{}
	busy    bool // refuse requests
	sum     string
}

func newTables(o decodetest.Options) *tables {
	return &tables{
		engine: decode.NewEngine(decodetest.New(o), decode.Config{Queue: 512}),
		state:  pair.Ready, changed: make(chan struct{}), sum: strings.Repeat("5a", 32),
	}
}

func (d *tables) Decode(_ context.Context, name string, r decode.Request, sink func(decode.Event)) (run.Job, error) {
	d.mu.Lock()
	busy := d.busy
	d.mu.Unlock()
	if busy {
		return nil, fault.New(fault.Busy, "the queue is full")
	}
	if name != "table" {
		return nil, fault.Field("pair", "there is no %q", name)
	}
	return d.engine.Start(r, sink)
}

// start is an experimenttest.Decoder.
func (d *tables) start(name string, r decode.Request, sink func(decode.Event)) (<-chan struct{}, error) {
	if d.pace != nil {
		<-d.pace
	}
	job, err := d.Decode(context.Background(), name, r, sink)
	if err != nil {
		return nil, err
	}
	return job.Done(), nil
}

// retrain puts other models under the same names and checksums.
func (d *tables) retrain(seed uint64) {
	_ = d.engine.Close()
	d.engine = decode.NewEngine(decodetest.New(decodetest.Options{Seed: seed, EndLogit: -30, Context: 2048}), decode.Config{})
}

func (d *tables) Models(_ context.Context, name string, aligned []string) ([]string, []run.File, error) {
	if name != "table" {
		return nil, nil, fault.Field("pair", "there is no %q", name)
	}
	if len(aligned) == 0 {
		aligned = []string{"warm"}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	files := []run.File{{Role: "reference", Name: "table.gguf", SHA256: d.sum}}
	for _, a := range aligned {
		if a != "warm" && a != "terse" {
			return nil, nil, fault.Field("aligned", "there is no %q", a)
		}
		files = append(files, run.File{Role: a, Name: a + ".gguf", SHA256: d.sum})
	}
	return aligned, files, nil
}

func (d *tables) Status() ([]pair.Status, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return []pair.Status{{Name: "table", State: d.state, Progress: 1}}, d.changed
}

func (d *tables) become(s pair.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = s
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *tables) Counters() map[string]decode.Counters {
	return map[string]decode.Counters{"table": d.engine.Counters()}
}

func (d *tables) library(t testing.TB) *pair.Library {
	dir := t.TempDir()
	manifest := `{"name":"table","title":"A table <b>","description":"For tests.","licence":"MIT",
		"reference":{"file":"table.gguf"},
		"aligned":[{"name":"warm","file":"warm.gguf","beta":0.1,"reward":"warmth"},{"name":"terse","file":"terse.gguf"}]}`
	if err := os.Mkdir(filepath.Join(dir, "table"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"pair.json": manifest, "table.gguf": "x", "warm.gguf": "x", "terse.gguf": "x", "CARD.md": "# A card <script>"} {
		if err := os.WriteFile(filepath.Join(dir, "table", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return pair.NewLibrary(dir)
}

// person is a browser: it keeps cookies.
type person struct {
	w    *world
	http *http.Client
	csrf string
}

func (w *world) person() *person {
	jar, _ := cookiejar.New(nil)
	p := &person{w: w, http: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if w.auth.mode == AuthNone {
		p.load()
	}
	return p
}

var csrfMeta = regexp.MustCompile(`name="csrf-token" content="([^"]+)"`)

func (p *person) load() {
	body := p.get("/", 200)
	if m := csrfMeta.FindStringSubmatch(body); m != nil {
		p.csrf = m[1]
	} else {
		p.w.t.Fatalf("no CSRF token on the start page:\n%s", body)
	}
}

// do sends a request and returns the answer with its body.
func (p *person) do(method, path string, body io.Reader, header ...string) (*http.Response, string) {
	p.w.t.Helper()
	r, err := http.NewRequest(method, p.w.http.URL+path, body)
	if err != nil {
		p.w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := p.http.Do(r)
	if err != nil {
		p.w.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return answer, string(b)
}

func (p *person) get(path string, status int) string {
	p.w.t.Helper()
	answer, body := p.do("GET", path, nil)
	if answer.StatusCode != status {
		p.w.t.Fatalf("GET %s: %d, want %d\n%.400s", path, answer.StatusCode, status, body)
	}
	return body
}

// post sends a form with its token, as the pages do; pairs of field and value.
func (p *person) post(path string, status int, fields ...string) (*http.Response, string) {
	p.w.t.Helper()
	form := url.Values{csrfField: {p.csrf}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	answer, body := p.do("POST", path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	if answer.StatusCode != status {
		p.w.t.Fatalf("POST %s: %d, want %d\n%.400s", path, answer.StatusCode, status, body)
	}
	return answer, body
}

// wire is a client's end of a socket.
type wire struct {
	t    testing.TB
	conn *websocket.Conn
}

func (p *person) dial() *wire {
	p.w.t.Helper()
	u, _ := url.Parse(p.w.http.URL)
	d := websocket.Dialer{Jar: p.http.Jar, HandshakeTimeout: 10 * time.Second}
	conn, answer, err := d.Dial("ws://"+u.Host+"/ws", http.Header{"Origin": {p.w.http.URL}})
	if err != nil {
		status := 0
		if answer != nil {
			status = answer.StatusCode
		}
		p.w.t.Fatalf("dial: %v (%d)", err, status)
	}
	k := &wire{t: p.w.t, conn: conn}
	p.w.t.Cleanup(k.close)
	k.want("hello")
	k.want("pairs")
	return k
}

func (k *wire) close() { _ = k.conn.Close() }

func (k *wire) send(v any) {
	k.t.Helper()
	if err := k.conn.WriteJSON(v); err != nil {
		k.t.Fatalf("send: %v", err)
	}
}

// message is any frame of the server.
type message struct {
	Type, Ref, Run, Session, Code, Field, Message, Build string
	Version, Seq, First                                  int
	RetryAfter                                           int `json:"retry_after"`
	Events                                               []json.RawMessage
	Lanes                                                []int
	Pairs                                                []pair.Status
	Limits                                               map[string]any
}

func (k *wire) next() (message, error) {
	var m message
	_ = k.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	err := k.conn.ReadJSON(&m)
	return m, err
}

// want reads on until a frame of a type comes, and fails on an error frame.
func (k *wire) want(typ string) message {
	k.t.Helper()
	for {
		m, err := k.next()
		if err != nil {
			k.t.Fatalf("waiting for %s: %v", typ, err)
		}
		if m.Type == typ {
			return m
		}
		if m.Type == "error" {
			k.t.Fatalf("waiting for %s: error %+v", typ, m)
		}
	}
}

// spec is a run on some λ.
func spec(tokens int, lambdas ...float64) map[string]any {
	lanes := []any{}
	for _, l := range lambdas {
		lanes = append(lanes, map[string]any{"lambda": l, "sample": 0})
	}
	return map[string]any{
		"pair": "table", "prompt": "abc", "mode": "chat", "lanes": lanes, "seed": "7", "alternatives": 2,
		"sampling": map[string]any{"max_tokens": tokens, "temperature": 1, "top_p": 1},
	}
}

func (k *wire) start(s map[string]any) message {
	k.t.Helper()
	k.send(map[string]any{"type": "start", "ref": "s", "spec": s})
	return k.want("started")
}

// track collects the events of a run, checking that their numbers have no gap and no repetition.
type track struct {
	run    string
	seq    int
	events []json.RawMessage
	ended  map[int]string // reason by lane
	stats  int
}

func newTrack(run string) *track { return &track{run: run, ended: map[int]string{}} }

func (tr *track) take(m message) error {
	if m.Type != "events" || m.Run != tr.run {
		return nil
	}
	if m.First != tr.seq+1 {
		return fmt.Errorf("run %s: events from %d after %d", tr.run, m.First, tr.seq)
	}
	for _, raw := range m.Events {
		var e struct {
			Type   string
			Lane   int
			Reason string
		}
		if !bytes.HasPrefix(raw, []byte(`{"type":"token"`)) { // most are, and reading them takes long
			if err := json.Unmarshal(raw, &e); err != nil {
				return err
			}
		}
		switch e.Type {
		case decode.EventEnd:
			tr.ended[e.Lane] = e.Reason
		case decode.EventStats:
			tr.stats++
		}
		tr.seq++
		tr.events = append(tr.events, raw)
	}
	return nil
}

// follow reads until a run has so many lanes ended, and its stats.
func (k *wire) follow(tr *track, lanes int) {
	k.t.Helper()
	for len(tr.ended) < lanes || tr.stats == 0 {
		m, err := k.next()
		if err == nil && m.Type == "error" {
			err = fmt.Errorf("%+v", m)
		}
		if err == nil {
			err = tr.take(m)
		}
		if err != nil {
			k.t.Fatal(err)
		}
	}
}

func (tr *track) decoded(t testing.TB) (events []decode.Event) {
	for _, raw := range tr.events {
		var e decode.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func mustParse(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
