package web

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestGPUPage: with a device the real server's pair is on it, and the pair's page and the log say so. Like TestCrash it
// needs REALIGN_BIN; make gpu-test runs it.
func TestGPUPage(t *testing.T) {
	name := os.Getenv("REALIGN_GPU_TEST")
	if name == "" {
		t.Skip("REALIGN_GPU_TEST names no backend: see make gpu-test")
	}
	d := newDaemon(t)
	d.start()
	defer d.kill()
	want := "6 of 6 layers on " + name
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) { // until the worker's next beat
		answer, err := http.Get("http://" + d.addr + "/pairs/demo")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(body), want) == 2 { // of the reference and of the adapters
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page does not say %q twice", want)
		}
	}
	if !strings.Contains(d.log.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, d.log.String())
	}
}
