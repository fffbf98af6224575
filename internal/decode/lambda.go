package decode

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"realign/internal/fault"
)

// How numbers and λ are read and written, on pages and on the command line. web/static/lambda reads single numbers alike;
// testdata/numbers.json is the table that both are tested by.

// Forms of numbers in text. A sign is taken off before the first two are tried.
var (
	decimal      = regexp.MustCompile(`^(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)
	ratio        = regexp.MustCompile(`^(\d+(?:\.\d*)?)\s*/\s*(\d+(?:\.\d*)?)$`)
	decimalComma = regexp.MustCompile(`^[-+−]?\s*\d+,\d+([eE][+-]?\d+)?$`)
	aroundSlash  = regexp.MustCompile(`\s*/\s*`)
)

// vulgar are the fractions that have a character of their own.
var vulgar = map[string]float64{
	"½": 1. / 2, "⅓": 1. / 3, "⅔": 2. / 3, "¼": 1. / 4, "¾": 3. / 4, "⅕": 1. / 5, "⅙": 1. / 6, "⅚": 5. / 6, "⅛": 1. / 8,
}

// ParseNumber reads a finite number as people write it: 0.5, −1, 1/6, 1½, 1e-3. A comma is refused with the question whether it
// stands for a point. The error is Invalid and about field.
func ParseNumber(field, text string) (float64, error) {
	s := strings.TrimSpace(text)
	if decimalComma.MatchString(s) {
		return 0, fault.Field(field, "“%.40s” has a comma: write %.40s", s, pointed(s))
	}
	x := unsigned(strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(s, "−"), "-"), "+")))
	if signs := len([]rune(s)) - len([]rune(strings.TrimLeft(s, "+-−"))); signs > 1 || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, fault.Field(field, "%.40q is not a number, such as 0.5 or 1/6", text)
	}
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "−") {
		x = -x
	}
	return x, nil
}

// unsigned reads a number without its sign; NaN where it is none.
func unsigned(s string) float64 {
	if m := ratio.FindStringSubmatch(s); m != nil {
		x, _ := strconv.ParseFloat(m[1], 64)
		y, _ := strconv.ParseFloat(m[2], 64)
		return x / y // by 0: infinite or NaN
	}
	for sign, part := range vulgar {
		whole, ok := strings.CutSuffix(s, sign)
		if whole = strings.TrimSpace(whole); !ok {
			continue
		}
		if whole == "" {
			return part
		}
		n, err := strconv.ParseUint(whole, 10, 32)
		if err != nil {
			return math.NaN()
		}
		return float64(n) + part
	}
	if !decimal.MatchString(s) {
		return math.NaN()
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return x
}

// pointed is a number with its comma made a point.
func pointed(s string) string { return strings.NewReplacer(",", ".", "−", "-").Replace(s) }

// ParseNumbers reads numbers with commas, semicolons or white space between them. Where a comma may as well stand for a point,
// as in "0,5" and in "0,5; 1", it asks what is meant rather than guess: the integers 0, 1 and 2 are what people write for λ,
// so "0,1" is two numbers. The error is Invalid and about field.
func ParseNumbers(field, text string) ([]float64, error) {
	words, err := numberWords(field, text)
	if err != nil {
		return nil, err
	}
	numbers := make([]float64, len(words))
	for i, word := range words {
		if numbers[i], err = ParseNumber(field, word); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// numberWords cuts a list into the texts of its numbers.
func numberWords(field, text string) ([]string, error) {
	text = aroundSlash.ReplaceAllString(strings.TrimSpace(text), "/")
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
	several := len(words) > 1
	var all []string
	for _, word := range words {
		word = strings.Trim(word, ",")
		_, after, _ := strings.Cut(word, ",")
		if decimalComma.MatchString(word) && (several || after != "1" && after != "2") {
			before, after, _ := strings.Cut(word, ",")
			return nil, fault.Field(field, "“%.40s” can be one number or two: write %.40s, or “%.20s; %.20s” for two", word, pointed(word), before, after)
		}
		for part := range strings.SplitSeq(word, ",") {
			if word != "" {
				all = append(all, part)
			}
		}
	}
	if len(all) == 0 {
		return nil, fault.Field(field, "has no number")
	}
	return all, nil
}

// ParseLambdas reads a list of λ as ParseNumbers does, each with as many values as there are aligned models, colons between
// them: "0.5:0.2, 1:0" for two. The error is Invalid and about field.
func ParseLambdas(field, text string, models int) ([]Vector, error) {
	words, err := numberWords(field, text)
	if err != nil {
		return nil, err
	}
	all := make([]Vector, len(words))
	for i, word := range words {
		numbers := strings.Split(word, ":")
		if len(numbers) != models {
			return nil, fault.Field(field, "%.40q has %d values, and there are %d aligned models", word, len(numbers), models)
		}
		for _, number := range numbers {
			x, err := ParseNumber(field, number)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], x)
		}
		if err := CheckLambda(field, all[i], models); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// FormatNumber is the shortest text that ParseNumber reads as x.
func FormatNumber(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// FormatNumbers is a list that ParseNumbers reads.
func FormatNumbers(list []float64) string {
	words := make([]string, len(list))
	for i, x := range list {
		words[i] = FormatNumber(x)
	}
	return strings.Join(words, ", ")
}

// String is the shortest text that ParseLambdas reads as one λ.
func (v Vector) String() string {
	words := make([]string, len(v))
	for i, x := range v {
		words[i] = FormatNumber(x)
	}
	return strings.Join(words, ":")
}
