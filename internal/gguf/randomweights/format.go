package randomweights

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/x448/float16"
)

// format is how a tensor's numbers are stored: blocks as ggml-common.h has them.
type format struct {
	kind   uint32                                                  // in a GGUF file
	values int                                                     // of a block
	bytes  int                                                     // of a block
	fill   func(block []byte, random *rand.PCG, deviation float64) // writes one block of values with that standard deviation
}

var (
	f32 = format{0, 1, 4, ones}
	f16 = format{1, 4, 8, halves} // four at once
	q80 = format{8, 32, 34, eights}
	q4k = format{12, 256, 144, fours}
	q6k = format{14, 256, 210, sixes}
)

// formatOf is the format of a matrix in a file of a type; larger where quantize gives it more bits.
func formatOf(kind string, larger bool) format {
	switch {
	case kind == "f16":
		return f16
	case kind == "q8_0":
		return q80
	case larger:
		return q6k
	}
	return q4k
}

// ones are values of 1, whatever the deviation.
func ones(block []byte, _ *rand.PCG, _ float64) {
	binary.LittleEndian.PutUint32(block, math.Float32bits(1))
}

// halves are four values of random sign and mantissa and one of two neighbouring exponents k and k+1, whose standard
// deviation is √(7/3 · 5/2) · 2^k.
func halves(block []byte, random *rand.PCG, deviation float64) {
	k := math.Round(math.Log2(deviation / math.Sqrt(7./3*5/2)))
	least := uint64(max(1, 15+k)) << 10 // as the exponent is stored
	const lanes, kept = 0x0001000100010001, 0x87ff87ff87ff87ff
	binary.LittleEndian.PutUint64(block, random.Uint64()&kept+least*lanes)
}

// eights are a scale and 32 values from −128 to 127.
func eights(block []byte, random *rand.PCG, deviation float64) {
	half(block, deviation/73.9)
	bits(block[2:], random)
}

// fours are 256 values of four bits in eight groups that all have the scale 32 and the minimum 30, with which values are about 0 in the
// mean: 32·7.5·d = 30·8d.
func fours(block []byte, random *rand.PCG, deviation float64) {
	d := deviation / (32 * 4.61)
	half(block, d)
	half(block[2:], 8*d)
	for i := range 4 { // get_scale_min_k4 reads them
		block[4+i], block[8+i], block[12+i] = 0xa0, 0x5e, 0xe0
	}
	bits(block[16:], random)
}

// sixes are 256 values of six bits in sixteen groups that all have the scale 32.
func sixes(block []byte, random *rand.PCG, deviation float64) {
	bits(block[:192], random)
	for i := range 16 {
		block[192+i] = 32
	}
	half(block[208:], deviation/(32*18.5))
}

// half writes a number in 16 bits.
func half(b []byte, x float64) {
	binary.LittleEndian.PutUint16(b, float16.Fromfloat32(float32(x)).Bits())
}

// bits fills a multiple of eight bytes with random ones.
func bits(b []byte, random *rand.PCG) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, random.Uint64())
	}
}

// written is a tensor's numbers, which depend on its seed alone.
type written struct {
	tensor
	seed [2]uint64 // of its random numbers
}

// chunk is about how many bytes are written at once.
const chunk = 1 << 20

// WriteTo writes them.
func (w written) WriteTo(out io.Writer) (n int64, err error) {
	random := rand.NewPCG(w.seed[0], w.seed[1])
	values := 1
	for _, x := range w.shape {
		values *= int(x)
	}
	if values%w.format.values != 0 {
		return 0, fmt.Errorf("%s has %d values, no multiple of %d", w.name, values, w.format.values)
	}
	left := values / w.format.values
	buffer := make([]byte, min(left, chunk/w.format.bytes)*w.format.bytes)
	for left > 0 {
		part := buffer[:min(left*w.format.bytes, len(buffer))]
		for at := 0; at < len(part); at += w.format.bytes {
			w.format.fill(part[at:at+w.format.bytes], random, w.deviation)
		}
		m, err := out.Write(part)
		n += int64(m)
		if err != nil {
			return n, err
		}
		left -= len(part) / w.format.bytes
	}
	return n, nil
}
