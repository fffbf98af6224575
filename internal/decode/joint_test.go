package decode_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/fault"
)

// jointPair is a pair whose models share a context.
type jointPair struct {
	decode.Pair
	fails bool

	mu            sync.Mutex
	joint, single int // passes of several models, and of one
	models        map[string]*jointModel
}

type jointModel struct {
	decode.Model
	pair *jointPair
}

func (p *jointPair) wrap(name string, m decode.Model) *jointModel {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.models[name] == nil {
		p.models[name] = &jointModel{m, p}
	}
	return p.models[name]
}

func (p *jointPair) Reference() decode.Model { return p.wrap("", p.Pair.Reference()) }

func (p *jointPair) Aligned(name string) (decode.Model, error) {
	m, err := p.Pair.Aligned(name)
	return p.wrap(name, m), err
}

func (m *jointModel) Context() any { return m.pair }

func (m *jointModel) Forward(rows []decode.Row) error {
	m.pair.mu.Lock()
	m.pair.single++
	m.pair.mu.Unlock()
	return m.Model.Forward(rows)
}

func (m *jointModel) ForwardJoint(models []decode.Model, rows [][]decode.Row) error {
	m.pair.mu.Lock()
	m.pair.joint++
	fails := m.pair.fails
	m.pair.mu.Unlock()
	if fails {
		return errors.New("the context is broken")
	}
	for i, x := range models {
		if err := x.(*jointModel).Model.Forward(rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// Models of one context are read in one pass, which changes no token; a pass that fails ends the lanes of all of them.
func TestJointModelsAreReadInOnePass(t *testing.T) {
	request := decode.Request{
		Aligned: []string{"warm"}, Prompt: decode.Prompt{Text: "abcabc"}, Seed: 5,
		Sampling: decode.Sampling{MaxTokens: 30, Temperature: 1, TopP: 1}, Trace: decode.Trace{Alternatives: 2},
	}
	for i, lambda := range []float64{-0.5, 0, 0.3, 1, 1.5} {
		request.Lanes = append(request.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{lambda}})
	}
	options := decodetest.Options{Seed: 5, EndLogit: -5}
	apart := decode.NewEngine(decodetest.New(options), decode.Config{})
	defer apart.Close()
	want := run(t, apart, request)
	for _, serial := range []bool{false, true} {
		pair := &jointPair{Pair: decodetest.New(options), models: map[string]*jointModel{}}
		e := decode.NewEngine(pair, decode.Config{Serial: serial})
		defer e.Close()
		got := run(t, e, request)
		for lane := range request.Lanes {
			if !slices.Equal(got.tokens(lane), want.tokens(lane)) {
				t.Errorf("lane %d: %v in one pass, %v apart", lane, got.tokens(lane), want.tokens(lane))
			}
		}
		if passes := got.stats().Passes["reference"]; int64(pair.joint) != passes || pair.single != 0 {
			t.Errorf("%d passes of both models and %d of one, for %d of each", pair.joint, pair.single, passes)
		}
		// Without the trace λ = 0 needs one of them.
		one := request
		one.Trace, one.Lanes = decode.Trace{Off: true}, request.Lanes[1:2]
		joint := pair.joint
		run(t, e, one)
		if pair.joint != joint || pair.single == 0 {
			t.Errorf("%d passes of both models at λ = 0, %d of one", pair.joint-joint, pair.single)
		}
		e.Counters() // the step has ended
		pair.mu.Lock()
		pair.fails = true
		pair.mu.Unlock()
		broken := run(t, e, request)
		for lane := range request.Lanes {
			if end := broken.end(lane); end.Reason != decode.EndError {
				t.Errorf("lane %d ended as %q", lane, end.Reason)
			}
		}
	}
}

// A pair without adapters has no model with λ in its weights, and says what to do.
func TestWeightsNeedAdapters(t *testing.T) {
	e := decode.NewEngine(decodetest.New(decodetest.Options{Seed: 5}), decode.Config{})
	defer e.Close()
	_, err := e.Start(decode.Request{
		Aligned: []string{"warm"}, Prompt: decode.Prompt{Text: "abc"}, Mix: decode.MixWeights,
		Sampling: decode.Sampling{MaxTokens: 3, Temperature: 1, TopP: 1}, Lanes: []decode.Lane{{Lambda: decode.Vector{1}}},
	}, func(decode.Event) {})
	if err == nil || err.Error() == "" {
		t.Fatalf("error %v", err)
	}
}

// TestMixOfLanes: what a lane mixes is what its request does; anything else is named.
func TestMixOfLanes(t *testing.T) {
	r := decode.Request{Prompt: decode.Prompt{Text: "abc"}, Sampling: decode.Sampling{MaxTokens: 3, Temperature: 1, TopP: 1}}
	for _, c := range []struct {
		request, lane string
		ok            bool
	}{
		{"", "", true}, {"", decode.MixLogits, true}, {decode.MixLogits, "", true}, {decode.MixWeights, decode.MixWeights, true}, {decode.MixWeights, "", true},
		{"", decode.MixWeights, false}, {decode.MixWeights, decode.MixLogits, false}, {"both", "", false}, {"", "both", false},
	} {
		r.Mix, r.Lanes = c.request, []decode.Lane{{Lambda: decode.Vector{1}, Mix: c.lane}}
		if err := r.Validate(1); (err == nil) != c.ok {
			t.Errorf("request %q, lane %q: %v", c.request, c.lane, err)
		} else if err != nil && fault.Of(err).Field != "mix" {
			t.Errorf("request %q, lane %q: the field is %q", c.request, c.lane, fault.Of(err).Field)
		}
	}
}
