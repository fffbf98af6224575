package speculate_test

import (
	"math"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/speculate"
)

// machine is one on which a pass of n rows by one model takes row(n) seconds, and a row of each of two models takes both.
type machine struct {
	row  func(n int) float64
	both float64
}

// nearlyFree is as a GPU: a pass of more rows takes hardly longer, and one model at a time has the machine.
var nearlyFree = machine{func(n int) float64 { return 1 + 0.02*float64(n-1) }, 2}

// perRow is as a small CPU: each row costs as much as the first, and the models run at the same time.
var perRow = machine{func(n int) float64 { return float64(n) }, 1.2}

// decoded lets a speculator choose schemes for so many steps, and returns the last hundred.
func decoded(s decode.Speculator, m machine, branches, steps int, acceptance float64) (last []decode.Scheme) {
	for step := 1; step <= steps; step++ {
		scheme := s.Scheme(decode.Outlook{Step: step, Branches: branches, Acceptance: acceptance})
		c := decode.StepCost{Step: step, Branches: branches, Scheme: scheme, Models: 2, Rows: 2 * branches, Tokens: branches, Seconds: m.both}
		if branches > 1 {
			c.Seconds = m.both * m.row(branches)
		}
		if scheme.Draft && branches > 1 {
			c.Seconds = m.row(2 * branches)
		} else if scheme.Draft {
			c.Models, c.Rows = 1, 1+step%2 // as turns have it
			if scheme.Length > 0 && step%2 == 0 {
				c.Rows = 1 + scheme.Length
			}
			c.Seconds = m.row(c.Rows)
		}
		s.Measure(c)
		last = append(last, scheme)
	}
	return last[len(last)-100:]
}

func drafts(list []decode.Scheme) (n int) {
	for _, s := range list {
		if s.Draft {
			n++
		}
	}
	return n
}

// TestMeasuredDraftsWhereItPays: by turns a token costs t(2) + (1−α)·t(1), which is below a pass of both models for α above
// 0.08 on the one machine, and for none on the other.
func TestMeasuredDraftsWhereItPays(t *testing.T) {
	for _, branches := range []int{1, 8} {
		if n := drafts(decoded(speculate.Measured(), nearlyFree, branches, 900, 0.8)); n != 100 {
			t.Errorf("%d branches, rows nearly free: %d of 100 steps draft", branches, n)
		}
		if n := drafts(decoded(speculate.Measured(), perRow, branches, 900, 1)); n != 0 {
			t.Errorf("%d branches, each row paid: %d of 100 steps draft", branches, n)
		}
	}
	if n := drafts(decoded(speculate.Measured(), nearlyFree, 1, 900, 0)); n != 0 {
		t.Errorf("nothing is accepted: %d of 100 steps draft", n)
	}
}

// TestMeasuredTakesTheCheaperScheme: turns cost less than drafts for models of one size, and more where the nearer one is cheap.
func TestMeasuredTakesTheCheaperScheme(t *testing.T) {
	for _, alpha := range []float64{0.5, 0.8, 0.95} {
		byTurns := nearlyFree.row(2) + (1-alpha)*nearlyFree.row(1)
		best, length := byTurns, 0
		for _, g := range []int{3, 7} {
			all := math.Pow(alpha, float64(g))
			if c := ((float64(g)+all)*nearlyFree.row(1) + nearlyFree.row(g+1)) * (1 - alpha) / (1 - all*alpha); c < best {
				best, length = c, g
			}
		}
		if last := decoded(speculate.Measured(), nearlyFree, 1, 900, alpha); last[99] != (decode.Scheme{Draft: true, Length: length}) {
			t.Errorf("α = %v: %+v, want drafts of %d", alpha, last[99], length)
		}
	}
}

// TestMeasuredProbes: without drafts a branch alone looks now and then what they would have been, but not where even accepted ones
// would not pay.
func TestMeasuredProbes(t *testing.T) {
	probes := func(m machine) (n int) {
		for _, s := range decoded(speculate.Measured(), m, 1, 900, 0) {
			if s.Probe {
				n++
			}
		}
		return n
	}
	if n := probes(nearlyFree); n < 12 || n > 13 {
		t.Errorf("%d of 100 steps look what would have been drafted, want every eighth", n)
	}
	if n := probes(perRow); n != 0 {
		t.Errorf("%d of 100 steps look, though drafts never pay", n)
	}
}
