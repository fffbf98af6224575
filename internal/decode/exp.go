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

// expNeg is e^x for x ≤ 0 to a relative error below 1e-13, several times faster than math.Exp: a table of
// 2^(i/128) and a short Taylor series. It is 0 below −700 and for NaN.
func expNeg(x float64) float64 {
	if !(x > -700) {
		return 0
	}
	const (
		scale = (1 << expBits) / math.Ln2
		high  = 0x1.62e42fefp-1 / (1 << expBits)       // upper bits of ln 2, exact times n
		low   = 0x1.473de6af278edp-34 / (1 << expBits) // and the rest
		magic = 3 << 51                                // adding it rounds to an integer
	)
	shifted := x*scale + magic
	n := int64(math.Float64bits(shifted)) - int64(math.Float64bits(magic))
	f := shifted - magic
	r := x - f*high - f*low
	// |r| ≤ ln2/256 = 0.0027: r^5/120 is below 1.3e-15.
	p := 1 + r*(1+r*(0.5+r*(1.0/6+r*(1.0/24))))
	i := n & (1<<expBits - 1)
	return math.Float64frombits(math.Float64bits(expTable[i]*p) + uint64(n>>expBits)<<52)
}
