package templates

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// FormatLambda writes λ with at most three decimals, and several as "(0.5, 1)". The controllers write it
// the same way (web/static/lambda).
func FormatLambda(v []float64) string {
	parts := make([]string, len(v))
	for i, x := range v {
		parts[i] = formatNumber(x, 3)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// formatNumber rounds to at most so many decimals, without trailing zeros and with a real minus sign.
func formatNumber(x float64, decimals int) string {
	s := strconv.FormatFloat(x, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return strings.Replace(s, "-", "−", 1)
}

// plain writes a number for a form field: a shortest form that parses back to the same value.
func plain(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// field writes λ for its field, where a third need not have sixteen digits. The exact value is in a data
// attribute.
func field(x float64) string { return strings.Replace(formatNumber(x, 4), "−", "-", 1) }

// plainList writes λ for a data attribute.
func plainList(v []float64) string {
	parts := make([]string, len(v))
	for i, x := range v {
		parts[i] = plain(x)
	}
	return strings.Join(parts, " ")
}

// total is Σ of λ: the weight that has moved away from the reference.
func total(v []float64) (sum float64) {
	for _, x := range v {
		sum += x
	}
	return sum
}

// hue is the step of the λ scale that colours a lane: "n" below 0, "0" to "10" from the reference to the
// aligned model, "11" to "15" beyond it up to λ = 3.
func hue(v []float64) string {
	x := total(v)
	switch {
	case x < 0:
		return "n"
	case x <= 1:
		return strconv.Itoa(int(math.Round(x * 10)))
	default:
		return strconv.Itoa(10 + int(math.Ceil(math.Min((x-1)/2, 1)*5)))
	}
}

// effectiveBeta says what KL strength a retrained model would have needed (β/λ), or "" if β is unknown
// or there is no such strength.
func effectiveBeta(v []float64, models []AlignedModel) string {
	if len(v) != 1 || len(models) != 1 || models[0].Beta <= 0 || v[0] < 0 {
		return ""
	}
	if v[0] == 0 {
		return "∞"
	}
	return formatSignificant(models[0].Beta/v[0], 3)
}

// formatFixed writes a number with so many decimals.
func formatFixed(x float64, decimals int) string { return strconv.FormatFloat(x, 'f', decimals, 64) }

// formatSignificant writes a number with so many significant digits, without an exponent where it is neither tiny
// nor huge.
func formatSignificant(x float64, digits int) string {
	s := strconv.FormatFloat(x, 'g', digits, 64)
	if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 1e-4 && f < 1e6 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return s
}

// words names where a λ is: at one of the models, between them, or outside.
func words(v []float64) string {
	x := total(v)
	switch {
	case len(v) > 1 && x != 0:
		return "Mixture"
	case math.Abs(x) < 1e-9:
		return "Reference"
	case x < 0:
		return "Below the reference"
	case math.Abs(x-1) < 1e-9:
		return "Aligned"
	case x < 1:
		return "Between"
	default:
		return "Beyond"
	}
}

// ratioStep is the step of log π_al − log π_ref that colours a token, from −4 to 4.
func ratioStep(x float64) int {
	step := 0
	for _, edge := range []float64{0.1, 0.5, 1.5, 3} {
		if math.Abs(x) >= edge {
			step++
		}
	}
	if x < 0 {
		return -step
	}
	return step
}

// reason says why a text of so many tokens ended, whose run has at most so many (0 is unknown). Fewer than that: the context had
// no room for more. The controllers say the same (web/static/lanes/foot.ts).
func reason(why string, tokens, most int) string {
	switch why {
	case "stop":
		return "ended by itself"
	case "length":
		if most > 0 && tokens < most {
			return "cut off: the context is full"
		}
		return "cut off at the token limit"
	case "cancelled":
		return "stopped"
	case "error":
		return "broken off"
	default:
		return ""
	}
}

// klSum is Σ KL to the reference over the lane's tokens, in nats; traced is false where none was recorded.
func (l Lane) klSum() (sum float64, traced bool) {
	for _, t := range l.Tokens {
		sum += t.KL
		traced = traced || t.Traced
	}
	return sum, traced
}

// ids are the lane's tokens for a data attribute.
func (l Lane) ids() string {
	parts := make([]string, len(l.Tokens))
	for i, t := range l.Tokens {
		parts[i] = strconv.Itoa(int(t.ID))
	}
	return strings.Join(parts, " ")
}

// partedAt is the index of the first token at which two lanes differ, or -1 where one begins with the
// other.
func partedAt(a, b Lane) int {
	for i := range min(len(a.Tokens), len(b.Tokens)) {
		if a.Tokens[i].ID != b.Tokens[i].ID {
			return i
		}
	}
	return -1
}

// ints writes token ids for a data attribute.
func ints(ids []int32) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.Itoa(int(id))
	}
	return strings.Join(parts, " ")
}

// count writes a number with its noun: "1 run", "3 runs".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// size writes bytes in the largest fitting unit.
func size(n int64) string {
	x, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && x >= 1024 {
		x, units = x/1024, units[1:]
	}
	return formatNumber(x, 1) + " " + units[0]
}

// shorten cuts a text to n characters at most, on one line.
func shorten(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return strings.TrimRight(string(r[:n-1]), " ") + "…"
}

// Capital begins a text with a capital letter, of whatever script.
func Capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || r == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}

// or is a text, or instead where it is empty.
func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// stamp is a time for a data attribute.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// when is a time as people read it, in UTC.
func when(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") }

// percent is a share from 0 to 1, in whole percent.
func percent(x float64) string { return strconv.Itoa(int(math.Round(100*x))) + "%" }

// joinSpaces, joinDots and lines join parts with what their names say.
func joinSpaces(parts []string) string { return strings.Join(parts, " ") }

func joinDots(parts []string) string { return strings.Join(parts, " · ") }

func lines(parts []string) string { return strings.Join(parts, "\n") }

// jsonText is a value for a data attribute that a controller reads.
func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "null" // the values are our own structs of strings and finite numbers
	}
	return string(b)
}
