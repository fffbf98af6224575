// Package gauge says how far replies that were decoded token by token are from what they stand for: whole replies
// under π_ref(y)^{1−λ} π_al(y)^λ / Z. It knows the weights exp Σ_t log Z_t(λ) of a lane's samples and nothing else.
package gauge

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/gonum/stat/distuv"
)

// Gauge is what the weights of a lane's samples say. The distance is the total variation distance between both distributions of
// replies: the share of replies that would be others.
type Gauge struct {
	Samples  int     `json:"samples"`
	Size     float64 `json:"effective_size"` // (Σw)²/Σw² of the samples' weights, 1 to Samples
	Distance float64 `json:"distance"`       // estimated; NaN with fewer than two samples
	High     float64 `json:"high"`           // its upper limit, of 95% if log weights are normal; 1 where the samples exclude nothing
}

// Of is the gauge of samples of one lane, by the logarithms of their weights.
//
// The logarithms are sums over the tokens and are taken to be normally distributed. With v their variance the distance is then
// 2Φ(√v/2) − 1, and v has the usual upper limit (n−1)S²/χ²: see TestLimitHolds for what simulations found of it.
func Of(logWeights []float64) Gauge {
	n := len(logWeights)
	g := Gauge{Samples: n, Size: Size(logWeights), Distance: math.NaN(), High: 1}
	if n < 2 {
		return g
	}
	v := Variance(logWeights)
	g.Distance = Distance(v)
	freedom := float64(n - 1)
	g.High = Distance(freedom * v / distuv.ChiSquared{K: freedom}.Quantile(0.05))
	return g
}

// Size is the effective sample size (Σw)²/Σw² of weights given by their logarithms [Kong, Liu & Wong 1994].
func Size(logWeights []float64) float64 {
	top := math.Inf(-1)
	for _, x := range logWeights {
		top = max(top, x)
	}
	sum, squares := 0.0, 0.0
	for _, x := range logWeights {
		w := math.Exp(x - top)
		sum += w
		squares += w * w
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / squares
}

// Variance is the sample variance, on n−1 degrees of freedom; NaN of fewer than two.
func Variance(x []float64) float64 {
	mean := 0.0
	for _, y := range x {
		mean += y / float64(len(x))
	}
	squares := 0.0
	for _, y := range x {
		squares += (y - mean) * (y - mean)
	}
	return squares / float64(len(x)-1)
}

// Distance is the total variation distance that goes with a variance of log weights, if those are normal.
func Distance(variance float64) float64 { return math.Erf(math.Sqrt(variance / 8)) }

// Level is how far off replies are.
type Level string

// The levels.
const (
	Unknown Level = "unknown" // nothing can be said
	Close   Level = "close"   // fewer than one reply in ten would be another
	Off     Level = "off"     // up to three in ten
	Far     Level = "far"     // more
)

// Where levels begin: distances.
const (
	closeBelow = 0.1
	offBelow   = 0.3
)

// LevelOf is the level of a distance.
func LevelOf(distance float64) Level {
	switch {
	case math.IsNaN(distance):
		return Unknown
	case distance < closeBelow:
		return Close
	case distance < offBelow:
		return Off
	}
	return Far
}

// leastClose is the number of samples from which on they can show that replies are close: fewer happen to agree too often.
const leastClose = 4

// Level is the level of the estimate, or Unknown where there are too few samples to say that replies are close.
func (g Gauge) Level() Level {
	l := LevelOf(g.Distance)
	if l == Close && g.Samples < leastClose {
		return Unknown
	}
	return l
}

// Words says it to people.
func (g Gauge) Words() string {
	switch level, high := g.Level(), LevelOf(g.High); {
	case g.Samples < 2:
		return "One sample does not say how far token-wise decoding is off: decode at least " + strconv.Itoa(leastClose) + ", or with exact λ."
	case level == Unknown:
		return fmt.Sprintf("Token-wise decoding seems close to whole replies, but %d samples are too few to say so: decode at least %d, or with exact λ.", g.Samples, leastClose)
	case level == Close && high == Close:
		return fmt.Sprintf("Token-wise decoding is close to whole replies: about %s of replies would be others, %s at most.", percent(g.Distance), percent(g.High))
	case level == Close:
		return fmt.Sprintf("Token-wise decoding is close to whole replies: about %s of replies would be others, though %d samples do not exclude %s.", percent(g.Distance), g.Samples, percent(g.High))
	case level == Off:
		return fmt.Sprintf("Token-wise decoding is off: about %s of replies would be others, %s at most. Exact λ corrects it.", percent(g.Distance), percent(g.High))
	}
	return fmt.Sprintf("Token-wise decoding is far off: about %s of replies would be others. Use exact λ.", percent(g.Distance))
}

// percent is a share from 0 to 1, in whole percent.
func percent(x float64) string { return fmt.Sprintf("%.0f%%", 100*x) }
