package llamacpp

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gpu"
)

// OnePass says whether the reference and the LoRA adapters on its weights are decoded in one pass of one context, or each in a
// context of its own.
type OnePass int

const (
	OnePassAuto OnePass = iota // what is measured to be faster when the pair is opened
	OnePassOn                  // wherever adapters use the reference's weights
	OnePassOff                 // nowhere
)

// ParseOnePass reads auto, on or off.
func ParseOnePass(text string) (OnePass, error) {
	for i, name := range []string{"auto", "on", "off"} {
		if text == name {
			return OnePass(i), nil
		}
	}
	return 0, fault.Field("one-pass", "%q is none of auto, on and off", text)
}

// What one pass must cost, in units of two contexts, to be chosen.
const (
	onePassWorth = 0.97 // for a row of each model
	onePassMost  = 1.02 // for eight rows of each
)

// joined is how many of a pair's adapters can share a context with the reference.
func (p *Pair) joined() (n int) {
	for _, a := range p.aligned {
		if a.isAdapter {
			n++
		}
	}
	return min(n, maxJoined)
}

// openReference opens the reference, in a context of its own or in one that adapters can join.
func (p *Pair) openReference() error {
	one, err := p.decideOnePass()
	if err != nil {
		return err
	}
	if !one {
		p.reference, err = newOwn(p.weights, nil, p.spec.Options)
		return err
	}
	if p.joint, err = newJoint(p.weights, p.spec.Options, p.joined()); err != nil {
		return err
	}
	p.reference, _ = p.joint.view(nil)
	return nil
}

// openAdapted opens an aligned model that is an adapter, whose file is loaded.
func (p *Pair) openAdapted(base *weights, a *adapter) (decode.Model, error) {
	if p.joint != nil && base == p.weights {
		if v, ok := p.joint.view(a); ok {
			return v, nil
		}
	}
	return newOwn(base, a, p.spec.Options)
}

// decideOnePass decides how the pair is decoded.
func (p *Pair) decideOnePass() (bool, error) {
	mode := p.spec.Options.OnePass
	shares := len(p.plan.Models) < 2 || p.plan.Models[1].Model == adapters && p.shares(p.plan.Models[1])
	if mode == OnePassOff || p.joined() == 0 || !shares || p.weights.source > 0 { // a source's columns are no rows of a pass
		return false, nil
	}
	if mode == OnePassOn {
		return p.canForget()
	}
	ratios, err := p.measureOnePass()
	if err != nil {
		slog.Info("one pass for reference and adapter was not measured: they have a context each", "error", err)
		return false, nil
	}
	one := ratios[0] <= onePassWorth && ratios[1] <= onePassMost
	slog.Info("one pass for reference and adapter ÷ two contexts", "one_row_each", rounded(ratios[0]), "eight_rows_each", rounded(ratios[1]), "one_pass", one)
	return one, nil
}

// rounded is a ratio as the log has it.
func rounded(x float64) string { return fmt.Sprintf("%.2f", x) }

// canForget is an error for a model whose sequences cannot share cells.
func (p *Pair) canForget() (bool, error) {
	m, err := newModel(p.weights, nil, smallOptions(p.spec.Options))
	if err != nil {
		return false, err
	}
	defer m.Close()
	return m.limits.Forgets, nil
}

// smallOptions are those of contexts that are only measured.
func smallOptions(o Options) Options {
	o.Cells, o.Batch, o.Sequences = 512, 32, 8
	return o
}

// measuredRows are the rows of each model in the passes that are measured: those of a single lane, and of eight.
var measuredRows = []int{1, 8}

// How long measureOnePass may take. The first round does not count.
const (
	measureRounds = 8
	measureFor    = 150 * time.Millisecond // for each of measuredRows; after it no other round begins
	measureMost   = 2 * measureFor         // after which none goes on: two contexts are taken where one pass was not measured by then
)

// measureOnePass compares passes of both kinds in small contexts: seconds in one pass ÷ in two contexts, for each of
// measuredRows, infinite where that does not matter any more. Of each kind the faster number of threads counts, as it does when the pair is decoded, and of several times the
// shortest, as others may use the processors.
func (p *Pair) measureOnePass() (ratios []float64, err error) {
	o := smallOptions(p.spec.Options)
	first := p.firstAdapter()
	if err := p.loadAdapter(p.weights, first); err != nil {
		return nil, err
	}
	var apart [2]decode.Model
	for i, a := range []*adapter{nil, first.adapter} {
		m, err := newModel(p.weights, a, o)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		apart[i] = m
	}
	if !apart[0].Limits().Forgets {
		return nil, fault.New(fault.Invalid, "the model cannot forget a suffix")
	}
	one, err := newJoint(p.weights, o, 1)
	if err != nil {
		return nil, err
	}
	defer one.Close()
	reference, _ := one.view(nil)
	aligned, _ := one.view(first.adapter)
	ratios = slices.Repeat([]float64{math.Inf(1)}, len(measuredRows))
	for i, n := range measuredRows {
		r, err := ratioOf(n, o.Threads,
			func(threads int, rows []decode.Row) error {
				reference.SetThreads(threads)
				aligned.SetThreads(threads)
				return reference.ForwardJoint([]decode.Model{reference, aligned}, [][]decode.Row{rows, rows})
			},
			func(threads int, rows []decode.Row) error { return atOnce(apart, threads, rows) },
			[]decode.Model{reference, aligned, apart[0], apart[1]})
		if err != nil {
			return nil, err
		}
		ratios[i] = r
		// More rows are not tried: their ratios stay infinite, which is never worth it.
		if r > onePassWorth {
			break
		}
	}
	return ratios, nil
}

// firstAdapter is the first aligned model that is an adapter.
func (p *Pair) firstAdapter() *aligned {
	for _, name := range p.names {
		if a := p.aligned[name]; a.isAdapter {
			return a
		}
	}
	return nil
}

// atOnce runs a pass of each of two models at the same time.
func atOnce(models [2]decode.Model, threads int, rows []decode.Row) error {
	var wait sync.WaitGroup
	var failed [2]error
	for i, m := range models {
		m.SetThreads(threads)
		wait.Go(func() { failed[i] = m.Forward(rows) })
	}
	wait.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// ratioOf is the shortest time of one, of both models' passes, over that of the other, where n sequences have a row in each
// pass. What was read is forgotten.
// own is the number of threads that models are opened with.
func ratioOf(n, own int, one, other func(threads int, rows []decode.Row) error, models []decode.Model) (float64, error) {
	processors := runtime.GOMAXPROCS(0)
	ways := []struct {
		pass    func(threads int, rows []decode.Row) error
		threads int
		best    float64
	}{
		{other, own, math.Inf(1)}, {other, max(1, processors/2), math.Inf(1)},
		{one, own, math.Inf(1)}, {one, processors, math.Inf(1)},
	}
	rows := make([]decode.Row, n)
	for i := range rows {
		rows[i] = decode.Row{Seq: decode.Seq(i), Want: true}
	}
	began := time.Now()
	for round := range measureRounds {
		for i := range ways {
			w := &ways[i]
			at := time.Now()
			if round > 0 && at.Sub(began) > measureMost {
				break
			}
			if err := w.pass(w.threads, rows); err != nil {
				return 0, err
			}
			if spent := time.Since(at).Seconds(); round > 0 { // the first one finds memory that was not touched yet
				w.best = min(w.best, spent)
			}
			for _, m := range models {
				for s := range rows {
					m.Trim(decode.Seq(s), 0)
				}
			}
		}
		if round > 0 && time.Since(began) > measureFor {
			break
		}
	}
	return min(ways[2].best, ways[3].best) / min(ways[0].best, ways[1].best), nil
}

// jointNeed is what planning has to know of a context that adapters share with the reference.
func (p *Pair) jointNeed() gpu.Need {
	o := jointOptions(p.spec.Options, p.joined())
	return gpu.NeedOf("reference", p.head, o.context(), 1)
}
