package load_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestArithmeticOfThePage: what docs/load.md says of many users follows from the costs that it says were measured, to the digits
// that it shows.
func TestArithmeticOfThePage(t *testing.T) {
	file, err := os.ReadFile("../../docs/load.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(file)
	cost := func(pattern string) float64 {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("the page has no %s", pattern)
		}
		return number(t, m[1])
	}
	socketSeconds := cost(`\| an idle socket \| ([\d.]+) µs`) * 1e-6
	socketBytes := cost(`\| an idle socket \|[^|]* ([\d.]+) MiB`) * (1 << 20)
	ratingServer := cost(`\| a rating[^|]*\| ([\d.]+) ms in the server`) * 1e-3
	ratingDatabase := cost(`\| a rating[^|]*\|[^|]* ([\d.]+) ms in PostgreSQL`) * 1e-3
	tokenServer := cost(`\| a token[^|]*\| ([\d.]+) ms in the servers`) * 1e-3
	tokenNATS := cost(`\| a token[^|]*\|[^|]* ([\d.]+) ms in NATS`) * 1e-3
	tokenDatabase := cost(`\| a token[^|]*\|[^|]* ([\d.]+) ms in PostgreSQL`) * 1e-3
	tokenBytes := cost(`\| a token[^|]*\|[^|]* (\d+) bytes`)
	perPerson := cost(`: (\d+) tokens a second\.`)
	between := cost(`An annotator answers every (\d+) s`)

	rows := 0
	for _, users := range []float64{100, 10_000, 1_000_000} {
		work := users / 20
		annotators := work / 10
		idle := 2 * work
		tokens, ratings := (work-annotators)*perPerson, annotators/between
		want := [][]float64{
			{work, idle, tokens, ratings},
			{
				tokens*tokenServer + ratings*ratingServer + (work+idle)*socketSeconds, (work + idle) * socketBytes, tokens*tokenDatabase + ratings*ratingDatabase,
				math.NaN(), tokens * tokenBytes * 8 * 3600, tokens * tokenNATS,
			},
		}
		table := 0
		for line := range strings.Lines(page) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			if !strings.HasPrefix(line, "| ") || !plain(cells[0]) || number(t, cells[0]) != users {
				continue
			}
			for i, value := range want[table] {
				if shown := strings.TrimSpace(cells[i+1]); !math.IsNaN(value) && !shows(t, shown, value) {
					t.Errorf("%.0f users, table %d, column %d: %s, and it is %g", users, table+1, i+2, shown, value)
				}
				rows++
			}
			table++
		}
	}
	if rows != 30 {
		t.Errorf("%d cells were looked at", rows)
	}
}

var quantity = regexp.MustCompile(`^([\d,.]+) ?(MiB|GiB|GB|TB)?$`)

func plain(cell string) bool { return quantity.MatchString(strings.TrimSpace(cell)) }

func number(t *testing.T, text string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(text), ",", ""), 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// shows reports whether a value is rounded to what is shown, whose last digit that is not a trailing zero counts.
func shows(t *testing.T, shown string, value float64) bool {
	t.Helper()
	m := quantity.FindStringSubmatch(shown)
	if m == nil {
		t.Fatalf("%q is no number", shown)
	}
	unit := map[string]float64{"": 1, "MiB": 1 << 20, "GiB": 1 << 30, "GB": 1e9, "TB": 1e12}[m[2]]
	digits := strings.ReplaceAll(m[1], ",", "")
	step := 1.0
	if _, after, fraction := strings.Cut(digits, "."); fraction {
		step = math.Pow10(-len(after))
	} else {
		for trimmed := digits; strings.HasSuffix(trimmed, "0"); trimmed = trimmed[:len(trimmed)-1] {
			step *= 10
		}
	}
	return math.Abs(value/unit-number(t, m[1])) <= step/2+1e-9*value/unit
}
