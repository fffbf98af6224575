package templates

import (
	"strings"
	"testing"
)

func aSweep() SweepItem {
	return SweepItem{ID: "w", Title: "A <i>title</i>", Pair: "demo", Aligned: "warm", State: "done", Prompts: 2, Outputs: 8, Created: noon, Ended: noon}
}

func aPlot() Plot {
	return Plot{
		Title: "Length over λ", X: "λ", Y: "length", Bands: []PlotBand{{X: []float64{0, 1}, Low: []float64{0, 1}, High: []float64{1, 2}}},
		Lines: []PlotLine{{X: []float64{0, 1}, Y: []float64{0.5, 1.5}}}, Marks: []PlotMark{{From: 0.5, To: 1, Kind: "best"}, {From: 1, To: 1}},
		Points: []PlotPoint{{X: 1, LowX: 0.9, HighX: 1.1, Y: 1.5, LowY: 1, HighY: 2, Lambda: 1, Label: "λ 1", Tip: "<b>hello</b>", Kind: "best"}},
	}
}

func aSweepLive() SweepLive {
	plot := aPlot()
	live := SweepLive{
		Sweep: aSweep(), CSRF: "token", Part: 0.5, Words: "The grid", Trouble: "no worker", Workers: []SweepWorker{{Name: "one", Items: 3}},
		Answer: "Best λ for length: 1", Facts: []Fact{{Name: "KL", Value: "2"}}, Warnings: []string{"<b>hello</b>"},
		SweepCharts: SweepCharts{
			Curve: &plot, Pareto: &plot, Others: []Plot{plot},
			Table: &SweepNumbers{Columns: []string{"length"}, Rows: []SweepNumbersRow{{Lambda: 1, Best: true, Cells: []string{"1"}}}},
		},
		Missing: []SweepGap{{What: "length", Reason: "<script>alert(1)</script>", Count: 2}},
	}
	live.Sweep.State = "running"
	return live
}

// A plot stays within its axes, says its numbers in words, and draws nothing where there is nothing.
func TestPlot(t *testing.T) {
	html := render(t, aPlot().draw())
	for _, want := range []string{`role="img"`, `aria-label="Length over λ: length against λ"`, "&lt;b&gt;hello", `class="plot-interval"`, "<polyline", "<polygon"} {
		if !strings.Contains(html, want) {
			t.Errorf("the plot lacks %s", want)
		}
	}
	if strings.Contains(html, "NaN") || strings.Contains(html, "Inf") {
		t.Error("a place is no number")
	}
	if empty := render(t, Plot{Title: "Nothing"}.draw()); strings.Contains(empty, "NaN") || strings.Contains(empty, "<polyline") {
		t.Errorf("an empty plot draws %.200s", empty)
	}
}

// Ticks are round, few, and inside.
func TestTicks(t *testing.T) {
	for _, c := range [][2]float64{{0, 1}, {-0.31, 0.99}, {3, 3.0004}, {-1e6, 2e7}, {0, 13.3}} {
		ticks := ticksOf(c[0], c[1], 6)
		if len(ticks) < 2 || len(ticks) > 7 {
			t.Errorf("%v has ticks %v", c, ticks)
		}
		for _, x := range ticks {
			if x < c[0]-1e-9 || x > c[1]+1e-9 {
				t.Errorf("%v has a tick at %v", c, x)
			}
		}
	}
}

// Eight models of a pair, of which some have one title, can be told apart in the form of a sweep.
func TestModelsOfASweepHaveNamesOfTheirOwn(t *testing.T) {
	var aligned []AlignedModel
	for _, title := range []string{"Warmth", "Length"} {
		for _, beta := range []float64{0.05, 0.1, 0.2, 0.4} {
			aligned = append(aligned, AlignedModel{Name: strings.ToLower(title) + "-b" + plain(beta), Title: title, Beta: beta})
		}
	}
	seen := map[string]bool{}
	for _, p := range []PairOption{{Name: "demo", Title: "Demo", Aligned: aligned}, {Name: "other", Aligned: aligned}} {
		for _, a := range p.Aligned {
			seen[modelName(p, a)] = true
		}
	}
	if len(seen) != 2*len(aligned) {
		t.Errorf("%d names of %d models: %v", len(seen), 2*len(aligned), seen)
	}
}
