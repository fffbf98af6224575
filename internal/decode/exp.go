package decode

import "math"

// expBits is log2 of the entries of expTable.
const expBits = 7

// expTable holds 2^(i/128).
var expTable = func() (t [1 << expBits]float64) {
	for i := range t {
		t[i] = math.Exp2(float64(i) / (1 << expBits))
	}
	return t
}()

// exps writes e^((z_v − top)·scale) to p and returns the sum: what softmax needs, several times faster than
// math.Exp. Entries are accurate to a relative 1e-13, and 0 below e^−700 and for NaN. top is the largest
// entry of z, scale is positive.
//
// x = n·ln2/128 + r splits off an integer n, so that e^x = 2^(n div 128) · 2^(n mod 128 / 128) · e^r: an
// exponent, a table, and a Taylor series for |r| ≤ 0.0027 whose first omitted term is below 1.3e-15. The
// body is one loop because a call for each entry would cost as much as the arithmetic.
func exps[F float32 | float64](p []float64, z []F, top, scale float64) (sum float64) {
	const (
		perStep = (1 << expBits) / math.Ln2
		high    = 0x1.62e42fefp-1 / (1 << expBits)       // upper bits of ln 2 / 128, exact times n
		low     = 0x1.473de6af278edp-34 / (1 << expBits) // and the rest
		round   = 3 << 51                                // adding it rounds to an integer
	)
	p = p[:len(z)]
	for v, logit := range z {
		x := (float64(logit) - top) * scale
		if !(x > -700) {
			p[v] = 0
			continue
		}
		shifted := x*perStep + round
		n := int64(math.Float64bits(shifted)) - int64(math.Float64bits(round))
		f := shifted - round
		r := x - f*high - f*low
		e := 1 + r*(1+r*(0.5+r*(1.0/6+r*(1.0/24))))
		e = math.Float64frombits(math.Float64bits(expTable[n&(1<<expBits-1)]*e) + uint64(n>>expBits)<<52)
		p[v] = e
		sum += e
	}
	return sum
}

// expNeg is e^x for one x ≤ 0.
func expNeg(x float64) float64 {
	z := [1]float64{x}
	var p [1]float64
	return exps(p[:], z[:], 0, 1)
}
