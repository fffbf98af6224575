package decode_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// slowPair is a table pair one of whose aligned models is loaded only when the test lets it.
type slowPair struct {
	*decodetest.Pair
	slow    string
	loading chan struct{} // closed when the load begins
	loaded  chan struct{} // closed by the test
	opened  atomic.Int32  // aligned models that were asked for
}

func newSlowPair(slow string) *slowPair {
	return &slowPair{
		Pair: decodetest.New(decodetest.Options{EndLogit: -30, Delay: time.Millisecond}), slow: slow, loading: make(chan struct{}), loaded: make(chan struct{}),
	}
}

func (p *slowPair) Aligned(name string) (decode.Model, error) {
	p.opened.Add(1)
	if name == p.slow {
		close(p.loading)
		<-p.loaded
	}
	return p.Pair.Aligned(name)
}

func long(lambda float64) decode.Request {
	r := request(lambda)
	r.Sampling.MaxTokens = 300
	return r
}

func TestStreamsGoOnWhileAModelIsOpened(t *testing.T) {
	p := newSlowPair("terse")
	e := decode.NewEngine(p, decode.Config{})
	defer e.Close()
	tokens := make(chan decode.Event, 1<<16)
	streaming, err := e.Start(long(0.5), func(ev decode.Event) { tokens <- ev })
	if err != nil {
		t.Fatal(err)
	}
	other := request(1)
	other.Aligned = []string{"terse"}
	started := make(chan error)
	go func() {
		j, err := e.Start(other, func(decode.Event) {})
		if err == nil {
			<-j.Done()
		}
		started <- err
	}()
	<-p.loading
	if err := streaming.SetLambda(0, decode.Vector{0.75}); err != nil { // waits for the loop
		t.Fatal(err)
	}
	<-streaming.Done()
	select {
	case <-started:
		t.Fatal("the other request did not wait for its model")
	default:
	}
	close(p.loaded)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

// A lane at λ = 0 without a trace is decoded without the aligned model, which is opened when λ moves; what it says is
// what it would have said with both from the start.
func TestAModelOfNoWeightIsNotOpened(t *testing.T) {
	p := newSlowPair("")
	e := decode.NewEngine(p, decode.Config{})
	defer e.Close()
	req := long(0)
	req.Trace.Off = true
	run(t, e, req)
	if n := p.opened.Load(); n != 0 {
		t.Fatalf("%d aligned models were opened for λ = 0", n)
	}

	at := 0
	r := &recorder{events: make(chan decode.Event, 1<<16)}
	fourth := make(chan struct{})
	j, err := e.Start(req, func(ev decode.Event) {
		r.events <- ev
		if ev.Type == decode.EventToken && ev.Index == 3 {
			close(fourth)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-fourth
	if err := j.SetLambda(0, decode.Vector{1}); err != nil {
		t.Fatal(err)
	}
	<-j.Done()
	r.drain()
	for _, ev := range r.all {
		if ev.Type == decode.EventLambda {
			at = ev.Index
		}
	}
	if at == 0 {
		t.Fatal("the lane ended before λ moved")
	}
	if n := p.opened.Load(); n != 1 {
		t.Fatalf("%d models were opened when λ moved, want 1", n)
	}
	both := req
	both.Trace.Off, both.Plain = false, true
	both.Lanes = slices.Clone(req.Lanes)
	both.Lanes[0].Changes = []decode.Change{{At: at, Lambda: decode.Vector{1}}}
	if got, want := r.tokens(0), run(t, e, both).tokens(0); !slices.Equal(got, want) {
		t.Errorf("tokens %v, want %v", got, want)
	}
}

func TestAnUnknownModelIsRefusedEvenWithoutWeight(t *testing.T) {
	e := decode.NewEngine(newSlowPair(""), decode.Config{})
	defer e.Close()
	req := request(0)
	req.Trace.Off, req.Aligned = true, []string{"nobody"}
	if _, err := e.Start(req, func(decode.Event) {}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("error %v, want not found", err)
	}
}

// gated is a table pair whose reference makes no pass while the test holds it.
type gated struct {
	*decodetest.Pair
	hold  atomic.Bool
	begun chan struct{} // gets one when a pass is held
	let   chan struct{} // closed by the test
}

type gatedModel struct {
	decode.Model
	pair *gated
}

func (p *gated) Reference() decode.Model { return gatedModel{p.Pair.Reference(), p} }

func (m gatedModel) Forward(rows []decode.Row) error {
	if m.pair.hold.Swap(false) {
		m.pair.begun <- struct{}{}
		<-m.pair.let
	}
	return m.Model.Forward(rows)
}

// Controls are answered while a pass is made, which takes long where models are large; what was stopped meanwhile, whether it
// was decoded or waited, leaves its room to what waits behind it.
func TestControlsDoNotWaitForAPass(t *testing.T) {
	p := &gated{
		Pair:  decodetest.New(decodetest.Options{EndLogit: -30, Cells: 320, Delay: time.Millisecond}),
		begun: make(chan struct{}), let: make(chan struct{}),
	}
	e := decode.NewEngine(p, decode.Config{})
	defer e.Close()
	var jobs []*decode.Job
	events := make(chan decode.Event, 1<<10) // of the first
	for i, tokens := range []int{300, 300, 3} {
		r := request(0.5)
		r.Sampling.MaxTokens = tokens
		j, err := e.Start(r, func(ev decode.Event) {
			if i == 0 {
				events <- ev
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	until := func(typ string) (ev decode.Event) {
		for ev.Type != typ {
			ev = <-events
		}
		return ev
	}
	until(decode.EventToken)
	p.hold.Store(true)
	<-p.begun
	if err := jobs[0].SetLambda(0, decode.Vector{0.75}); err != nil {
		t.Fatal(err)
	}
	if ev := until(decode.EventLambda); ev.Lambda[0] != 0.75 {
		t.Errorf("λ moved to %v", ev.Lambda)
	}
	for _, j := range jobs[:2] {
		if err := j.Stop(-1); err != nil {
			t.Fatal(err)
		}
	}
	if ev := until(decode.EventEnd); ev.Reason != decode.EndCancelled {
		t.Errorf("the lane ended by %q", ev.Reason)
	}
	close(p.let)
	for _, j := range jobs {
		<-j.Done()
	}
	if c := e.Counters(); c.Lanes != 0 || c.Queue != 0 {
		t.Errorf("%d lanes and %d waiting are left", c.Lanes, c.Queue)
	}
}
