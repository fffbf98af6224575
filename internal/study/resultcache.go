package study

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"realign/internal/fault"
	"realign/internal/lru"
	"realign/internal/preference"
)

// ResultCache computes results, and keeps those it computed last, so that many who look at a study cost one
// computation. It is safe for use by many goroutines.
type ResultCache struct {
	// Store is where answers are read.
	Store interface {
		// Ratings are all answers and skips of a study, in the order in which they were given.
		Ratings(ctx context.Context, id string) ([]Rating, error)
		// StudyAnnotators are those who joined, with what each has done.
		StudyAnnotators(ctx context.Context, id string) ([]AnnotatorProgress, error)
	}

	kept lru.Cache[*cachedResults] // by study
}

// cachedResults is the results of one study.
type cachedResults struct {
	mu      sync.Mutex          // guards what follows; held while it is computed
	version string              // of the answers that results are of; "" before the first
	results *preference.Results // nil before the first; not to be written to
}

// Version names the state of a study's answers: it changes with each that is given or taken back.
func (a *ResultCache) Version(ctx context.Context, id string) (string, error) {
	people, err := a.Store.StudyAnnotators(ctx, id)
	if err != nil {
		return "", err
	}
	answers, skips, last := 0, 0, time.Time{}
	for _, p := range people {
		answers, skips = answers+p.Answered, skips+p.Skipped
		if p.LastAt.After(last) {
			last = p.LastAt
		}
	}
	return fmt.Sprintf("%d-%d-%d", answers, skips, max(0, last.UnixMicro())), nil
}

// Results are a study's, with the version that they are of. The caller has asked whose study it is.
func (a *ResultCache) Results(ctx context.Context, s *Study) (*preference.Results, string, error) {
	kept := a.kept.Of(s.ID, func() *cachedResults { return &cachedResults{} })
	kept.mu.Lock()
	defer kept.mu.Unlock()
	version, err := a.Version(ctx, s.ID)
	if err != nil {
		return nil, "", err
	}
	if kept.results != nil && kept.version == version {
		return kept.results, version, nil
	}
	ratings, err := a.Store.Ratings(ctx, s.ID)
	if err != nil {
		return nil, "", err
	}
	results, err := preference.Compute(Sort(ratings), s.options())
	if err != nil {
		return nil, "", err
	}
	kept.version, kept.results = version, results
	return results, version, nil
}

// options are what the statistics need to know of the study.
func (s *Study) options() preference.Options {
	return preference.Options{Grid: s.Setup.Grid, Beta: s.Beta, Active: s.Setup.Scheme == ActiveScheme, Seed: s.Setup.Seed}
}

// PublicationFormat and PublicationVersion begin published results.
const (
	PublicationFormat  = "realign-results"
	PublicationVersion = 1
)

// Publication is results as a link shows them to anybody: no prompts, no outputs, no names.
// It is stored as JSON and shown as it is, whatever becomes of the study.
type Publication struct {
	Format  string              `json:"format"`
	Version int                 `json:"version"`
	Title   string              `json:"title"` // of the study
	Pair    string              `json:"pair"`
	Aligned string              `json:"aligned"` // the aligned model whose λ was studied
	At      time.Time           `json:"at"`      // when it was published
	Results *preference.Results `json:"results"`
}

// Publish freezes a study's results as they are now, in a canonical form: annotators are numbered.
func (a *ResultCache) Publish(ctx context.Context, s *Study, now time.Time) ([]byte, error) {
	ratings, err := a.Store.Ratings(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	results, err := preference.Compute(Sort(ratings).Anonymous(), s.options())
	if err != nil {
		return nil, err
	}
	form, err := json.Marshal(Publication{
		PublicationFormat, PublicationVersion, s.Setup.Title, s.Setup.Pair, s.Setup.Aligned, now.UTC().Truncate(time.Second), results,
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the results of study %s cannot be written", s.ID)
	}
	return form, nil
}

// ReadPublication reads what Publish wrote.
func ReadPublication(form []byte) (*Publication, error) {
	var p Publication
	if err := json.Unmarshal(form, &p); err != nil || p.Format != PublicationFormat || p.Version != PublicationVersion || p.Results == nil {
		return nil, fault.Wrap(err, fault.Internal, "published results cannot be read")
	}
	return &p, nil
}
