// Package gguf reads the head of GGUF files: the metadata, the vocabulary and the table of tensors, but
// no weights. llama.cpp ends the process on many broken files, so a file is checked here first, and two
// files are compared here to learn whether they can be decoded as a pair.
//
// The format is described in ggml's docs/gguf.md. Versions 2 and 3, little-endian, are read.
package gguf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"realign/internal/fault"
)

// File is the head of a GGUF file. Open or Read makes it; after that it is only read, by any goroutine.
type File struct {
	Path    string // as given to Open; used in errors
	Version uint32 // 2 or 3
	Size    int64  // bytes in the whole file, or in all parts of a split model

	// Metadata maps keys to uint8…uint64, int8…int64, float32, float64, bool, string, or a slice of one
	// of these.
	Metadata map[string]any

	Tensors []Tensor // of all parts, those of the first before those of the second
	Data    int64    // offset of the tensors' data in the file at Path

	index map[string]int // Tensors by name
	own   int            // how many Tensors are in this file; they come first
	parts []*File        // the other parts of a split model
}

// Tensor is one entry of the table of tensors.
type Tensor struct {
	Name   string
	Type   Type
	Shape  [4]uint64 // fastest-varying dimension first; unused dimensions are 1
	Offset uint64    // from File.Data, of the file that it is in
	Bytes  uint64    // of its data in the file
}

// Open reads and checks the head of a file; of a model in parts, by its first, the heads of all. The error is of kind NotFound when there is none, and of
// kind Invalid, naming the file and the fault, when it is not a whole and well-formed GGUF file.
func Open(path string) (*File, error) {
	f, err := openOne(path)
	if err != nil {
		return nil, err
	}
	if n, ok := f.Integer("split.count"); ok && n > 1 {
		err = f.gather(n)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openOne is Open for one file, whatever else belongs to it.
func openOne(path string) (*File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "%s: no such file", path)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "%s cannot be opened", path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "%s cannot be read", path)
	}
	if info.IsDir() {
		return nil, fault.New(fault.Invalid, "%s: a folder, and a GGUF file is needed: realign convert makes one of a folder of safetensors, and so does realign pairs add", path)
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(fault.Invalid, "%s: not a regular file", path)
	}
	file, err := Read(f, info.Size())
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s: %v", path, err)
	}
	file.Path = path
	return file, nil
}

// Read reads the head of a file of the given size. It allocates no more than a small multiple of the
// bytes that are there.
func Read(r io.ReaderAt, size int64) (*File, error) {
	return parse(r, size)
}

// Tensor finds a tensor by name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

// String is a text of the metadata, "" when it is absent or something else.
func (f *File) String(key string) string {
	s, _ := f.Metadata[key].(string)
	return s
}

// Integer is a whole number of the metadata, of any width; false where it is absent, something else, or does not
// fit into 63 bits.
func (f *File) Integer(key string) (int64, bool) {
	switch v := f.Metadata[key].(type) {
	case uint8:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int32:
		return int64(v), true
	case uint64:
		return int64(v), v <= 1<<63-1
	case int64:
		return v, true
	}
	return 0, false
}

// Architecture is the model family, such as "llama".
func (f *File) Architecture() string { return f.String("general.architecture") }

// IsAdapter reports whether the file holds changes to a model rather than a model.
func (f *File) IsAdapter() bool { return f.String("general.type") == "adapter" }

// name is how errors call the file.
func (f *File) name() string {
	if f.Path == "" {
		return "file"
	}
	return f.Path
}

// invalid is an Invalid error that names the file.
func (f *File) invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, "%s: %s", f.name(), fmt.Sprintf(format, args...))
}
