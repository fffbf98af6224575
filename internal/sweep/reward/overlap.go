package reward

import (
	"strings"
	"unicode"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// rouge is ROUGE-L (Lin 2004, §3): F₁ of the longest common subsequence with the reference answer, over words of
// a–z and 0–9 in lower case without stemming, as Google's rouge-score computes it.
func rouge() maker {
	return simple(Info{
		Name: "rouge-l", Title: "ROUGE-L", Direction: sweep.Higher, Needs: []string{sweep.ColumnReference},
		About: "F₁ of the longest common subsequence of words with the reference answer, from 0 to 1.",
	}, struct{}{}, func(_ *struct{}, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		return func(row *sweep.Row, o *sweep.Output) sweep.Value {
			return sweep.Of(rougeL(o.Text, row.Reference))
		}, nil
	})
}

// rougeL is F₁ of the longest common subsequence of words, 0 to 1.
func rougeL(answer, reference string) float64 {
	a, b := plain(answer), plain(reference)
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	row := make([]int, len(b)+1)
	for i := range a {
		diagonal := 0
		for j := range b {
			above := row[j+1]
			if a[i] == b[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	precision, recall := float64(row[len(b)])/float64(len(a)), float64(row[len(b)])/float64(len(b))
	if precision+recall == 0 {
		return 0
	}
	return 2 * precision * recall / (precision + recall)
}

// plain are the runs of a–z and 0–9 of a text in lower case.
func plain(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !('a' <= r && r <= 'z' || '0' <= r && r <= '9') })
}

// chrfParameters are those of chrF, as its Schema describes them.
type chrfParameters struct {
	Order int     `json:"order"` // longest n-gram, in characters
	Beta  float64 `json:"beta"`  // how much more recall weighs than precision
}

// chrf is chrF of one sentence (Popović 2015, §2): F_β of n-grams of characters with the reference answer, without white
// space, precision and recall being means over the orders that both texts have, as sacreBLEU computes it.
func chrf() maker {
	return simple(Info{
		Name: "chrf", Title: "chrF", Unit: "points", Direction: sweep.Higher, Needs: []string{sweep.ColumnReference},
		About: "F-score of n-grams of characters with the reference answer, from 0 to 100.",
		Schema: []Parameter{
			{"order", "longest n-gram", "6"},
			{"beta", "how much more recall weighs than precision", "2"},
		},
	}, chrfParameters{6, 2}, func(p *chrfParameters, _ Environment, _ *Info) (func(*sweep.Row, *sweep.Output) sweep.Value, error) {
		if p.Order < 1 || p.Order > 12 {
			return nil, fault.Field("order", "%d is not from 1 to 12", p.Order)
		}
		if !(p.Beta > 0) || p.Beta > 100 {
			return nil, fault.Field("beta", "%g is not above 0 and up to 100", p.Beta)
		}
		return func(row *sweep.Row, o *sweep.Output) sweep.Value {
			return sweep.Of(chrF(o.Text, row.Reference, p.Order, p.Beta))
		}, nil
	})
}

// chrF is F_β of n-grams of up to order characters, 0 to 100.
func chrF(answer, reference string, order int, beta float64) float64 {
	a, b := unspaced(answer), unspaced(reference)
	var precision, recall, orders float64
	for n := 1; n <= order; n++ {
		x, y := max(0, len(a)-n+1), max(0, len(b)-n+1)
		if x == 0 || y == 0 {
			continue
		}
		left := map[string]int{}
		for i := range y {
			left[string(b[i:i+n])]++
		}
		match := 0.0
		for i := range x {
			if gram := string(a[i : i+n]); left[gram] > 0 {
				left[gram]--
				match++
			}
		}
		precision += match / float64(x)
		recall += match / float64(y)
		orders++
	}
	if precision+recall == 0 {
		return 0
	}
	precision, recall = precision/orders, recall/orders
	return 100 * (1 + beta*beta) * precision * recall / (beta*beta*precision + recall)
}

// unspaced are the characters of a text but for white space.
func unspaced(text string) []rune {
	return []rune(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text))
}
