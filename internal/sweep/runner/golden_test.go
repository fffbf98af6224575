package runner_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write testdata anew")

// TestGolden: a sweep of the table decodes and judges to what it did when testdata was written: seeds, noise, and the sums
// of the trace do not change. Without refinement, whose λ depend on the estimator.
func TestGolden(t *testing.T) {
	c := config(t, func(c map[string]any) {
		c["prompts"] = c["prompts"].([]string)[:4]
		c["lambda"] = []float64{0, 0.7, 1.5}
		c["refine"] = map[string]any{"rounds": 0}
	})
	_, outputs := whole(t, c)
	got, err := json.MarshalIndent(outputs, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/golden.json"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the outputs differ from %s:\n%s", file, got)
	}
}
