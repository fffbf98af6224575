package convert

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/ollama/ollama/convert"
	"github.com/x448/float16"

	"realign/internal/fault"
)

// Types of weights in GGUF, by ggml's numbers.
const (
	kindF32  uint32 = 0
	kindF16  uint32 = 1
	kindBF16 uint32 = 30
)

// maxHeader bounds the head of a safetensors file, in bytes, as the format's own library does.
const maxHeader = 100 << 20

// dtype is how numbers are stored in safetensors.
type dtype struct {
	kind uint32 // in GGUF
	size int64  // bytes of a number
}

// dtypes are those that are converted, by safetensors' names.
var dtypes = map[string]dtype{"F32": {kindF32, 4}, "F16": {kindF16, 2}, "BF16": {kindBF16, 2}}

// source is the weights of a folder.
type source struct {
	tensors []*tensor  // by file, then by name
	files   []*os.File // open until Close
}

// tensor is one tensor on its way from safetensors to GGUF: a convert.Tensor.
type tensor struct {
	name   string   // as it is to be written
	shape  []uint64 // slowest dimension first, as safetensors has it
	dtype  dtype    // as it is stored
	kind   uint32   // as it is to be written, unless Kind says otherwise
	file   io.ReaderAt
	offset int64               // of its data in the file
	size   int64               // bytes there
	report func(n int64) error // told the bytes that were read; its error ends reading. May be nil
	change convert.Repacker    // of its values, or nil
}

var _ convert.Tensor = (*tensor)(nil)

// openSource reads the heads of a folder's files, which list names. The context ends reading the weights later; progress
// may be nil. The caller closes the source.
func openSource(ctx context.Context, dir string, list func(dir string) ([]string, error), progress func(done, total int64)) (*source, error) {
	names, err := list(dir)
	if err != nil {
		return nil, err
	}
	s := &source{}
	var mu sync.Mutex // guards done; weights are read by several goroutines
	var done, total int64
	report := func(n int64) error {
		mu.Lock()
		defer mu.Unlock()
		if done += n; progress != nil {
			progress(done, total)
		}
		return ctx.Err()
	}
	seen := map[string]bool{}
	for _, name := range names {
		found, err := s.open(filepath.Join(dir, name))
		if err != nil {
			s.Close()
			return nil, err
		}
		for _, t := range found {
			if seen[t.name] {
				s.Close()
				return nil, fault.New(fault.Invalid, "%s: tensor %q is in two files", dir, t.name)
			}
			seen[t.name] = true
			t.report = report
			total += t.size
			s.tensors = append(s.tensors, t)
		}
	}
	return s, nil
}

// Close closes the files.
func (s *source) Close() {
	for _, f := range s.files {
		f.Close()
	}
}

// modelFiles are the files of a model: those that its index names, or the one there is. Others of the folder, such as
// another program's copy of the same weights, are left alone.
func modelFiles(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return onlyFile(dir)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "%s cannot be read", dir)
	}
	var index struct {
		Files map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil || len(index.Files) == 0 {
		return nil, fault.New(fault.Invalid, "%s: model.safetensors.index.json lists no files", dir)
	}
	var names []string
	for _, name := range index.Files {
		if !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
			return nil, fault.New(fault.Invalid, "%s: model.safetensors.index.json names %.80q, which is not in the folder", dir, name)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return nil, fault.New(fault.Invalid, "%s: %s is missing, one of the %d files of its weights", dir, name, len(names))
		}
	}
	return names, nil
}

// onlyFile is the file of a model without an index: model.safetensors, or the only one there is. None and several
// are Invalid.
func onlyFile(dir string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, "model.safetensors")); err == nil {
		return []string{"model.safetensors"}, nil
	}
	found, err := filepath.Glob(filepath.Join(globbed(dir), "*.safetensors"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, path := range found {
		if base := filepath.Base(path); !strings.HasPrefix(base, "adapter_") {
			names = append(names, base)
		}
	}
	switch {
	case len(names) == 0:
		if found, _ := filepath.Glob(filepath.Join(globbed(dir), "*.bin")); len(found) > 0 {
			return nil, fault.New(fault.Invalid, "%s holds weights as pickles (%s), which can run programs and are not read: save them as safetensors", dir, filepath.Base(found[0]))
		}
		return nil, fault.New(fault.Invalid, "%s holds no weights: there is no file *.safetensors in it", dir)
	case len(names) > 1:
		return nil, fault.New(fault.Invalid, "%s holds %d files *.safetensors and no model.safetensors.index.json to say which of them belong together", dir, len(names))
	}
	return names, nil
}

// globbed is a path for filepath.Glob, in which nothing is a pattern.
func globbed(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// open reads the head of one file, which stays open. One that is no safetensors file is Invalid.
func (s *source) open(path string) ([]*tensor, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "%s cannot be opened", path)
	}
	s.files = append(s.files, f)
	info, err := f.Stat()
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "%s cannot be read", path)
	}
	tensors, err := readHead(f, info.Size())
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s: %v", path, err)
	}
	return tensors, nil
}

// readHead reads the head of a safetensors file of that many bytes: its length in 8 bytes, then JSON. Every tensor lies
// within the file, and has the bytes that its shape and type want.
func readHead(f io.ReaderAt, size int64) ([]*tensor, error) {
	var length [8]byte
	if _, err := f.ReadAt(length[:], 0); err != nil {
		return nil, errors.New("it is not a safetensors file: it is too short")
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("it is not a safetensors file, or it is truncated: its head would take %d bytes", n)
	}
	head := make([]byte, n)
	if _, err := f.ReadAt(head, 8); err != nil {
		return nil, err
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(head, &entries); err != nil {
		return nil, fmt.Errorf("its head is not JSON: %v", err)
	}
	delete(entries, "__metadata__")
	var tensors []*tensor
	for name, raw := range entries {
		var e struct {
			DType   string   `json:"dtype"`
			Shape   []uint64 `json:"shape"`
			Offsets []int64  `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &e); err != nil || len(e.Offsets) != 2 {
			return nil, fmt.Errorf("the entry of tensor %.80q is not one of safetensors", name)
		}
		d, known := dtypes[e.DType]
		if !known {
			if isBuffer(name) {
				continue
			}
			return nil, fmt.Errorf("tensor %.80q holds numbers of type %.20q; F32, F16 and BF16 can be converted: take the model that was not quantised", name, e.DType)
		}
		data := size - 8 - int64(n)
		from, to := e.Offsets[0], e.Offsets[1]
		if from < 0 || to < from || to > data {
			return nil, fmt.Errorf("truncated: tensor %.80q ends at byte %d of %d", name, to, data)
		}
		if values, ok := product(e.Shape); !ok || values > math.MaxInt64/4 || int64(values)*d.size != to-from {
			return nil, fmt.Errorf("tensor %.80q of shape %v has %d bytes", name, e.Shape, to-from)
		}
		tensors = append(tensors, &tensor{name: name, shape: e.Shape, dtype: d, kind: d.kind, file: f, offset: 8 + int64(n) + from, size: to - from})
	}
	slices.SortFunc(tensors, func(a, b *tensor) int { return strings.Compare(a.name, b.name) })
	return tensors, nil
}

// product is the number of values of a shape; false where it does not fit into 64 bits.
func product(shape []uint64) (n uint64, ok bool) {
	n = 1
	for _, d := range shape {
		high, low := bits.Mul64(n, d)
		if high != 0 {
			return 0, false
		}
		n = low
	}
	return n, true
}

// isBuffer reports whether a tensor is a constant of the program that saved the model.
func isBuffer(name string) bool {
	for _, end := range []string{".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias", ".attn.bias", ".attn.masked_bias", ".position_ids"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// Name, Shape, Kind and SetRepacker are what package convert asks of a tensor.
func (t *tensor) Name() string                        { return t.name }
func (t *tensor) Shape() []uint64                     { return t.shape }
func (t *tensor) SetRepacker(change convert.Repacker) { t.change = change }

// Kind is the type that the tensor is written in. llama.cpp wants vectors and a few small matrices in full.
func (t *tensor) Kind() uint32 {
	if len(t.shape) < 2 || strings.HasSuffix(t.name, ".ffn_gate_inp.weight") || strings.Contains(t.name, ".ssm_conv1d.") || strings.HasSuffix(t.name, ".ssm_a") {
		return kindF32
	}
	return t.kind
}

// Clone is a copy that can be changed on its own.
func (t *tensor) Clone() convert.Tensor {
	c := *t
	c.shape = slices.Clone(t.shape)
	return &c
}

// WriteTo writes the data in GGUF's form. A tensor whose values are changed is held in memory as 32-bit numbers.
func (t *tensor) WriteTo(w io.Writer) (int64, error) {
	if t.change == nil {
		return t.stream(w)
	}
	values := make([]float32, 0, t.size/t.dtype.size)
	if err := t.read(func(b []byte) error {
		values = t.dtype.decode(values, b)
		return nil
	}); err != nil {
		return 0, err
	}
	values, err := t.change(t.name, values, t.shape)
	if err != nil {
		return 0, fmt.Errorf("tensor %s: %w", t.name, err)
	}
	n, err := w.Write(encode(nil, values, t.Kind()))
	return int64(n), err
}

// stream writes values as they are, in another type where need be.
func (t *tensor) stream(w io.Writer) (written int64, err error) {
	var values []float32
	var out []byte
	kind := t.Kind()
	err = t.read(func(b []byte) error {
		if kind != t.dtype.kind {
			values = t.dtype.decode(values[:0], b)
			out = encode(out[:0], values, kind)
			b = out
		}
		n, err := w.Write(b)
		written += int64(n)
		return err
	})
	return written, err
}

// read hands over the data piece by piece, at most 1 MiB at a time. The bytes are use's until it returns.
func (t *tensor) read(use func([]byte) error) error {
	buffer := make([]byte, min(t.size, 1<<20))
	for at := int64(0); at < t.size; {
		n, err := t.file.ReadAt(buffer[:min(int64(len(buffer)), t.size-at)], t.offset+at)
		if n == 0 && err != nil {
			return fmt.Errorf("read tensor %s: %w", t.name, err)
		}
		if err := use(buffer[:n]); err != nil {
			return err
		}
		at += int64(n)
		if t.report != nil {
			if err := t.report(int64(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// decode appends the numbers in b, which ends with a whole number.
func (d dtype) decode(values []float32, b []byte) []float32 {
	for len(b) > 0 {
		switch d.kind {
		case kindF32:
			values = append(values, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case kindF16:
			values = append(values, float16.Frombits(binary.LittleEndian.Uint16(b)).Float32())
		default:
			values = append(values, math.Float32frombits(uint32(binary.LittleEndian.Uint16(b))<<16))
		}
		b = b[d.size:]
	}
	return values
}

// encode appends numbers in a type, rounded to the nearest.
func encode(out []byte, values []float32, kind uint32) []byte {
	for _, v := range values {
		switch kind {
		case kindF32:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		case kindF16:
			out = binary.LittleEndian.AppendUint16(out, float16.Fromfloat32(v).Bits())
		default:
			out = binary.LittleEndian.AppendUint16(out, brain(v))
		}
	}
	return out
}

// brain is a number as BF16: the upper half, rounded to even. What is no number stays so.
func brain(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7FFF + b>>16&1) >> 16)
}
