package llamacpp

import (
	"os"
	"runtime"
	"slices"
	"testing"
)

// The program began anew with a limit to how long threads wait in place, and with its own arguments.
func TestThreadsWaitShortly(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("OpenMP waits in other ways here")
	}
	if os.Getenv("GOMP_SPINCOUNT") == "" && os.Getenv("OMP_WAIT_POLICY") == "" {
		t.Error("threads of a pass wait in place for as long as libgomp likes")
	}
	if !slices.ContainsFunc(os.Args, func(a string) bool { return len(a) > 5 && a[:5] == "-test" }) {
		t.Errorf("the program's arguments are lost: %q", os.Args)
	}
}
