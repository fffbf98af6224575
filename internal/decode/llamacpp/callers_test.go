package llamacpp

import (
	"runtime"
	"sync"
	"testing"

	"realign/internal/decode"
	"realign/internal/gpu"
)

// Passes on several threads, from whichever goroutines, have teams of no more threads than there are processors once
// they no longer run at the same time.
func TestTeamsAreDissolved(t *testing.T) {
	options, err := Options{Cells: 512}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	w, err := loadWeights("../../../models/demo/reference-q8_0.gguf", gpu.Model{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var wait sync.WaitGroup
	for i := range 3 {
		m, err := newModel(w, nil, options)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		m.SetThreads(2)
		wait.Go(func() {
			for pos := range 50 {
				if err := m.Forward([]decode.Row{{Token: decode.Token(5 + i), Pos: pos, Want: true}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	call(2, func() {})
	callers.Lock()
	defer callers.Unlock()
	if n, made := members(), len(callers.all); n > max(1, runtime.NumCPU()-1) || made > 3 || len(callers.idle) != made {
		t.Errorf("%d members of teams, %d callers, %d of them idle, on %d processors", n, made, len(callers.idle), runtime.NumCPU())
	}
}
