package web

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"strings"
	"testing"
)

func TestPictureOfAnything(t *testing.T) {
	p, err := newOGImages()
	if err != nil {
		t.Fatal(err)
	}
	lane := func(n int, text string) (lanes []cardLane) {
		for i := range n {
			lanes = append(lanes, cardLane{Label: fmt.Sprintf("λ %g", float64(i)/2), Shade: float64(i) / float64(max(n-1, 1)), Text: text})
		}
		return lanes
	}
	long := strings.Repeat("It was a pleasure from beginning to end, and I would see it again. ", 20)
	for i, c := range []ogImage{
		{},
		{Prompt: "What did you think of the film?", Pair: "demo", Lanes: lane(5, long)},
		{Prompt: long, Lanes: lane(1, "short")},
		{Prompt: strings.Repeat("x", 3000), Lanes: lane(2, strings.Repeat("漢", 400))},
		{Prompt: "\x00\xff\n\t<script>", Lanes: []cardLane{{Label: "λ 1", Failed: true}}},
		{Prompt: "64 lanes", Lanes: lane(64, long)},
	} {
		data, err := p.draw(fmt.Sprint(i), c)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(data))
		if err != nil || img.Bounds().Dx() != pictureWidth || img.Bounds().Dy() != pictureHeight {
			t.Fatalf("card %d: %v, %v", i, img.Bounds(), err)
		}
		if dir := os.Getenv("PICTURES"); dir != "" { // to look at them
			_ = os.WriteFile(fmt.Sprintf("%s/%d.png", dir, i), data, 0o644)
		}
		again, _ := p.draw(fmt.Sprint(i), ogImage{Prompt: "not drawn"})
		if !bytes.Equal(again, data) {
			t.Errorf("card %d was not kept", i)
		}
	}
	p.most = 2
	for i := range 4 {
		if _, err := p.draw(fmt.Sprint("more", i), ogImage{}); err != nil {
			t.Fatal(err)
		}
	}
	if p.order.Len() != 2 || len(p.kept) != 2 || p.kept["more3"] == nil {
		t.Errorf("%d pictures kept, the last among them: %v", p.order.Len(), p.kept["more3"] != nil)
	}
}

func TestWrapFits(t *testing.T) {
	p, err := newOGImages()
	if err != nil {
		t.Fatal(err)
	}
	lines := wrap(p.body, strings.Repeat("word ", 100), 300, 3)
	if len(lines) != 3 || !strings.HasSuffix(lines[2], "…") {
		t.Errorf("%q", lines)
	}
	if lines := wrap(p.body, "two words", 600, 3); len(lines) != 1 || lines[0] != "two words" {
		t.Errorf("%q", lines)
	}
}
