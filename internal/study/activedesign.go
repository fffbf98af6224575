package study

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"realign/internal/lru"
	"realign/internal/preference"
)

// Between two fits of the curve, active choice rests for restFactor times as long as the last one took: annotators'
// pages come first.
const (
	restFactor   = 19
	refitTimeout = time.Minute // for reading the ratings and fitting the curve
)

// activeDesign knows which pairs of λ active choice wants next. Fitting a curve takes a while, so it happens in the
// background, one study at a time, and annotators get what was found last.
// A Service makes one and closes it.
type activeDesign struct {
	store interface {
		Ratings(ctx context.Context, id string) ([]Rating, error)
	}
	log    *slog.Logger    // for fits that failed
	ctx    context.Context // of fits
	cancel context.CancelFunc
	busy   sync.WaitGroup // the fit that is being made

	mu      sync.Mutex // guards what follows
	closed  bool
	working bool                 // a fit is being made
	rest    time.Time            // no fit is begun before
	plans   lru.Cache[*pairPlan] // by study
}

// pairPlan is which pairs one study wants next. It is empty before the first fit. activeDesign.mu guards it.
type pairPlan struct {
	answers int               // pairwise answers that it rests on, or that a fit failed with
	pairs   []preference.Pair // the most wanted first
	turn    int               // how many questions have taken one
}

// newActiveDesign knows nothing of any study yet. Of the store it reads ratings only.
func newActiveDesign(store Store, log *slog.Logger) *activeDesign {
	a := &activeDesign{store: store, log: log, plans: lru.Cache[*pairPlan]{Most: 1000}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// close stops the fit that is being made and waits for it. It is safe to call twice.
func (a *activeDesign) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.busy.Wait()
}

// wanted are pairs in the order in which they are wanted by the next question; none under the balanced scheme and
// while there are too few answers.
func (a *activeDesign) wanted(s *Study, counts map[preference.Pair]int) []preference.Pair {
	if s.Setup.Scheme != ActiveScheme {
		return nil
	}
	answers := 0
	for _, n := range counts {
		answers += n
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.plans.Of(s.ID, func() *pairPlan { return &pairPlan{} })
	if answers >= preference.ActiveFrom && answers >= now.answers+preference.RefitAfter(now.answers) && !a.working && !a.closed && !time.Now().Before(a.rest) {
		a.working = true
		copied := *s
		a.busy.Go(func() { a.refit(&copied, answers) })
	}
	if len(now.pairs) == 0 {
		return nil
	}
	// Each question begins where the one before it left off.
	from := now.turn % len(now.pairs)
	now.turn++
	return append(append([]preference.Pair(nil), now.pairs[from:]...), now.pairs[:from]...)
}

// refit makes a study's plan anew, on a goroutine of its own. Where that fails, the former plan stays.
func (a *activeDesign) refit(s *Study, answers int) {
	ctx, cancel := context.WithTimeout(a.ctx, refitTimeout)
	defer cancel()
	began := time.Now()
	pairs, err := a.plan(ctx, s)
	if err != nil && a.ctx.Err() == nil && !gone(err) {
		a.log.Error("active choice goes on with what it knew", "study", s.ID, "error", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.working, a.rest = false, time.Now().Add(restFactor*time.Since(began))
	if now, ok := a.plans.Get(s.ID); ok {
		now.answers = answers // also when it failed: not again at once
		if err == nil {
			now.pairs, now.turn = pairs, 0
		}
	}
}

// plan reads the study's ratings, fits the curve to them, and says which pairs of λ are wanted.
func (a *activeDesign) plan(ctx context.Context, s *Study) ([]preference.Pair, error) {
	ratings, err := a.store.Ratings(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	return preference.WantedPairs(Sort(ratings).Pairwise, s.Setup.Grid, s.Setup.Seed)
}
