package runner

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// cached is the report of a sweep that has not ended, as it was when it was made.
// Runner.reports keeps the latest of them.
type cached struct {
	mu      sync.Mutex    // held while it is made, so that it is made once for all who ask
	outputs int           // that the report is of
	values  int           // of rewards, that the report is of
	made    time.Time     // when it was last known to be of all there was
	took    time.Duration // to make
	report  *sweep.Report // nil before the first; not to be written to
}

// A report of a sweep that goes on stands for fresh, or for freshness times as long as it took to make, whichever
// is longer.
const (
	fresh     = 3 * time.Second // at least
	freshness = 10              // times
)

// Report is what is known of a sweep: the one it ended with, or of what there is so far.
func (r *Runner) Report(ctx context.Context, w *sweep.Sweep) (*sweep.Report, error) {
	if w.Report != nil {
		var report sweep.Report
		if err := json.Unmarshal(w.Report, &report); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "the report of sweep %s cannot be read", w.ID)
		}
		return &report, nil
	}
	c := r.reports.Of(w.ID, func() *cached { return &cached{} })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.report != nil && r.config.Now().Sub(c.made) < max(fresh, freshness*c.took) {
		return c.report, nil
	}
	outputs, err := r.outputs(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	values := 0
	for i := range outputs {
		values += len(outputs[i].Rewards)
	}
	if c.report == nil || len(outputs) != c.outputs || values != c.values {
		began := time.Now()
		c.report, c.outputs, c.values = sweep.Analyse(&w.Setup, outputs), len(outputs), values
		c.took = time.Since(began)
	}
	c.made = r.config.Now()
	return c.report, nil
}

// outputs are those of a sweep without texts, from memory where it runs.
func (r *Runner) outputs(ctx context.Context, id string) ([]sweep.Output, error) {
	if j := r.find(id); j != nil {
		if outputs, runs := r.config.Generator.Outputs(id); runs {
			return j.asked(outputs), nil
		}
	}
	return r.config.Store.Outputs(ctx, id, nil, false)
}

// final is the report that a sweep ends with.
func (r *Runner) final(ctx context.Context, w *sweep.Sweep) ([]byte, error) {
	outputs, err := r.config.Store.Outputs(ctx, w.ID, nil, false)
	if err != nil {
		return nil, err
	}
	return r.encode(w, outputs)
}

// encode is the report on outputs, as it is stored. The cached report goes: that of a sweep that has ended is
// stored.
func (r *Runner) encode(w *sweep.Sweep, outputs []sweep.Output) ([]byte, error) {
	r.reports.Delete(w.ID)
	report, err := json.Marshal(sweep.Analyse(&w.Setup, outputs))
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the report cannot be written as JSON")
	}
	return report, nil
}
