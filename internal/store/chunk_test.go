package store

import (
	"bytes"
	"encoding/json"
	"testing"
)

// What is cut out of a list of objects is what the decoder of the standard library finds in it.
func FuzzObjects(f *testing.F) {
	for _, list := range []string{
		`[]`, `[{}]`, `[{"a":1},{"b":[{"c":"]}"}]}]`, ` [ {"a":"\\\"}"} , {"b":"\\\\"} ] `, `[{"text":"[{"},{"text":"}]\\""}]`,
	} {
		f.Add([]byte(list))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		var want []json.RawMessage
		if json.Unmarshal(list, &want) != nil {
			objects(list) // does not panic
			return
		}
		for _, member := range want {
			if !bytes.HasPrefix(member, []byte("{")) {
				return
			}
		}
		got := objects(list)
		if len(got) != len(want) {
			t.Fatalf("%d members, want %d", len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("member %d is %s, want %s", i, got[i], want[i])
			}
		}
	})
}
