package decode_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
)

// What does not fit is refused with what does: that many lanes, or so many cells, are then taken.
func TestWhatDoesNotFitSaysWhatDoes(t *testing.T) {
	small := decodetest.Options{Cells: 256, Sequences: 64}
	for name, ask := range map[string]func(*decode.Request, int){
		"a map": func(r *decode.Request, n int) { r.Map = &decode.Map{To: 2, Branches: n} },
		"lanes": func(r *decode.Request, n int) { r.Lanes = lanesAt(n) },
		"plain": func(r *decode.Request, n int) { r.Lanes, r.Plain = lanesAt(n), true },
	} {
		req := request()
		req.Sampling.MaxTokens = 30
		ask(&req, 40)
		_, err := engine(t, small, decode.Config{}).Start(req, func(decode.Event) {})
		if err == nil {
			t.Fatalf("%s: taken", name)
		}
		found := regexp.MustCompile(`need more memory than the pair was opened with: take (\d+), or start with --cells (\d+)`).FindStringSubmatch(err.Error())
		if found == nil || strings.Contains(err.Error(), "cache cells") {
			t.Fatalf("%s: %v", name, err)
		}
		take, _ := strconv.Atoi(found[1])
		cells, _ := strconv.Atoi(found[2])
		larger := small
		larger.Cells = cells
		run(t, engine(t, larger, decode.Config{}), req)
		ask(&req, take+1)
		if _, err := engine(t, small, decode.Config{}).Start(req, func(decode.Event) {}); err == nil {
			t.Errorf("%s: one more than %d fits, too", name, take)
		}
		ask(&req, take)
		run(t, engine(t, small, decode.Config{}), req)
	}
}

func lanesAt(n int) (lanes []decode.Lane) {
	for i := range n {
		lanes = append(lanes, decode.Lane{Index: i, Lambda: decode.Vector{float64(i) / 10}})
	}
	return lanes
}

// A map that asks for it has fewer branches where there is no room for so many.
func TestMapThatFits(t *testing.T) {
	e := engine(t, decodetest.Options{Seed: 2, Cells: 256, Sequences: 64, EndLogit: -1}, decode.Config{})
	req := mapRequest(0, 2)
	req.Sampling.MaxTokens = 40
	req.Map.Fit, req.Map.Branches = true, 64
	m, _ := mapped(t, e, req)
	if len(m.Branches) < 2 {
		t.Error(fmt.Sprint(len(m.Branches), " branches"))
	}
}
