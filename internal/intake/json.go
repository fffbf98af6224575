package intake

import (
	"bytes"

	"realign/internal/fault"
)

// Shape is what a JSON value may unfold to when it is decoded. Bytes alone do not bound that: an empty object of two
// bytes can become a struct of hundreds.
type Shape struct {
	Depth   int            // of arrays and objects in each other
	Entries int            // of an array or object whose name is not in Named
	Named   map[string]int // entries of the arrays and objects that are the value of the member with this name; "" is the outermost
}

// Check returns an Invalid error that names the first array or object with too many entries, or the depth. It allocates
// next to nothing, accepts what is not JSON (a decoder refuses that), and is to be called before decoding.
func (s Shape) Check(data []byte) error {
	type open struct {
		name    []byte // of the member whose value it is, or which it is in
		key     []byte // the last member's, of an object
		entries int    // begun so far
		most    int
		object  bool
		fresh   bool // an entry may begin: after the bracket or a comma
	}
	stack := make([]open, 0, 16)
	for i := 0; i < len(data); i++ {
		top := len(stack) - 1
		c := data[i]
		switch c {
		case ' ', '\t', '\r', '\n', ':':
			continue
		case ',':
			if top >= 0 {
				stack[top].fresh = true
			}
			continue
		case ']', '}':
			if top >= 0 {
				stack = stack[:top]
			}
			continue
		}
		isKey := false
		if top >= 0 && stack[top].fresh {
			o := &stack[top]
			o.fresh, isKey = false, o.object
			if o.entries++; o.entries > o.most {
				return fault.Field(field(o.name), "more than %d entries", o.most)
			}
		}
		switch c {
		case '"':
			end := stringEnd(data, i)
			if isKey {
				stack[top].key = data[i+1 : max(i+1, end)]
			}
			i = end
		case '[', '{':
			if len(stack) >= s.Depth {
				return fault.New(fault.Invalid, "arrays and objects lie more than %d deep in each other", s.Depth)
			}
			o := open{object: c == '{', fresh: true, most: s.Entries}
			if n, ok := s.Named[""]; ok && top < 0 {
				o.most = n
			}
			if top >= 0 {
				if o.name = stack[top].name; stack[top].object {
					o.name = stack[top].key
				}
				// The limit of a name is its own value's: what lies deeper is bounded by its own names.
				if n, ok := s.Named[string(o.name)]; ok && (stack[top].object || !o.object) {
					o.most = n
				}
			}
			stack = append(stack, o)
		}
	}
	return nil
}

// stringEnd is the place of the quote that ends the string beginning at i, or the last byte.
func stringEnd(data []byte, i int) int {
	for {
		j := bytes.IndexAny(data[i+1:], "\"\\")
		if j < 0 {
			return len(data) - 1
		}
		if i += 1 + j; data[i] == '"' {
			return i
		}
		if i++; i >= len(data) {
			return len(data) - 1
		}
	}
}

// field is the name of a member for an error, "json" where it is too long or odd to be shown.
func field(name []byte) string {
	if len(name) == 0 || len(name) > 40 || bytes.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' }) {
		return "json"
	}
	return string(name)
}
