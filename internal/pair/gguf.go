package pair

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"

	"realign/internal/fault"
)

// Header is what a GGUF file says about itself before its weights
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
type Header struct {
	Architecture string
	Adapter      bool // a LoRA adapter
	Template     bool // has a chat template
	Tokenizer    string
	Tokens       []string
	Types        []int64
	Merges       []string
	Special      map[string]int64 // tokenizer.ggml.*_token_id and add_*_token by key
	Tensors      map[string]Tensor
}

// Tensor is one entry of the tensor table.
type Tensor struct {
	Dims []uint64
	Type uint32
}

const (
	maxHeader  = 512 << 20 // bytes of header: the largest vocabularies take some 20 MB
	maxText    = 16 << 20  // bytes of one string
	maxEntries = 1 << 20   // keys, or tensors
	maxArray   = 16 << 20  // entries of one array
)

// ReadHeader reads the header of a GGUF file and checks that all its tensors are within the file.
// ggml aborts the process on some broken files, so this is asked first. The error is Invalid for a file
// that is broken.
func ReadHeader(path string) (*Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	h, err := ParseHeader(f, info.Size())
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s: %v", path, err)
	}
	return h, nil
}

// ParseHeader reads a header from the beginning of a file of size bytes.
func ParseHeader(from io.Reader, size int64) (h *Header, err error) {
	g := &gguf{r: bufio.NewReaderSize(from, 1<<16), left: min(size, maxHeader), size: size, align: 32}
	h = &Header{Special: map[string]int64{}, Tensors: map[string]Tensor{}}
	g.read(h)
	if g.err != nil {
		return nil, g.err
	}
	return h, nil
}

// gguf reads little-endian values; after the first error all of them are zero.
type gguf struct {
	r     *bufio.Reader
	left  int64 // bytes that may still be read
	used  int64
	size  int64
	align uint64
	err   error
}

func (g *gguf) read(h *Header) {
	if magic := g.bytes(4); g.err == nil && string(magic) != "GGUF" {
		g.fail("is not a GGUF file: it begins with %q", magic)
	}
	if version := g.u32(); g.err == nil && version != 2 && version != 3 {
		g.fail("is GGUF version %d: versions 2 and 3 can be read", version)
	}
	tensors, keys := g.u64(), g.u64()
	if tensors > maxEntries || keys > maxEntries {
		g.fail("is broken: it says it has %d tensors and %d keys", tensors, keys)
	}
	for i := uint64(0); i < keys && g.err == nil; i++ {
		g.key(h)
	}
	var end uint64
	for i := uint64(0); i < tensors && g.err == nil; i++ {
		end = max(end, g.tensor(h))
	}
	if g.err != nil {
		return
	}
	start := (uint64(g.used) + g.align - 1) / g.align * g.align
	if end > uint64(g.size) || start > uint64(g.size) && end > 0 || start+end > uint64(g.size) {
		g.fail("is cut off: it has %d bytes and its tensors need %d", g.size, start+end)
	}
}

func (g *gguf) key(h *Header) {
	key, kind := g.text(), g.u32()
	switch key {
	case "general.architecture":
		h.Architecture, _ = g.value(kind).(string)
	case "general.type":
		text, _ := g.value(kind).(string)
		h.Adapter = text == "adapter"
	case "general.alignment":
		n, _ := g.value(kind).(int64)
		if g.err == nil && (n < 1 || n > 1<<20 || n&(n-1) != 0) {
			g.fail("is broken: alignment %d", n)
			return
		}
		g.align = uint64(max(n, 1))
	case "tokenizer.chat_template":
		text, _ := g.value(kind).(string)
		h.Template = text != ""
	case "tokenizer.ggml.model":
		h.Tokenizer, _ = g.value(kind).(string)
	case "tokenizer.ggml.tokens":
		h.Tokens, _ = g.value(kind).([]string)
	case "tokenizer.ggml.token_type":
		h.Types, _ = g.value(kind).([]int64)
	case "tokenizer.ggml.merges":
		h.Merges, _ = g.value(kind).([]string)
	case "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
		"tokenizer.ggml.unknown_token_id", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
		"tokenizer.ggml.add_space_prefix":
		if n, ok := g.value(kind).(int64); ok {
			h.Special[key] = n
		}
	default:
		g.value(kind)
	}
}

// tensor reads one entry and returns where the tensor ends, from the beginning of the weights.
func (g *gguf) tensor(h *Header) uint64 {
	name, n := g.text(), g.u32()
	if n > 8 {
		g.fail("is broken: tensor %.80q has %d dimensions", name, n)
		return 0
	}
	t := Tensor{Dims: make([]uint64, n)}
	count := uint64(1)
	for i := range t.Dims {
		t.Dims[i] = g.u64()
		over, product := bits.Mul64(count, t.Dims[i])
		if over != 0 || product > math.MaxInt64/512 {
			g.fail("is broken: tensor %.80q is too large", name)
			return 0
		}
		count = product
	}
	t.Type = g.u32()
	offset := g.u64()
	if offset > math.MaxInt64/2 {
		g.fail("is broken: tensor %.80q is at %d", name, offset)
		return 0
	}
	h.Tensors[name] = t
	block, ok := blocks[t.Type]
	if !ok {
		block = [2]uint64{512, 1} // a type we do not know: its place is checked, its size is not
	}
	return offset + (count+block[0]-1)/block[0]*block[1]
}

// blocks is the number of weights and of bytes in a block of each ggml type.
var blocks = map[uint32][2]uint64{
	0: {1, 4}, 1: {1, 2}, 2: {32, 18}, 3: {32, 20}, 6: {32, 22}, 7: {32, 24}, 8: {32, 34}, 9: {32, 36},
	10: {256, 84}, 11: {256, 110}, 12: {256, 144}, 13: {256, 176}, 14: {256, 210}, 15: {256, 292},
	20: {32, 18}, 23: {256, 136}, 24: {1, 1}, 25: {1, 2}, 26: {1, 4}, 27: {1, 8}, 28: {1, 8}, 30: {1, 2},
	39: {32, 17},
}

// value reads a value: int64 for whole numbers and booleans, string, []string, []int64, or nil.
func (g *gguf) value(kind uint32) any {
	switch kind {
	case 0, 1, 7:
		b := g.bytes(1)
		return int64(b[0])
	case 2, 3:
		return int64(binary.LittleEndian.Uint16(g.bytes(2)))
	case 4:
		return int64(g.u32())
	case 5:
		return int64(int32(g.u32()))
	case 6:
		g.bytes(4)
	case 8:
		return g.text()
	case 9:
		return g.array()
	case 10, 11:
		return int64(g.u64())
	case 12:
		g.bytes(8)
	default:
		g.fail("is broken: a value of type %d", kind)
	}
	return nil
}

func (g *gguf) array() any {
	kind, n := g.u32(), g.u64()
	if n > maxArray || kind == 9 {
		g.fail("is broken: an array of %d values of type %d", n, kind)
		return nil
	}
	var texts []string
	var numbers []int64
	for i := uint64(0); i < n && g.err == nil; i++ {
		switch v := g.value(kind).(type) {
		case string:
			texts = append(texts, v)
		case int64:
			numbers = append(numbers, v)
		}
	}
	if kind == 8 {
		return texts
	}
	return numbers
}

func (g *gguf) text() string {
	n := g.u64()
	if n > maxText {
		g.fail("is broken: a text of %d bytes", n)
		return ""
	}
	return string(g.bytes(int64(n)))
}

func (g *gguf) u32() uint32 { return binary.LittleEndian.Uint32(g.bytes(4)) }
func (g *gguf) u64() uint64 { return binary.LittleEndian.Uint64(g.bytes(8)) }

// bytes returns n bytes; after an error they are zero, and at most 8.
func (g *gguf) bytes(n int64) []byte {
	if g.err == nil && n > g.left {
		g.fail("is cut off within its header")
	}
	if g.err != nil {
		return make([]byte, 8)
	}
	b := make([]byte, max(n, 1))[:n]
	if _, err := io.ReadFull(g.r, b); err != nil {
		g.fail("is cut off within its header")
		return make([]byte, 8)
	}
	g.left -= n
	g.used += n
	return b
}

func (g *gguf) fail(format string, args ...any) {
	if g.err == nil {
		g.err = fmt.Errorf(format, args...)
	}
}
