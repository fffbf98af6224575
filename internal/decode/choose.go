package decode

import (
	"math"
	"slices"
)

// chooser picks tokens from mixed logits. It owns the buffers that this needs, so that a step allocates
// nothing; it is used by one goroutine.
type chooser struct {
	heap       []float64 // the k largest logits so far, the smallest first
	candidates []float64 // logits that may be in the top-p set; reordered by the search
	masses     []float64 // exp((z−top)/T) of the candidates
	contenders []Token   // tokens whose score may be the highest
}

// choose is coupled sampling: argmax over the tokens that survive truncation of z_v/T + G(v), or of z_v if
// the temperature is 0; ties go to the lowest token. top is the largest logit, at its position.
//
// A token whose score cannot reach that of the most probable one, even with the largest noise that its random bits
// allow at a glance, is passed over without computing its noise: the result is exact.
func (c *chooser) choose(k Kernel, z []float64, at int, top float64, s *Sampling, g Noise) int {
	if s.Temperature == 0 {
		return at
	}
	inverse := 1 / s.Temperature
	best, score := at, gumbel(g.bits(at))
	c.contenders = k.Candidates(c.contenders[:0], z, c.cutoff(z, top, s), top, inverse, score, g)
	for _, t := range c.contenders {
		v := int(t)
		if s := (z[v]-top)*inverse + gumbel(g.bits(v)); s > score || s == score && v < best {
			best, score = v, s
		}
	}
	return best
}

// cutoff is the smallest logit that survives truncation: top-k, then top-p of what is left, then min-p,
// all after temperature. Every truncation keeps the most probable tokens, so each is a threshold; tokens
// that tie with the last survivor survive too.
func (c *chooser) cutoff(z []float64, top float64, s *Sampling) float64 {
	cut := math.Inf(-1)
	if 0 < s.TopK && s.TopK < len(z) {
		cut = c.kthLargest(z, s.TopK)
	}
	if s.TopP < 1 {
		cut = max(cut, c.nucleus(z, top, cut, s.Temperature, s.TopP))
	}
	if s.MinP > 0 {
		cut = max(cut, top+s.Temperature*math.Log(s.MinP))
	}
	return min(cut, top)
}

// kthLargest is the k-th largest entry of z, 1 ≤ k ≤ len(z).
func (c *chooser) kthLargest(z []float64, k int) float64 {
	if k == 1 {
		_, top := maximum(z)
		return top
	}
	if k > 512 {
		return selectLargest(append(c.candidates[:0], z...), k)
	}
	// A heap of the k largest so far, smallest on top: nearly every entry costs one comparison.
	h := append(c.heap[:0], z[:k]...)
	for i := k/2 - 1; i >= 0; i-- {
		siftDown(h, i)
	}
	for _, x := range z[k:] {
		if x > h[0] {
			h[0] = x
			siftDown(h, 0)
		}
	}
	c.heap = h
	return h[0]
}

// siftDown restores the heap below i: no entry is larger than its children.
func siftDown(h []float64, i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if h[i] <= h[child] {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// selectLargest is the k-th largest entry of z, 1 ≤ k ≤ len(z), by Hoare's quickselect; it reorders z.
func selectLargest(z []float64, k int) float64 {
	lo, hi, want := 0, len(z)-1, k-1
	for lo < hi {
		pivot := medianOfThree(z[lo], z[(lo+hi)/2], z[hi])
		i, j := lo, hi
		for i <= j {
			for z[i] > pivot {
				i++
			}
			for z[j] < pivot {
				j--
			}
			if i <= j {
				z[i], z[j] = z[j], z[i]
				i++
				j--
			}
		}
		switch {
		case want <= j:
			hi = j
		case want >= i:
			lo = i
		default:
			return z[want]
		}
	}
	return z[want]
}

func medianOfThree(a, b, c float64) float64 {
	return max(min(a, b), min(max(a, b), c))
}

// nucleus is the smallest logit of the top-p set (Holtzman et al., "The Curious Case of Neural Text
// Degeneration", 2020, §3.1, eq. 2): the fewest most probable tokens at or above floor whose mass reaches
// p of the mass there.
//
// Tokens below (1−p)/n of the mass cannot be needed, since all of them together hold less than 1−p; what
// is left is searched by quickselect on mass, so nothing is sorted.
func (c *chooser) nucleus(z []float64, top, floor, temperature, p float64) float64 {
	inverse := 1 / temperature
	kept := c.candidates[:0]
	for _, x := range z {
		if x >= floor {
			kept = append(kept, x)
		}
	}
	n := len(kept)
	c.masses = slices.Grow(c.masses[:0], n)[:n]
	mass := exps(c.masses, kept, top, inverse)
	// What is less probable than (1−p)·mass/n cannot be in the nucleus: n such tokens together would not make up the 1−p
	// that is left out.
	least := max(floor, top+temperature*math.Log((1-p)*mass/float64(n)))
	kept = slices.DeleteFunc(kept, func(x float64) bool { return x < least })
	c.candidates = kept
	need := p * mass
	// Quickselect by mass: only the part in which the nucleus ends is looked at again, so that nothing is sorted.
	lo, hi := 0, len(kept)
	for hi-lo > 1 {
		// Three-way partition: larger than the pivot, equal, smaller.
		pivot := medianOfThree(kept[lo], kept[(lo+hi)/2], kept[hi-1])
		i, j, k := lo, lo, hi
		var above, equal float64
		for j < k {
			switch x := kept[j]; {
			case x > pivot:
				above += expNeg((x - top) * inverse)
				kept[i], kept[j] = x, kept[i]
				i++
				j++
			case x < pivot:
				k--
				kept[j], kept[k] = kept[k], x
			default:
				equal += expNeg((x - top) * inverse)
				j++
			}
		}
		switch {
		case above >= need:
			hi = i
		case above+equal >= need || k == hi:
			return pivot
		default:
			need -= above + equal
			lo = k
		}
	}
	if lo >= len(kept) {
		return least
	}
	return kept[lo]
}
