package store_test

import (
	"fmt"
	"testing"
	"time"

	"realign/internal/run"
	"realign/internal/run/runtest"
	"realign/internal/store"
	"realign/internal/store/storetest"
)

// event is as large as a token event with five alternatives of each distribution.
func event() []byte {
	alternative := `{"id":12345,"name":" alternative","logp":-3.1415926535897}`
	list := "[" + alternative + "," + alternative + "," + alternative + "," + alternative + "," + alternative + "]"
	return fmt.Appendf(nil, `{"type":"token","lane":1,"lambda":0.5,"sample":0,"index":17,"id":123,"text":" text",`+
		`"logp":{"reference":-1.234567890123,"aligned":-1.234567890123,"mixture":-1.234567890123},`+
		`"top":{"reference":%s,"aligned":[%s],"mixture":%s},"kl_reference":0.1234567890123,"kl_aligned":0.12345678,"log_z":-0.12345}`, list, list, list)
}

// BenchmarkAppend is 200 runs of 8 lanes at 50 tokens/s: every 20 ms 8 events of each run, one commit. An
// operation must take less than 20 ms for that to be sustained.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ runs, lanes int }{{1, 8}, {20, 8}, {200, 8}} {
		b.Run(fmt.Sprintf("runs=%d", c.runs), func(b *testing.B) {
			s := open(b, store.Config{Data: b.TempDir()})
			at := time.Unix(1e9, 0)
			for i := range c.runs {
				id := fmt.Sprintf("r%d", i)
				if err := s.CreateRun(b.Context(), storetest.NewRun(id, id, "ann", "p", at), id); err != nil {
					b.Fatal(err)
				}
			}
			payload, seq := event(), 0
			for b.Loop() {
				var batch run.Batch
				for i := range c.runs {
					for j := range c.lanes {
						batch.Events = append(batch.Events, run.Event{Run: fmt.Sprintf("r%d", i), Seq: seq + j + 1, Event: payload})
					}
				}
				seq += c.lanes
				if err := s.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			perOp := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(float64(c.runs*c.lanes)/perOp, "events/s")
			b.ReportMetric(float64(len(payload)), "bytes/event")
		})
	}
}

// BenchmarkHub is runs of 8 lanes decoded as fast as the hub takes them, each with one watcher.
func BenchmarkHub(b *testing.B) {
	for _, runs := range []int{1, 50} {
		b.Run(fmt.Sprintf("runs=%d", runs), func(b *testing.B) {
			h := newHub(b, open(b, store.Config{Data: b.TempDir()}), &runtest.Decoder{})
			total := 0
			for b.Loop() {
				ids := make([]string, runs)
				for i := range ids {
					spec := runtest.Spec(8, 100)
					spec.Alternatives = 5
					run, err := h.Start(b.Context(), "ann", "", spec)
					if err != nil {
						b.Fatal(err)
					}
					ids[i] = run.ID
				}
				for _, id := range ids {
					total += drain(b, h, id)
				}
			}
			b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "events/s")
			c := h.Counters()
			b.ReportMetric(float64(c.Events)/float64(c.Commits), "events/commit")
		})
	}
}
