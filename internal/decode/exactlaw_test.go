package decode_test

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/racetest"
)

// law is a distribution over replies, by their tokens as text.
type law map[string]float64

// laws enumerates all replies of up to length tokens after a prompt, under token-wise decoding at λ and under whole-reply realignment,
// π_ref(y)^{1−λ} π_al(y)^λ / Z, and gives log Z.
func laws(pair *decodetest.Pair, aligned *decodetest.Model, prompt []decode.Token, lambda float64, length int) (tokenwise, whole law, logZ float64) {
	tokenwise, whole = law{}, law{}
	softmax := func(row []float64) (p []float64, sum float64) {
		top := slices.Max(row)
		for _, x := range row {
			p = append(p, math.Exp(x-top))
			sum += p[len(p)-1]
		}
		for i := range p {
			p[i] /= sum
		}
		return p, top + math.Log(sum)
	}
	var grow func(history []decode.Token, reply string, q, density float64)
	grow = func(history []decode.Token, reply string, q, density float64) {
		n := len(history)
		if n > len(prompt) && (history[n-1] == decodetest.End || n == len(prompt)+length) {
			tokenwise[reply] += q
			whole[reply] += density
			return
		}
		a, b := history[n-2], history[n-1]
		var r, w, mix []float64
		for v, x := range pair.Table().Next(a, b) {
			y := aligned.Next(a, b)[v]
			r, w, mix = append(r, float64(x)), append(w, float64(y)), append(mix, (1-lambda)*float64(x)+lambda*float64(y))
		}
		pr, _ := softmax(r)
		pw, _ := softmax(w)
		pm, _ := softmax(mix)
		for v := range mix {
			grow(append(history[:n:n], decode.Token(v)), reply+fmt.Sprintf("%d ", v), q*pm[v], density*math.Pow(pr[v], 1-lambda)*math.Pow(pw[v], lambda))
		}
	}
	grow(prompt, "", 1, 1)
	z := 0.0
	for _, d := range whole {
		z += d
	}
	for y := range whole {
		whole[y] /= z
	}
	return tokenwise, whole, math.Log(z)
}

// distance is the total variation distance.
func (p law) distance(q law) (d float64) {
	for y, x := range p {
		d += math.Abs(x-q[y]) / 2
	}
	return d
}

// counted is what replies of the engine say.
type counted struct {
	replies law // shares
	n       int
	z       float64 // mean of the estimates of Z
	zs      float64 // mean of their squares
	size    float64 // mean effective sample size
	changed float64 // share
}

// count decodes n replies at one λ, by so many particles each (0: token by token).
func count(t *testing.T, e *decode.Engine, lambda float64, particles, n int) counted {
	t.Helper()
	c := counted{replies: law{}, n: n}
	for from := 0; from < n; from += decode.MaxLanes {
		req := exactRequest(particles)
		req.Trace.Off = true
		req.Sampling.MaxTokens = lawLength
		for i := range min(decode.MaxLanes, n-from) {
			req.Lanes = append(req.Lanes, decode.Lane{Index: i, Sample: from + i, Lambda: decode.Vector{lambda}})
		}
		replies := make([]string, len(req.Lanes))
		j, err := e.Start(req, func(ev decode.Event) {
			switch ev.Type {
			case decode.EventToken:
				replies[ev.Lane] += fmt.Sprintf("%d ", ev.ID)
			case decode.EventEnd:
				if x := ev.Exact; x != nil {
					c.z += math.Exp(x.LogZ) / float64(n)
					c.zs += math.Exp(2*x.LogZ) / float64(n)
					c.size += x.Size / float64(n)
					if x.Changed {
						c.changed += 1 / float64(n)
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-j.Done()
		for _, y := range replies {
			c.replies[y] += 1 / float64(n)
		}
	}
	return c
}

// chiSquare is Pearson's statistic against a law over its degrees of freedom, with replies that are expected less than five times
// taken together.
func (c counted) chiSquare(want law) (statistic float64, freedom int) {
	restSeen, restWanted := 1.0, 1.0
	for y, p := range want {
		if p*float64(c.n) < 5 {
			continue
		}
		d := c.replies[y] - p
		statistic += d * d / p * float64(c.n)
		freedom++
		restSeen -= c.replies[y]
		restWanted -= p
	}
	if restWanted*float64(c.n) >= 5 {
		d := restSeen - restWanted
		statistic += d * d / restWanted * float64(c.n)
		freedom++
	}
	return statistic, freedom - 1
}

// surprise is how many standard deviations a χ² statistic is above what chance gives (Wilson and Hilferty 1931).
func surprise(statistic float64, freedom int) float64 {
	k := float64(freedom)
	return (math.Cbrt(statistic/k) - (1 - 2/(9*k))) / math.Sqrt(2/(9*k))
}

const lawLength = 4 // tokens of a reply at most

// The more particles, the nearer are replies to π_ref^{1−λ} π_al^λ / Z: at 64 a χ² test sees no difference, token by token it is glaring, and
// the estimate of Z is right at any number.
// REALIGN_SIMULATIONS=1 with -v prints the table of docs/exact.md.
func TestExactLaw(t *testing.T) {
	if racetest.Enabled {
		t.Skip("minutes under the race detector, for numbers that depend on no other thread")
	}
	replies, numbers := 2000, []int{2, 8, 64}
	if os.Getenv("REALIGN_SIMULATIONS") != "" {
		replies, numbers = 6000, []int{2, 4, 8, 16, 64}
	}
	for _, lambda := range []float64{0.25, 0.5, 1.5, 2} {
		pair := decodetest.New(decodetest.Options{Seed: 11, Letters: 2, Spread: 1.2, Cells: 1 << 20, Sequences: decode.MaxLanes * decode.MaxParticles, Batch: 1 << 13})
		e := decode.NewEngine(pair, decode.Config{PrefixCells: -1})
		warm, err := pair.Aligned("warm")
		if err != nil {
			t.Fatal(err)
		}
		prompt, err := pair.EncodeChat(request().Prompt.Messages)
		if err != nil {
			t.Fatal(err)
		}
		tokenwise, whole, logZ := laws(pair, warm.(*decodetest.Model), prompt, lambda, lawLength)
		plain := count(t, e, lambda, 0, replies)
		statistic, freedom := plain.chiSquare(tokenwise)
		if s := surprise(statistic, freedom); s > 4 {
			t.Errorf("λ = %v: token by token χ² = %.0f on %d degrees of freedom, against its own law", lambda, statistic, freedom)
		}
		statistic, freedom = plain.chiSquare(whole)
		t.Logf("λ = %v: token by token: distance %.3f; χ² %.0f on %d", lambda, tokenwise.distance(whole), statistic, freedom)
		if surprise(statistic, freedom) < 10 {
			t.Errorf("λ = %v: token by token χ² = %.0f on %d degrees of freedom: the test shows too little", lambda, statistic, freedom)
		}
		last := math.Inf(1)
		for _, n := range numbers {
			got := count(t, e, lambda, n, replies)
			statistic, freedom = got.chiSquare(whole)
			noise := 0.0 // the distance that as many replies drawn from the law itself have: normal approximation
			for _, p := range whole {
				noise += min(p, math.Sqrt(p*(1-p)/(2*math.Pi*float64(replies))))
			}
			t.Logf("λ = %v: %2d particles: distance %.3f (of chance about %.3f); χ² %.0f on %d (%.1f σ); changed %.3f; Z %.4f of %.4f; effective %.1f",
				lambda, n, got.replies.distance(whole), noise, statistic, freedom, surprise(statistic, freedom), got.changed, got.z, math.Exp(logZ), got.size)
			if error := 4 * math.Sqrt((got.zs-got.z*got.z)/float64(replies)); math.Abs(got.z-math.Exp(logZ)) > error {
				t.Errorf("λ = %v, %d particles: the estimates of Z have the mean %.5f ± %.5f, and Z is %.5f", lambda, n, got.z, error, math.Exp(logZ))
			}
			if d := got.replies.distance(whole); d > last+0.02 {
				t.Errorf("λ = %v: %d particles are further away than fewer: %.3f, %.3f", lambda, n, d, last)
			} else {
				last = d
			}
			if n == 64 && surprise(statistic, freedom) > 4 {
				t.Errorf("λ = %v, %d particles: χ² = %.0f on %d degrees of freedom", lambda, n, statistic, freedom)
			}
		}
		e.Close()
	}
}
