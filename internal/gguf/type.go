package gguf

import "fmt"

// Type is how a tensor's numbers are stored.
type Type uint32

// Types that are used by name here; the table below has them all.
const (
	F32 Type = 0
	F16 Type = 1
)

// layout is the number of values in a block and the bytes it takes, from ggml-common.h.
type layout struct {
	name   string
	values uint64 // of a block: a row is a multiple of it
	bytes  uint64
}

// layouts by ggml's numbers of types, those that a file may have.
var layouts = map[Type]layout{
	F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, 30: {"BF16", 1, 2}, 28: {"F64", 1, 8},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8},
	2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36}, 20: {"IQ4_NL", 32, 18}, 39: {"MXFP4", 32, 17},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176},
	14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50},
	21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 29: {"IQ1_M", 256, 56},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66},
}

// String is ggml's name of the type.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// WeightType is the type of most of a file's weights, such as F16 or Q8_0; "" without weights.
func (f *File) WeightType() string {
	weights := map[Type]uint64{}
	for _, t := range f.Tensors {
		weights[t.Type] += t.Shape[0] * t.Shape[1] * t.Shape[2] * t.Shape[3]
	}
	name, most := "", uint64(0)
	for t, n := range weights {
		if n > most || n == most && t.String() < name {
			name, most = t.String(), n
		}
	}
	return name
}
