package gguf

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"

	"realign/internal/fault"
)

// maxParts bounds the files of one model.
const maxParts = 1000

// partName is the form of the names of a model's parts: NAME-00001-of-00003.gguf. llama.cpp finds them by it.
var partName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// partPath is the name of a part, counted from 1.
func partPath(stem string, part, parts int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.gguf", stem, part, parts)
}

// Parts lists the files of a model by the name of its first part; it is path alone for a model that is one file.
func Parts(path string) []string {
	m := partName.FindStringSubmatch(filepath.Base(path))
	if m == nil || m[2] != "00001" {
		return []string{path}
	}
	n, err := strconv.Atoi(m[3])
	if err != nil || n < 1 || n > maxParts {
		return []string{path}
	}
	stem, list := filepath.Join(filepath.Dir(path), m[1]), []string{path}
	for part := 2; part <= n; part++ {
		list = append(list, partPath(stem, part, n))
	}
	return list
}

// PartNames is the names that n parts of a model have, beginning with stem.
func PartNames(stem string, n int) (names []string) {
	for part := range n {
		names = append(names, partPath(stem, part+1, n))
	}
	return names
}

// gather reads the heads of all parts of a model, of which f must be the first, and adds their tensors. Parts that are
// missing, or do not belong together, are Invalid errors that name them.
func (f *File) gather(count int64) error {
	first, _ := f.Integer("split.no")
	m := partName.FindStringSubmatch(filepath.Base(f.Path))
	switch {
	case count > maxParts:
		return f.invalid("claims to be one of %d parts, the limit is %d", count, maxParts)
	case m == nil:
		return f.invalid("is part %d of %d, and the others are found by its name: it must be called NAME-%05d-of-%05d.gguf", first+1, count, first+1, count)
	case first != 0:
		return f.invalid("is part %d of %d: name the first, %s", first+1, count, partPath(m[1], 1, int(count)))
	}
	paths := Parts(f.Path)
	if int64(len(paths)) != count {
		return f.invalid("says that it is part 1 of %d, which its name does not", count)
	}
	for i, path := range paths[1:] {
		part, err := openOne(path)
		if fault.KindOf(err) == fault.NotFound {
			return f.invalid("part %d of %d is missing: %s", i+2, count, filepath.Base(path))
		}
		if err != nil {
			return err
		}
		if no, _ := part.Integer("split.no"); no != int64(i)+1 {
			return part.invalid("says that it is part %d, and its name that it is part %d", no+1, i+2)
		}
		if n, _ := part.Integer("split.count"); n != count {
			return part.invalid("says that there are %d parts, and the first part %d", n, count)
		}
		if err := f.join(part); err != nil {
			return err
		}
	}
	if n, ok := f.Integer("split.tensors.count"); ok && n != int64(len(f.Tensors)) {
		return f.invalid("its parts hold %d tensors, and it says %d", len(f.Tensors), n)
	}
	return nil
}

// join adds the tensors of another part. A name that is there already is Invalid.
func (f *File) join(part *File) error {
	for _, t := range part.Tensors {
		if _, twice := f.index[t.Name]; twice {
			return part.invalid("tensor %q is in another part, too", t.Name)
		}
		f.index[t.Name] = len(f.Tensors)
		f.Tensors = append(f.Tensors, t)
	}
	f.Size += part.Size
	f.parts = append(f.parts, part)
	return nil
}
