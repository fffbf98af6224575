package llamacpp_test

import (
	"cmp"
	"os"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/decode/llamacpp"
)

// openFiles is how many files the process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	return len(list)
}

// The soak of internal/decode on real models: no sequence, goroutine or file descriptor is left behind.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("REALIGN_SOAK"), "4s"))
	if err != nil {
		t.Fatal(err)
	}
	files := openFiles(t)
	goroutines := decodetest.Goroutines()
	e := decode.NewEngine(openDemo(t), decode.Config{Kernel: llamacpp.Kernel{}, Queue: 100})
	var list []decode.Prompt
	for _, text := range prompts(t) {
		list = append(list, decode.Prompt{Messages: []decode.Message{{Role: "user", Content: text}}})
	}
	base := chat("", 0, 0.8)
	decodetest.Soak(t, e, base, list, length)
	c := e.Counters()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	goroutines.Gone(t)
	open := openFiles(t)
	t.Logf("%d requests, %d tokens; %d files open, %d before", c.Requests, c.Tokens, open, files)
	if open > files+8 { // the first load opens a few for good
		t.Errorf("%d files are open, %d before", open, files)
	}
}
