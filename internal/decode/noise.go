package decode

import (
	"math"
	"math/bits"
)

// Noise is standard Gumbel noise for one (seed, sample, position): G(v) for every token v, computed when
// asked for, without state, so that all lanes of a run see the same noise and a run replays exactly.
//
// Adding it to log-probabilities and taking the argmax samples from them (the Gumbel-max trick; Maddison,
// Tarlow, Minka, "A* Sampling", 2014, §2). The generator is SplitMix64 (Steele, Lea, Flood, "Fast
// splittable pseudorandom number generators", 2014) with the token as its counter.
type Noise uint64

// golden is SplitMix64's increment: 2^64 over the golden ratio, made odd.
const golden = 0x9e3779b97f4a7c15

// NewNoise keys the generator.
func NewNoise(seed uint64, sample, position int) Noise {
	k := SplitMix(seed + golden)
	k = SplitMix(k ^ (uint64(sample)+1)*0xd1342543de82ef95)
	return Noise(SplitMix(k ^ (uint64(position)+1)*0xaf251af3b0f025b5))
}

// SplitMix is SplitMix64's output function, a bijection that passes for random.
func SplitMix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// bits are the random bits of a token.
func (n Noise) bits(v int) uint64 { return SplitMix(uint64(n) + uint64(v+1)*golden) }

// gumbel is G from a token's bits: −log(−log(1−w)) with w uniform on (0,1), which is fine-grained where G
// is large. It is at most log 2^54, about 37.4.
func gumbel(b uint64) float64 {
	w := (float64(b>>11) + 0.5) * 0x1p-53
	return -math.Log(-math.Log1p(-w))
}

// gumbelBound is an upper bound of gumbel(b) from the number of leading zeros alone: −log(1−w) ≥ w, so
// G ≤ −log w < (leading zeros + 1)·log 2.
func gumbelBound(b uint64) float64 {
	return boundTable[bits.LeadingZeros64(b>>11<<11|1<<10)]
}

// boundTable holds (i+1)·log 2.
var boundTable = func() (t [64]float64) {
	for i := range t {
		t[i] = float64(i+1) * math.Ln2
	}
	return t
}()

// PromptSeed is a seed for one prompt, made from the seed that many prompts share: what Request.SeedByPrompt decodes with.
func PromptSeed(seed uint64, prompt []Token) uint64 {
	k := SplitMix(seed + golden)
	for _, t := range prompt {
		k = SplitMix(k ^ (uint64(uint32(t))+1)*0xd1342543de82ef95)
	}
	return k
}

// Gumbel is the noise of coupled sampling for one token: the definition that a run can be checked against.
func Gumbel(seed uint64, sample, position int, t Token) float64 {
	return gumbel(NewNoise(seed, sample, position).bits(int(t)))
}
