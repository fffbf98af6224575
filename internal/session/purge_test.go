package session

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// purged notes which times it is asked for.
type purged struct {
	asked chan time.Time
	n     Purged
}

func (p *purged) Purge(_ context.Context, before time.Time) (Purged, error) {
	p.asked <- before
	return p.n, nil
}

func TestPurger(t *testing.T) {
	now := time.Date(2030, 3, 1, 0, 0, 0, 0, time.UTC)
	tick := make(chan time.Time)
	store := &purged{asked: make(chan time.Time), n: Purged{Sessions: 2, Links: 1}}
	var out bytes.Buffer
	p := NewPurger(PurgeConfig{Store: store, Now: func() time.Time { return now }, Tick: tick, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if got, want := <-store.asked, time.Date(2030, 1, 30, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("at the start before %v, want %v", got, want)
	}
	now = now.Add(24 * time.Hour)
	tick <- time.Time{}
	if got, want := <-store.asked, time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("a day later before %v, want %v", got, want)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if text := out.String(); strings.Count(text, "sessions=2 runs=0 links=1") < 1 || !strings.Contains(text, "before=2030-01-30T00:00:00Z") {
		t.Errorf("log: %s", text)
	}
}
