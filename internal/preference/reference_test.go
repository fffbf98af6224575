package preference

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"realign/internal/stat"
)

// reference is testdata/reference.json: what other programs make of the same answers.
type reference struct {
	Models []struct {
		Name     string
		Levels   int
		Cells    [][5]float64 // i, j, wins of i, wins of j, ties
		Strength []float64
		Choix    []float64
		Cov      [][]float64
		Nu       float64
		NuSE     float64 `json:"nu_se"`
	}
	Alpha []struct {
		Name  string
		Table [][]*float64
		Alpha map[Level]float64
	}
	Wilson []struct{ K, N, Low, High float64 }
}

func readReference(t *testing.T) (r reference) {
	t.Helper()
	data, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Models) < 4 || len(r.Alpha) < 3 || len(r.Wilson) < 5 {
		t.Fatalf("only %d models, %d tables, %d proportions", len(r.Models), len(r.Alpha), len(r.Wilson))
	}
	return r
}

// answersOf turns counts into answers, every other one shown in the other order.
func answersOf(cells [][5]float64) []Pairwise {
	var answers []Pairwise
	for _, c := range cells {
		for k, choice := range []Choice{PreferA, PreferB, Tie} {
			for n := range int(c[2+k]) {
				r := Pairwise{Item: fmt.Sprint(len(answers)), A: Side{Lambda: c[0]}, B: Side{Lambda: c[1]}, Choice: choice}
				if n%2 == 1 {
					r.A, r.B = r.B, r.A
					r.Choice = map[Choice]Choice{PreferA: PreferB, PreferB: PreferA, Tie: BothBad}[choice]
				}
				answers = append(answers, r)
			}
		}
	}
	return answers
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s is %.9g, not %.9g", what, got, want)
	}
}

func TestStrengthsEqualOtherPrograms(t *testing.T) {
	for _, m := range readReference(t).Models {
		t.Run(m.Name, func(t *testing.T) {
			s, err := FitStrengths(answersOf(m.Cells))
			if err != nil {
				t.Fatal(err)
			}
			if s.Regularised {
				t.Errorf("regularised: %s", s.Note)
			}
			for i := range m.Strength {
				near(t, fmt.Sprintf("strength %d", i), s.Strength[i].Estimate, m.Strength[i], 1e-6)
				if m.Choix != nil {
					near(t, fmt.Sprintf("strength %d of choix", i), s.Strength[i].Estimate, m.Choix[i], 1e-6)
				}
				near(t, fmt.Sprintf("half interval %d", i), s.Strength[i].Width()/2, stat.Z95*math.Sqrt(m.Cov[i][i]), 1e-6)
				for j := range m.Strength {
					near(t, fmt.Sprintf("covariance %d, %d", i, j), s.Cov[i][j], m.Cov[i][j], 1e-6)
				}
			}
			near(t, "ν", s.Nu, m.Nu, 1e-6)
			near(t, "standard error of log ν", s.NuSE, m.NuSE, 1e-6)
		})
	}
}

// TestPublishedStrengths holds the fits against the figures in print: Agresti (2002), table 10.11,
// contrasts against Baltimore, to their two decimals; Davidson (1970), chocolate pudding, whose iteration stopped
// early, to four.
func TestPublishedStrengths(t *testing.T) {
	models := readReference(t).Models
	s, err := FitStrengths(answersOf(models[0].Cells))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{1.58, 1.44, 1.29, 1.25, 1.11, 0.68} {
		d := s.Difference(i, 6)
		near(t, fmt.Sprintf("team %d against Baltimore", i), d.Estimate, want, 0.005)
		near(t, fmt.Sprintf("standard error of team %d", i), d.Width()/2/stat.Z95, 0.3, 0.05)
	}
	s, err = FitStrengths(answersOf(models[2].Cells))
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, x := range s.Strength {
		total += math.Exp(x.Estimate)
	}
	for i, want := range []float64{0.1388, 0.1730, 0.1617, 0.1654, 0.1587, 0.2024} {
		near(t, fmt.Sprintf("π of brand %d", i), math.Exp(s.Strength[i].Estimate)/total, want, 0.0001)
	}
	near(t, "ν", s.Nu, 0.7468, 0.0001)
}

func TestAlphaEqualsOtherPrograms(t *testing.T) {
	for _, c := range readReference(t).Alpha {
		var values []Value
		for annotator, row := range c.Table {
			for unit, x := range row {
				if x != nil {
					values = append(values, Value{fmt.Sprint(unit), fmt.Sprint(annotator), *x})
				}
			}
		}
		for level, want := range c.Alpha {
			a, err := Agree(values, level, 1)
			if err != nil {
				t.Fatal(err)
			}
			near(t, fmt.Sprintf("%s, %s: α", c.Name, level), a.Alpha.Estimate, want, 1e-6)
			if !a.Defined || !a.HasInterval || a.Alpha.Low >= want || a.Alpha.High <= want {
				t.Errorf("%s, %s: interval %+v", c.Name, level, a)
			}
		}
	}
	// The three decimals in print: Krippendorff (2011), sections C and D.
	published := readReference(t).Alpha[0].Alpha
	for level, want := range map[Level]float64{Nominal: 0.743, Ordinal: 0.815, Metrical: 0.849} {
		near(t, "published "+string(level), published[level], want, 0.0005)
	}
}

func TestWilsonEqualsOtherPrograms(t *testing.T) {
	for _, c := range readReference(t).Wilson {
		w := stat.Wilson(c.K, c.N)
		near(t, fmt.Sprintf("low of %g/%g", c.K, c.N), w.Low, c.Low, 1e-9)
		near(t, fmt.Sprintf("high of %g/%g", c.K, c.N), w.High, c.High, 1e-9)
	}
}
