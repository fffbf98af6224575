// Package storetest is what every database that a store runs on must pass.
package storetest

import (
	"fmt"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/store"
)

// Run runs the suite. open opens an empty database for one test; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	tests := map[string]func(*testing.T, *store.Store){
		"sweeps":                  testSweeps,
		"sweep outputs":           testSweepOutputs,
		"many outputs of a sweep": testManyOutputs,
		"sweep table":             testSweepTable,

		"sessions":    testSessions,
		"history":     testHistory,
		"search":      testSearch,
		"paging":      testPaging,
		"delete":      testDelete,
		"runs":        testRuns,
		"events":      testEvents,
		"contiguity":  testContiguity,
		"atomicity":   testAtomicity,
		"owners":      testOwners,
		"comparisons": testComparisons,
		"import":      testImport,
		"meta":        testMeta,
		"logins":      testLogins,
		"studies":     testStudies,
		"ratings":     testRatings,
		"undo":        testUndo,
		"undo skips":  testUndoAfterSkips,
		"overlap":     testOverlap,
		"at once":     testReserveAtOnce,
		"archive":     testImportStudy,
		"keys":        testKeys,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			test(t, s)
			problems, err := s.IntegrityCheck(t.Context())
			if err != nil || len(problems) > 0 {
				t.Errorf("integrity: %v, %v", problems, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

func create(t *testing.T, s *store.Store, id, owner, title string, at time.Time, prompts ...string) {
	t.Helper()
	for i, prompt := range prompts {
		run := NewRun(fmt.Sprintf("%s-run%d", id, i+1), id, owner, prompt, at)
		created := "" // the title of the session, with its first run
		if i == 0 {
			created = title
		}
		if err := s.CreateRun(t.Context(), run, created); err != nil {
			t.Fatalf("create run: %v", err)
		}
	}
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Errorf("kind %q of error %v, want %q", got, err, kind)
	}
}

func testMeta(t *testing.T, s *store.Store) {
	ctx := t.Context()
	_, err := s.Meta(ctx, "k")
	wantKind(t, err, fault.NotFound)
	for _, v := range []string{"1", "2"} {
		if err := s.SetMeta(ctx, "k", v); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Meta(ctx, "k"); got != v || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, value := range []string{"first", "second"} {
		if got, err := s.MetaOnce(ctx, "once", value); err != nil || got != "first" {
			t.Errorf("kept once: %q, %v", got, err)
		}
	}
}
