package web

import (
	"maps"
	"slices"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/load"
)

// TestLoad: the people that internal/load plays are served here without a failure, and what they got is counted.
func TestLoad(t *testing.T) {
	w := newWorld(t, setup{delay: 5 * time.Millisecond}) // a run outlasts the start of its watch elsewhere
	var report load.Report
	var summaries map[string]load.Summary
	for _, long := range []time.Duration{1500 * time.Millisecond, 5 * time.Second, 20 * time.Second} { // on a busy machine little happens
		_, path := w.openStudy(w.person(), studyFields()) // the annotators leave nothing of the last one
		var err error
		report, err = load.Run(t.Context(), load.Config{
			Servers: []string{w.http.URL, w.http.URL}, For: long, Idle: 5, Runners: 2, Elsewhere: true, Programs: 2, Annotators: 2, Rate: path,
			Pair: "table", Lanes: 2, Tokens: 20,
		})
		if err != nil {
			t.Fatal(err)
		}
		summaries = map[string]load.Summary{
			"sockets": report.Opened, "first events": report.First, "runs": report.Runs, "events elsewhere": report.Later, "calls": report.Calls, "ratings": report.Ratings,
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(summaries)), func(s load.Summary) bool { return s.Count == 0 }) {
			break
		}
	}
	for what, s := range summaries {
		if s.Count == 0 || s.Failures > 0 || s.Median > s.P95 || s.P95 > s.P99 || s.PerSecond <= 0 {
			t.Errorf("%s: %+v", what, s)
		}
	}
	if report.Opened.Count != 7 || report.Tokens < 40 || len(report.Servers) != 2 || report.Servers[0].Seconds <= 0 || report.Servers[0].Memory < 1<<20 {
		t.Errorf("%d sockets, %d tokens, %+v", report.Opened.Count, report.Tokens, report.Servers)
	}
}

// TestLoadRefuses: what makes no sense is told by the name of the setting.
func TestLoadRefuses(t *testing.T) {
	good := load.Config{Servers: []string{"http://127.0.0.1:1"}, For: time.Second}
	for field, change := range map[string]func(*load.Config){
		"server": func(c *load.Config) { c.Servers = nil }, "rate": func(c *load.Config) { c.Annotators, c.Rate = 1, "/studies" },
		"elsewhere": func(c *load.Config) { c.Elsewhere = true }, "for": func(c *load.Config) { c.For = 0 },
	} {
		c := good
		change(&c)
		if _, err := load.Run(t.Context(), c); fault.KindOf(err) != fault.Invalid || fault.Of(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := load.Run(t.Context(), good); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("nobody there: %v", err)
	}
}
