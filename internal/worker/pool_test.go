package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/decode/speculate"
	"realign/internal/fault"
	"realign/internal/gpu"
	"realign/internal/pair"
)

// TestMain is also the child process of the tests: a worker over the table model.
func TestMain(m *testing.M) {
	if name := os.Getenv("WORKER_TEST_PAIR"); name != "" {
		os.Exit(childMain(name))
	}
	os.Exit(m.Run())
}

// drafting drafts wherever it is possible: what measured drafts cost, and so the stats, differs from run to run.
var drafting = decode.Config{Speculation: speculate.Alternating}

func childMain(name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := ServeConfig{
		URL: os.Getenv("WORKER_TEST_URL"), ID: os.Getenv("WORKER_TEST_ID"), Pair: name, Engine: drafting,
		Open: func(_ context.Context, progress func(float64)) (decode.Pair, error) {
			progress(0.5)
			switch name {
			case "broken":
				return nil, fault.Field("reference", "is not a GGUF file")
			case "stuck":
				return stuck{table(time.Millisecond)}, nil
			case "abort":
				if os.Getenv("WORKER_TEST_CAUTIOUS") != "" {
					return onDevice{table(time.Millisecond)}, nil
				}
				fmt.Fprintln(os.Stderr, "ggml.c:1: GGML_ASSERT(n > 0) failed")
				fmt.Fprintln(os.Stderr, "a backtrace")
				syscall.Kill(os.Getpid(), syscall.SIGABRT)
				select {}
			}
			delay, err := time.ParseDuration(cmp.Or(os.Getenv("WORKER_TEST_DELAY"), "2ms"))
			return table(delay), err
		},
	}
	if os.Getenv("WORKER_TEST_REMOTE") == "" {
		c.Parent = os.Stdin
	}
	if err := Serve(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// onDevice is a table that says where its models are.
type onDevice struct{ decode.Pair }

var whereTables = []gpu.Placement{
	{Model: "reference", Layers: 3, Loaded: true, On: []gpu.Share{{Device: "Table0", Layers: 3, Bytes: 1000}}},
	{Model: "warm", Layers: 3, Note: "there is no room"},
}

func (onDevice) Placements() []gpu.Placement { return whereTables }

func table(delay time.Duration) decode.Pair {
	return decodetest.New(decodetest.Options{Seed: 3, EndLogit: -50, Delay: delay})
}

// library is a folder of manifests.
func library(t *testing.T, names ...string) *pair.Library {
	dir := t.TempDir()
	for _, name := range names {
		folder := filepath.Join(dir, name)
		text := fmt.Sprintf(`{"name":%q,"reference":{"file":"r"},"aligned":[{"name":"warm","adapter":"a"}]}`, name)
		if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, pair.ManifestName), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return pair.NewLibrary(dir)
}

func process(name, url, id string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "WORKER_TEST_PAIR="+name, "WORKER_TEST_URL="+url, "WORKER_TEST_ID="+id)
	return c
}

// slowly makes processes that take long enough for what is done to a run in the middle of it.
func slowly(delay time.Duration) func(name, url, id string) *exec.Cmd {
	return func(name, url, id string) *exec.Cmd {
		c := process(name, url, id)
		c.Env = append(c.Env, "WORKER_TEST_DELAY="+delay.String())
		return c
	}
}

func newPool(t *testing.T, c Config) *Pool {
	t.Helper()
	if c.Pairs == nil {
		c.Pairs = library(t, "demo", "broken", "abort")
	}
	c.Stderr = io.Discard
	if testing.Verbose() {
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		c.Stderr = os.Stderr
	}
	p, err := NewPool(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func request(lanes, tokens int) decode.Request {
	r := decode.Request{
		Prompt: decode.Prompt{Text: "abc"}, Seed: 1<<63 + 5,
		Sampling: decode.Sampling{MaxTokens: tokens, Temperature: 1, TopP: 1, IgnoreEnd: true},
	}
	for i := range lanes {
		r.Lanes = append(r.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{float64(i) / 2}})
	}
	return r
}

// log gathers events.
type log struct {
	mu     sync.Mutex
	events []decode.Event
	news   chan struct{}
}

func newLog() *log { return &log{news: make(chan struct{}, 1)} }

func (l *log) sink(e decode.Event) {
	l.mu.Lock()
	l.events = append(l.events, e)
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
}

func (l *log) all() []decode.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]decode.Event(nil), l.events...)
}

// until waits for an event.
func (l *log) until(t *testing.T, what string, is func(decode.Event) bool) decode.Event {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		for _, e := range l.all() {
			if is(e) {
				return e
			}
		}
		select {
		case <-l.news:
		case <-late:
			t.Fatalf("no %s came", what)
		}
	}
}

func kind(name string) func(decode.Event) bool {
	return func(e decode.Event) bool { return e.Type == name }
}

// ends checks that each lane ended once, that stats is last and comes once, and returns the lanes' ends.
func (l *log) ends(t *testing.T, lanes int) map[int]decode.Event {
	t.Helper()
	ends := map[int]decode.Event{}
	events := l.all()
	for i, e := range events {
		if e.Type == decode.EventEnd {
			if _, twice := ends[e.Lane]; twice {
				t.Errorf("lane %d ended twice", e.Lane)
			}
			ends[e.Lane] = e
		}
		if e.Type == decode.EventToken {
			if _, ended := ends[e.Lane]; ended {
				t.Errorf("a token of lane %d came after its end", e.Lane)
			}
		}
		if (e.Type == decode.EventStats) != (i == len(events)-1) {
			t.Errorf("event %d of %d is %s", i, len(events), e.Type)
		}
	}
	if len(ends) != lanes {
		t.Errorf("%d lanes ended, want %d", len(ends), lanes)
	}
	return ends
}

func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s takes too long", what)
	}
}

// TestSameAsEngine: a run through a worker is the run of an engine, event for event.
func TestSameAsEngine(t *testing.T) {
	p := newPool(t, Config{Command: process, Data: t.TempDir()})
	through := newLog()
	r, err := p.Decode(context.Background(), "demo", request(4, 50), through.sink)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the run", r.Done())

	e := decode.NewEngine(table(0), drafting)
	defer e.Close()
	direct := newLog()
	j, err := e.Start(request(4, 50), direct.sink)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the job", j.Done())
	got, want := through.all(), direct.all()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Type == decode.EventStats {
			got[i].Stats.Seconds, want[i].Stats.Seconds = 0, 0
		}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("event %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
	if n := p.Counters()["demo"].Tokens; n != 0 && n != 200 {
		t.Errorf("%d tokens counted", n)
	}
}

// mapRequest asks for a map with many branches.
func mapRequest(tokens int) decode.Request {
	r := request(0, tokens)
	r.Map = &decode.Map{From: -1, To: 3, Branches: 8}
	return r
}

func TestMapIsTheEngines(t *testing.T) {
	p := newPool(t, Config{Command: process, Data: t.TempDir()})
	through := newLog()
	r, err := p.Decode(context.Background(), "demo", mapRequest(12), through.sink)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the run", r.Done())
	e := decode.NewEngine(table(0), drafting)
	defer e.Close()
	direct := newLog()
	j, err := e.Start(mapRequest(12), direct.sink)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the job", j.Done())
	got, want := through.all(), direct.all()
	if len(got) != len(want) || len(got) < 5 {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Type == decode.EventStats {
			got[i].Stats.Seconds, want[i].Stats.Seconds = 0, 0
		}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("event %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}

	refused := mapRequest(12)
	refused.Sampling.TopK = 4
	_, err = p.Decode(context.Background(), "demo", refused, func(decode.Event) { t.Error("an event of a map that was refused") })
	if f := fault.Of(err); f.Kind != fault.Invalid || f.Field != "top_k" {
		t.Errorf("top_k: %v", err)
	}
}

// TestMapOfADeadWorker: the map ends as unavailable, once, and what was found before is kept.
func TestMapOfADeadWorker(t *testing.T) {
	p := newPool(t, Config{Command: slowly(10 * time.Millisecond)})
	l := newLog()
	r, err := p.Decode(context.Background(), "demo", mapRequest(400), l.sink)
	if err != nil {
		t.Fatal(err)
	}
	l.until(t, "fork", kind(decode.EventFork))
	if err := syscall.Kill(waitPID(t, p), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, "the end of the map", r.Done())
	if e := l.ends(t, 1)[0]; e.Reason != decode.EndError || e.Error.Code != string(fault.Unavailable) {
		t.Errorf("%s %+v", e.Reason, e.Error)
	}

	l = newLog()
	if r, err = p.Decode(context.Background(), "demo", mapRequest(400), l.sink); err != nil {
		t.Fatal(err)
	}
	l.until(t, "fork", kind(decode.EventFork))
	if err := r.Stop(-1); err != nil {
		t.Fatal(err)
	}
	within(t, "stopping", r.Done())
	if e := l.until(t, "branch", kind(decode.EventBranch)); e.Branch.Reason != decode.EndCancelled && e.Branch.Reason != decode.EndBudget {
		t.Errorf("a branch of a stopped map ended with %s", e.Branch.Reason)
	}
	l.ends(t, 0)
}

func TestErrorsKeepKindAndField(t *testing.T) {
	p := newPool(t, Config{Command: process})
	ctx := context.Background()
	nobody := func(decode.Event) { t.Error("an event of a run that was refused") }
	bad := request(1, 10)
	bad.Sampling.TopP = 2
	_, err := p.Decode(ctx, "demo", bad, nobody)
	if f := fault.Of(err); f.Kind != fault.Invalid || f.Field != "top_p" {
		t.Errorf("top_p: %v", err)
	}
	unknown := request(1, 10)
	unknown.Aligned = []string{"nobody"}
	if _, err := p.Decode(ctx, "demo", unknown, nobody); fault.KindOf(err) != fault.NotFound {
		t.Errorf("unknown aligned model: %v", err)
	}
	if _, err := p.Decode(ctx, "none", request(1, 10), nobody); fault.KindOf(err) != fault.NotFound {
		t.Errorf("unknown pair: %v", err)
	}
	large := request(1, 10)
	large.Prompt.Text = strings.Repeat("a", 8<<20)
	if _, err := p.Decode(ctx, "demo", large, nobody); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a prompt larger than a message: %v", err)
	}
}

func TestSteering(t *testing.T) {
	p := newPool(t, Config{Command: slowly(10 * time.Millisecond)})
	l := newLog()
	r, err := p.Decode(context.Background(), "demo", request(3, 400), l.sink)
	if err != nil {
		t.Fatal(err)
	}
	l.until(t, "token", kind(decode.EventToken))
	if err := r.SetLambda(1, decode.Vector{3}); err != nil {
		t.Fatal(err)
	}
	e := l.until(t, "change of λ", kind(decode.EventLambda))
	if e.Lane != 1 || !e.Lambda.Equal(decode.Vector{3}) {
		t.Errorf("%+v", e)
	}
	if err := r.SetLambda(7, decode.Vector{1}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("λ of a lane that is not there: %v", err)
	}
	if err := r.SetLambda(1, decode.Vector{99}); fault.Of(err).Field != "lambda" {
		t.Errorf("λ out of range: %v", err)
	}
	if err := r.Stop(2); err != nil {
		t.Fatal(err)
	}
	l.until(t, "end", kind(decode.EventEnd))
	if err := r.Stop(-1); err != nil {
		t.Fatal(err)
	}
	within(t, "stopping", r.Done())
	for lane, e := range l.ends(t, 3) {
		if e.Reason != decode.EndCancelled {
			t.Errorf("lane %d ended with %s", lane, e.Reason)
		}
	}
	if err := r.Stop(-1); err != nil {
		t.Errorf("stopping again: %v", err)
	}
	if err := r.SetLambda(1, decode.Vector{1}); fault.KindOf(err) != fault.Conflict {
		t.Errorf("λ after the end: %v", err)
	}
}

// TestKilledTwentyTimes: each time the lanes end as unavailable, and the pair is ready again soon.
func TestKilledTwentyTimes(t *testing.T) {
	p := newPool(t, Config{Command: slowly(10 * time.Millisecond)})
	began := time.Now()
	if err := p.Ready(context.Background(), "demo"); err != nil {
		t.Fatal(err)
	}
	load, slowest := time.Since(began), time.Duration(0)
	for i := range 20 {
		l := newLog()
		r, err := p.Decode(context.Background(), "demo", request(3, 400), l.sink)
		if err != nil {
			t.Fatal(err)
		}
		l.until(t, "token", kind(decode.EventToken))
		pid := waitPID(t, p)
		killed := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		within(t, "the end of the run", r.Done())
		for lane, e := range l.ends(t, 3) {
			if e.Reason != decode.EndError || e.Error.Code != string(fault.Unavailable) || !strings.Contains(e.Error.Message, "killed") {
				t.Errorf("lane %d: %s %+v", lane, e.Reason, e.Error)
			}
			if e.Index == 0 && lane == 0 {
				t.Errorf("lane %d lost its count of tokens", lane)
			}
		}
		if err := p.Ready(context.Background(), "demo"); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(killed))
		if status, _ := p.Status(); find(status, "demo").Restarts != i+1 {
			t.Errorf("%d restarts, want %d", find(status, "demo").Restarts, i+1)
		}
	}
	t.Logf("ready after %v, and again after %v at most", load, slowest)
	if slowest > load+20*time.Second { // less than it would be if the pauses doubled without end
		t.Errorf("ready again after %v, and first after %v", slowest, load)
	}
}

func find(all []pair.Status, name string) pair.Status {
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return pair.Status{}
}

// waitPID waits for the first beat of the only worker.
func waitPID(t *testing.T, p *Pool) int {
	t.Helper()
	for range 1000 {
		if w := p.Workers(); len(w) == 1 && w[0].PID != 0 {
			return w[0].PID
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no beat came")
	return 0
}

func TestPairThatCannotBeLoaded(t *testing.T) {
	p := newPool(t, Config{Command: process})
	for range 2 { // tried again when somebody asks again
		err := p.Ready(context.Background(), "broken")
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "is not a GGUF file") {
			t.Errorf("%v", err)
		}
	}
	if status, _ := p.Status(); find(status, "broken").State != pair.Failed {
		t.Errorf("%+v", status)
	}
}

func TestPairThatIsNotInstalled(t *testing.T) {
	dir := t.TempDir()
	manifest := `{"name":"large","reference":{"file":"r","install":"make large"},"aligned":[{"name":"warm","adapter":"a"}]}`
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "large"), 0o755),
		os.WriteFile(filepath.Join(dir, "large", pair.ManifestName), []byte(manifest), 0o644)); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, Config{Pairs: pair.NewLibrary(dir), Command: process})
	all, _ := p.Status()
	if len(all) != 1 || all[0].State != pair.Absent || !strings.Contains(all[0].Message, "make large") {
		t.Errorf("status %+v", all)
	}
	if _, err := p.Decode(t.Context(), "large", request(1, 1), newLog().sink); fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "make large") {
		t.Errorf("decoding: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "large", "r"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if all, _ := p.Status(); all[0].State != pair.Idle {
		t.Errorf("put in place: %+v", all)
	}
}

func TestAbortIsTold(t *testing.T) {
	p := newPool(t, Config{Command: process})
	err := p.Ready(context.Background(), "abort")
	if err == nil || !strings.Contains(err.Error(), "GGML_ASSERT(n > 0)") || !strings.Contains(err.Error(), "abort") {
		t.Errorf("%v", err)
	}
}

// A process that dies while it loads is made with more caution the third time, and tells where its models are.
func TestCautious(t *testing.T) {
	p := newPool(t, Config{Command: process, Cautious: func(name, url, id string) *exec.Cmd {
		c := process(name, url, id)
		c.Env = append(c.Env, "WORKER_TEST_CAUTIOUS=1")
		return c
	}})
	if err := p.Ready(context.Background(), "abort"); err != nil {
		t.Fatal(err)
	}
	all, _ := p.Status()
	for _, s := range all {
		if s.Name == "abort" && (s.Restarts != 2 || !reflect.DeepEqual(s.Placement, whereTables)) {
			t.Errorf("status is %+v", s)
		}
		if s.Name != "abort" && s.Placement != nil {
			t.Errorf("%s is placed at %v", s.Name, s.Placement)
		}
	}
}

// TestRemoteWorkers: workers of their own join, share the load, leave in order and die.
func TestRemoteWorkers(t *testing.T) {
	central := newPool(t, Config{}) // stands for a NATS cluster elsewhere
	p := newPool(t, Config{URL: central.own.own})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := p.Ready(ctx, "demo"); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("without a worker: %v", err)
	}
	join := func() *exec.Cmd {
		c := slowly(10*time.Millisecond)("demo", central.URL(), "")
		c.Env = append(c.Env, "WORKER_TEST_REMOTE=1")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
		return c
	}
	first, second := join(), join()
	awaitWorkers(t, p, 2)
	served := map[string]int{}
	for i := 0; len(served) < 2 && i < 100; i++ {
		l := newLog()
		r, err := p.Decode(context.Background(), "demo", request(1, 3), l.sink)
		if err != nil {
			t.Fatal(err)
		}
		within(t, "the run", r.Done())
		served[r.(*Run).run.worker]++
	}
	if len(served) != 2 {
		t.Errorf("the load is not shared: %v", served)
	}

	// One leaves in order: its run ends at once, with a reason; the other takes what comes next.
	l := newLog()
	r, err := p.Decode(context.Background(), "demo", request(1, 400), l.sink)
	if err != nil {
		t.Fatal(err)
	}
	leaving, staying := first, second
	if p.pid(r.(*Run).run.worker) != first.Process.Pid {
		leaving, staying = second, first
	}
	l.until(t, "token", kind(decode.EventToken))
	leaving.Process.Signal(syscall.SIGTERM)
	within(t, "the run of the worker that leaves", r.Done())
	if e := l.ends(t, 1)[0]; e.Error == nil || e.Error.Code != string(fault.Unavailable) {
		t.Errorf("%+v", e)
	}
	awaitWorkers(t, p, 1)
	if err := leaving.Wait(); err != nil {
		t.Errorf("leaving: %v", err)
	}

	// The other freezes: it is missed within seconds.
	l = newLog()
	if r, err = p.Decode(context.Background(), "demo", request(1, 400), l.sink); err != nil {
		t.Fatal(err)
	}
	l.until(t, "token", kind(decode.EventToken))
	staying.Process.Signal(syscall.SIGSTOP)
	frozen := time.Now()
	within(t, "missing a frozen worker", r.Done())
	if took := time.Since(frozen); took > 15*time.Second { // beatTimeout, and some for a machine under load
		t.Errorf("missed after %v", took)
	}
	if e := l.ends(t, 1)[0]; e.Error == nil || !strings.Contains(e.Error.Message, "nothing was heard") {
		t.Errorf("%+v", e.Error)
	}
	if status, _ := p.Status(); find(status, "demo").State != pair.Idle {
		t.Errorf("%+v", status)
	}
}

func (p *Pool) pid(worker string) int {
	for _, w := range p.Workers() {
		if w.ID == worker {
			return w.PID
		}
	}
	return 0
}

func awaitWorkers(t *testing.T, p *Pool, n int) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		_, changed := p.Status()
		if p.ready("demo") == n {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%d workers, want %d", p.ready("demo"), n)
		}
	}
}

// TestSlowSink: the events wait for the sink, and nobody else does.
func TestSlowSink(t *testing.T) {
	p := newPool(t, Config{Command: process})
	release, slow := make(chan struct{}), newLog()
	r, err := p.Decode(context.Background(), "demo", request(2, 300), func(e decode.Event) {
		<-release
		slow.sink(e)
	})
	if err != nil {
		t.Fatal(err)
	}
	quick := newLog()
	q, err := p.Decode(context.Background(), "demo", request(2, 300), quick.sink)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the quick run", q.Done())
	close(release)
	within(t, "the slow run", r.Done())
	slow.ends(t, 2)
	if a, b := len(slow.all()), len(quick.all()); a != b {
		t.Errorf("%d and %d events", a, b)
	}
}

// TestClose: runs end as unavailable and the children are gone.
func TestClose(t *testing.T) {
	p := newPool(t, Config{Command: slowly(10 * time.Millisecond)})
	l := newLog()
	r, err := p.Decode(context.Background(), "demo", request(2, 400), l.sink)
	if err != nil {
		t.Fatal(err)
	}
	pid := waitPID(t, p)
	l.until(t, "token", kind(decode.EventToken))
	p.Close()
	within(t, "the run", r.Done())
	for lane, e := range l.ends(t, 2) {
		if e.Error == nil || e.Error.Code != string(fault.Unavailable) {
			t.Errorf("lane %d: %+v", lane, e)
		}
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child is still there: %v", err)
	}
	p.Close()
	if _, err := p.Decode(context.Background(), "demo", request(1, 5), l.sink); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("after Close: %v", err)
	}
}

// A pair that was removed is unloaded: its process ends, and so do its runs. One of that name that is added again is loaded anew.
func TestUnload(t *testing.T) {
	p := newPool(t, Config{Command: slowly(10 * time.Millisecond)})
	p.Unload("demo") // which is not loaded
	l := newLog()
	r, err := p.Decode(context.Background(), "demo", request(2, 4000), l.sink)
	if err != nil {
		t.Fatal(err)
	}
	pid := waitPID(t, p)
	l.until(t, "token", kind(decode.EventToken))
	p.Unload("demo")
	within(t, "the run", r.Done())
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the worker is still there")
		}
	}
	again := newLog()
	if r, err = p.Decode(context.Background(), "demo", request(1, 5), again.sink); err != nil {
		t.Fatal(err)
	}
	within(t, "the run after it", r.Done())
	for lane, e := range again.ends(t, 1) {
		if e.Error != nil {
			t.Errorf("lane %d: %+v", lane, e)
		}
	}
}
