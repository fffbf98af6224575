package sweep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"realign/internal/fault"
)

// Strict decodes JSON as encoding/json does, and refuses fields that the type does not have: the error is
// Invalid, names the field by its path below field ("" for the whole), and the valid name nearest to it.
// Types with an UnmarshalJSON of their own look after their fields themselves.
func Strict(field string, data []byte, into any) error {
	var raw any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return fault.Field(field, "is not JSON: %v", err)
	}
	if err := known(field, raw, reflect.TypeOf(into).Elem()); err != nil {
		return err
	}
	err := json.Unmarshal(data, into)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return fault.Field(join(field, wrong.Field), "is a %s where %s is needed", wrong.Value, needed(wrong.Type))
	case err != nil:
		if fault.KindOf(err) == fault.Invalid {
			return err
		}
		return fault.Field(field, "%v", err)
	}
	return nil
}

// unmarshaler is json.Unmarshaler, whose types Strict leaves alone.
var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// known walks a decoded value beside the type it is meant for.
func known(path string, raw any, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	switch value := raw.(type) {
	case map[string]any:
		if t.Kind() != reflect.Struct {
			return nil
		}
		names := map[string]reflect.Type{}
		for _, f := range reflect.VisibleFields(t) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
				names[name] = f.Type
			}
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			of, ok := names[key]
			if !ok {
				return unknown(path, key, slices.Sorted(maps.Keys(names)))
			}
			if err := known(join(path, key), value[key], of); err != nil {
				return err
			}
		}
	case []any:
		if t.Kind() != reflect.Slice && t.Kind() != reflect.Array {
			return nil
		}
		for i, element := range value {
			if err := known(fmt.Sprintf("%s[%d]", path, i), element, t.Elem()); err != nil {
				return err
			}
		}
	}
	return nil
}

// unknown is the error about a field that there is not, among those that there are.
func unknown(path, key string, names []string) error {
	if near := Nearest(key, names); near != "" {
		return fault.Field(join(path, key), "there is no such field; the nearest is %q", near)
	}
	return fault.Field(join(path, key), "there is no such field")
}

// Nearest is the name with the fewest changes of a letter from what was written, "" without names; of
// equally near ones the first.
func Nearest(written string, names []string) string {
	best, least := "", 0
	for _, name := range names {
		if d := changes(strings.ToLower(written), strings.ToLower(name)); best == "" || d < least {
			best, least = name, d
		}
	}
	return best
}

// changes is Levenshtein's distance.
func changes(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := diagonal
			if x[i] != y[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(y)]
}

// join is a path with a name behind it; either may be empty.
func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

// needed is a type in words, for people who write JSON.
func needed(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int64, reflect.Int32:
		return "a whole number"
	case reflect.Uint64, reflect.Uint32, reflect.Uint:
		return "a whole number from 0"
	}
	return "a number"
}
