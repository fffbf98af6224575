package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// Limits far above any real file: they bound the work a broken or hostile one can cause.
const (
	maxHead      = 512 << 20 // bytes of metadata and tensor table
	maxKeys      = 1 << 16
	maxKeyBytes  = 1 << 16
	maxTensors   = 1 << 16
	maxName      = 63 // ggml's GGML_MAX_NAME less the closing zero
	maxAlignment = 1 << 20
)

// Value types of the metadata, by their numbers in the file.
const (
	typeUint8 = iota
	typeInt8
	typeUint16
	typeInt16
	typeUint32
	typeInt32
	typeFloat32
	typeBool
	typeString
	typeArray
	typeUint64
	typeInt64
	typeFloat64
)

var errTruncated = errors.New("truncated: the file ends inside its head")

// parser reads the head, little-endian. The first error sticks; after it every read gives zeros.
type parser struct {
	r    *bufio.Reader
	left int64 // bytes that may still be read
	err  error

	scratch [8]byte // for numbers, so that reading one allocates nothing
}

// parse reads the head of a file of that many bytes, of which at most maxHead are read. Errors do not name the
// file.
func parse(r io.ReaderAt, size int64) (*File, error) {
	head := min(size, maxHead)
	p := &parser{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, head), 1<<16), left: head}
	f := &File{Size: size, Metadata: map[string]any{}, index: map[string]int{}}

	var magic [4]byte
	p.full(magic[:])
	if p.err != nil || string(magic[:]) != "GGUF" {
		return nil, fmt.Errorf("not a GGUF file: it starts with %q", magic[:])
	}
	f.Version = p.uint32()
	if p.err == nil && f.Version != 2 && f.Version != 3 {
		return nil, fmt.Errorf("GGUF version %d is not supported, only 2 and 3", f.Version)
	}
	tensors, keys := p.uint64(), p.uint64()
	switch {
	case p.err != nil:
		return nil, p.err
	case keys > maxKeys:
		return nil, fmt.Errorf("claims %d metadata keys, the limit is %d", keys, maxKeys)
	case tensors > maxTensors:
		return nil, fmt.Errorf("claims %d tensors, the limit is %d", tensors, maxTensors)
	}
	for range keys {
		key := p.string(maxKeyBytes)
		value := p.value(key, p.uint32())
		if p.err != nil {
			return nil, p.err
		}
		if key == "" {
			return nil, errors.New("a metadata key is empty")
		}
		if _, twice := f.Metadata[key]; twice {
			return nil, fmt.Errorf("metadata key %q appears twice", key)
		}
		f.Metadata[key] = value
	}
	alignment, err := f.alignment()
	if err != nil {
		return nil, err
	}
	for range tensors {
		t, err := p.tensor()
		if err != nil {
			return nil, err
		}
		if _, twice := f.index[t.Name]; twice {
			return nil, fmt.Errorf("tensor %q appears twice", t.Name)
		}
		f.index[t.Name] = len(f.Tensors)
		f.Tensors = append(f.Tensors, t)
	}
	f.own = len(f.Tensors)
	return f, f.place(head-p.left, alignment)
}

// alignment is that of the data of every tensor.
func (f *File) alignment() (uint64, error) {
	value, ok := f.Metadata["general.alignment"]
	if !ok {
		return 32, nil
	}
	a, ok := value.(uint32)
	if !ok || a == 0 || a&(a-1) != 0 || a > maxAlignment {
		return 0, fmt.Errorf("general.alignment is %v, not a power of two", value)
	}
	return uint64(a), nil
}

// place checks that the data of the tensors lie one after another, where llama.cpp expects them, and
// inside the file. end is where the head ends.
func (f *File) place(end int64, alignment uint64) error {
	pad := func(n uint64) uint64 { return (n + alignment - 1) &^ (alignment - 1) }
	f.Data = int64(pad(uint64(end)))
	var next uint64
	for _, t := range f.Tensors {
		if t.Offset != next {
			return fmt.Errorf("tensor %q starts at byte %d of the data, expected %d", t.Name, t.Offset, next)
		}
		last := uint64(f.Data) + t.Offset + t.Bytes
		if last > uint64(f.Size) {
			return fmt.Errorf("truncated: tensor %q ends at byte %d, the file has %d", t.Name, last, f.Size)
		}
		next = pad(t.Offset + t.Bytes)
	}
	return nil
}

// tensor reads one entry of the table of tensors. Its place is checked later: see place.
func (p *parser) tensor() (Tensor, error) {
	t := Tensor{Name: p.string(maxName), Shape: [4]uint64{1, 1, 1, 1}}
	dimensions := p.uint32()
	if p.err == nil && dimensions > 4 {
		return t, fmt.Errorf("tensor %q has %d dimensions, the limit is 4", t.Name, dimensions)
	}
	values, overflow := uint64(1), uint64(0)
	for i := range min(dimensions, 4) {
		t.Shape[i] = p.uint64()
		if p.err == nil && t.Shape[i] == 0 {
			return t, fmt.Errorf("tensor %q has an empty dimension", t.Name)
		}
		var high uint64
		high, values = bits.Mul64(values, t.Shape[i])
		overflow |= high
	}
	t.Type = Type(p.uint32())
	t.Offset = p.uint64()
	if p.err != nil {
		return t, p.err
	}
	if t.Name == "" {
		return t, errors.New("a tensor has no name")
	}
	if overflow != 0 || values > math.MaxInt64/16 {
		return t, fmt.Errorf("tensor %q is impossibly large: %v", t.Name, t.Shape)
	}
	l, ok := layouts[t.Type]
	if !ok {
		return t, fmt.Errorf("tensor %q is of unknown %v", t.Name, t.Type)
	}
	if t.Shape[0]%l.values != 0 {
		return t, fmt.Errorf("tensor %q has rows of %d values, not a multiple of %d as %v needs", t.Name, t.Shape[0], l.values, t.Type)
	}
	t.Bytes = values / l.values * l.bytes
	return t, nil
}

// value reads one value of the metadata.
func (p *parser) value(key string, kind uint32) any {
	if p.err != nil {
		return nil
	}
	switch kind {
	case typeUint8:
		return p.uint8()
	case typeInt8:
		return int8(p.uint8())
	case typeUint16:
		return p.uint16()
	case typeInt16:
		return int16(p.uint16())
	case typeUint32:
		return p.uint32()
	case typeInt32:
		return int32(p.uint32())
	case typeFloat32:
		return math.Float32frombits(p.uint32())
	case typeBool:
		return p.uint8() != 0
	case typeString:
		return p.string(p.left)
	case typeUint64:
		return p.uint64()
	case typeInt64:
		return int64(p.uint64())
	case typeFloat64:
		return math.Float64frombits(p.uint64())
	case typeArray:
		kind := p.uint32()
		return p.array(key, kind, p.uint64())
	}
	p.fail(fmt.Errorf("metadata key %q has unknown type %d", key, kind))
	return nil
}

// array reads a list of n values of a type. A list of lists is an error.
func (p *parser) array(key string, kind uint32, n uint64) any {
	switch kind {
	case typeUint8:
		return list(p, n, 1, p.uint8)
	case typeInt8:
		return list(p, n, 1, func() int8 { return int8(p.uint8()) })
	case typeUint16:
		return list(p, n, 2, p.uint16)
	case typeInt16:
		return list(p, n, 2, func() int16 { return int16(p.uint16()) })
	case typeUint32:
		return list(p, n, 4, p.uint32)
	case typeInt32:
		return list(p, n, 4, func() int32 { return int32(p.uint32()) })
	case typeFloat32:
		return list(p, n, 4, func() float32 { return math.Float32frombits(p.uint32()) })
	case typeBool:
		return list(p, n, 1, func() bool { return p.uint8() != 0 })
	case typeString:
		return list(p, n, 8, func() string { return p.string(p.left) })
	case typeUint64:
		return list(p, n, 8, p.uint64)
	case typeInt64:
		return list(p, n, 8, func() int64 { return int64(p.uint64()) })
	case typeFloat64:
		return list(p, n, 8, func() float64 { return math.Float64frombits(p.uint64()) })
	}
	p.fail(fmt.Errorf("metadata key %q is a list of type %d, which cannot be read", key, kind))
	return nil
}

// list reads n values of at least size bytes each. It refuses to reserve room for more than are left.
func list[T any](p *parser, n uint64, size int64, next func() T) []T {
	if p.err == nil && n > uint64(p.left/size) {
		p.fail(errTruncated)
	}
	if p.err != nil {
		return nil
	}
	values := make([]T, 0, min(n, 1<<16))
	for range n {
		values = append(values, next())
		if p.err != nil {
			return nil
		}
	}
	return values
}

// fail keeps the first error.
func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// full fills b, or with zeros after an error.
func (p *parser) full(b []byte) {
	if p.err == nil && int64(len(b)) > p.left {
		p.err = errTruncated
	}
	if p.err == nil {
		_, p.err = io.ReadFull(p.r, b)
		p.left -= int64(len(b))
	}
	if p.err != nil {
		clear(b)
	}
}

// uint8 and the next three read a number of that width.
func (p *parser) uint8() uint8 {
	b := p.scratch[:1]
	p.full(b)
	return b[0]
}

func (p *parser) uint16() uint16 {
	b := p.scratch[:2]
	p.full(b)
	return binary.LittleEndian.Uint16(b)
}

func (p *parser) uint32() uint32 {
	b := p.scratch[:4]
	p.full(b)
	return binary.LittleEndian.Uint32(b)
}

func (p *parser) uint64() uint64 {
	b := p.scratch[:8]
	p.full(b)
	return binary.LittleEndian.Uint64(b)
}

// string reads a text of at most limit bytes, which need not be UTF-8.
func (p *parser) string(limit int64) string {
	n := p.uint64()
	switch {
	case p.err != nil:
		return ""
	case n > uint64(p.left):
		p.fail(errTruncated)
		return ""
	case n > uint64(limit):
		p.fail(fmt.Errorf("a name is %d bytes long, the limit is %d", n, limit))
		return ""
	}
	b := make([]byte, n)
	p.full(b)
	return string(b)
}
