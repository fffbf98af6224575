package decode

import "testing"

// A guest reads no more of its prompt in a step than others do, however many there are.
func TestPrefillIsShared(t *testing.T) {
	for _, c := range []struct {
		clients, own, guest int
	}{{1, 512, 64}, {4, 128, 64}, {8, 64, 64}, {16, 32, 32}, {1000, 1, 1}} {
		e := &Engine{config: Config{PrefillChunk: 512}, clients: c.clients}
		for guest, want := range map[bool]int{false: c.own, true: c.guest} {
			if got := e.prefill(&branch{job: &Job{request: Request{Guest: guest}}}); got != want {
				t.Errorf("%d clients, guest %v: %d tokens of a prompt, not %d", c.clients, guest, got, want)
			}
		}
	}
}
