package web

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/run"
	"realign/internal/share"
)

func mapSpec(from, to float64) map[string]any {
	s := spec(12)
	delete(s, "lanes")
	s["map"] = map[string]any{"from": from, "to": to, "branches": 32}
	return s
}

// follow reads until the map has ended, and its stats have come.
func (k *wire) followMap(run string) decode.LambdaMap {
	k.t.Helper()
	tr := newTrack(run)
	k.follow(tr, 1)
	var m decode.LambdaMap
	for _, e := range tr.decoded(k.t) {
		m.Add(e)
	}
	return m
}

// A map is asked for over the socket, read on its page, opened as lanes, shared, read by a stranger without a script, and
// verified; with other weights the verdict says where it differs.
func TestMapFromTheSocketToAStranger(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	k := p.dial()
	started := k.start(mapSpec(-0.5, 2.5))
	m := k.followMap(started.Run)
	if len(m.Branches) < 3 || len(m.Forks) != len(m.Branches)-1 {
		t.Fatalf("%d branches, %d forks", len(m.Branches), len(m.Forks))
	}

	page := p.get("/s/"+started.Session, 200)
	section := p.get("/runs/"+started.Run+"/map", 200)
	for _, want := range []string{fmt.Sprintf("%d texts for λ from −0.5 to 2.5", len(m.Branches)), `id="fork-1"`, `data-map-state="stop"`} {
		if !strings.Contains(page, want) || !strings.Contains(section, want) {
			t.Errorf("page or section lacks %s", want)
		}
	}
	if !strings.Contains(page, "slider, λ −0.5 to 2.5") {
		t.Error("the list of runs does not name the map")
	}
	if strings.Contains(section, "<html") {
		t.Error("the section is a whole page")
	}
	if !strings.Contains(page, `data-map-part="stops"`) {
		t.Error("no stops")
	}
	w.person().get("/runs/"+started.Run+"/map", 404)
	p.get("/runs/nothing/map", 404)
	other := k.start(spec(3, 0))
	k.follow(newTrack(other.Run), 1)
	p.get("/runs/"+other.Run+"/map", 404)

	// One of its texts as a lane: the same text, with the same seed.
	lambda := (m.Branches[1].From + m.Branches[1].To) / 2
	bench := p.get(fmt.Sprintf("/s/%s?run=%s&lanes=%v", started.Session, started.Run, lambda), 200)
	if strings.Contains(page, "data-begin") || !strings.Contains(bench, "data-begin") {
		t.Error("the lane is not decoded as its bench opens, or a run is decoded again")
	}
	if !strings.Contains(bench, fmt.Sprintf(`data-lambda="%v"`, lambda)) || !strings.Contains(bench, `name="seed" value="7"`) || strings.Contains(bench, `id="fork-1"`) {
		t.Error("the bench has no lane at that λ")
	}
	p.get("/s/"+started.Session+"?run="+started.Run+"&lanes=99", 400)
	p.get("/s/"+started.Session+"?run="+started.Run+"&lanes=x", 400)

	p.post("/runs/"+started.Run+"/share", 303)
	shared := p.get("/shares", 200)
	at := strings.Index(shared, "/c/")
	path := shared[at : at+3+22]
	stranger := w.person()
	public := stranger.get(path, 200)
	for i, b := range m.Branches {
		last := b.Pieces[len(b.Pieces)-1]
		if !strings.Contains(public, fmt.Sprintf(`data-map-row="%d"`, i)) || !strings.Contains(public, last) {
			t.Errorf("text %d is not on the public page", i)
		}
	}
	var snapshot share.Snapshot
	if err := json.Unmarshal([]byte(stranger.get(path+".json", 200)), &snapshot); err != nil || len(snapshot.Map.Continue) != len(m.Branches) {
		t.Errorf("%v, %+v", err, snapshot.Map)
	}
	picture, _ := stranger.do("GET", path+"/picture.png", nil)
	if picture.StatusCode != 200 || picture.Header.Get("Content-Type") != "image/png" {
		t.Errorf("picture: %d", picture.StatusCode)
	}
	fork := stranger.get("/?from="+url.QueryEscape("c:"+path[3:])+"&lanes=0.5", 200)
	if !strings.Contains(fork, `data-lambda="0.5"`) || !strings.Contains(fork, `name="from" value="-0.5"`) {
		t.Error("the fork has not the lane, or not the interval")
	}
	if !strings.Contains(fork, "data-begin") {
		t.Error("the fork's lane is not decoded as it opens")
	}
	if plain := stranger.get("/?from="+url.QueryEscape("c:"+path[3:]), 200); strings.Contains(plain, "data-begin") || strings.Count(plain, "data-lane-template") != 1 || !strings.Contains(plain, `data-lambda="1.5"`) {
		t.Error("a fork without lanes does not start from the usual ones")
	}

	_, verdict := stranger.post(path+"/verify", 200)
	if !strings.Contains(verdict, "Identical") || !strings.Contains(verdict, fmt.Sprintf("of %d texts", len(m.Branches))) {
		t.Errorf("verdict: %.200s", verdict[strings.Index(verdict, "data-verdict"):])
	}
	w.models.retrain(9)
	_, verdict = stranger.post(path+"/verify", 200)
	if !strings.Contains(verdict, "Differs") || !strings.Contains(verdict, "in text 1 at token") {
		t.Errorf("with other weights: %.300s", verdict[strings.Index(verdict, "data-verdict"):])
	}
}

// What has no exact map is refused with the field that is in its way, and so is what costs too much.
func TestMapRefusalsOnTheSocket(t *testing.T) {
	w := newWorld(t, setup{})
	k := w.person().dial()
	for field, edit := range map[string]func(map[string]any){
		"top_k":          func(s map[string]any) { s["sampling"].(map[string]any)["top_k"] = 5 },
		"top_p":          func(s map[string]any) { s["sampling"].(map[string]any)["top_p"] = 0.9 },
		"repeat_penalty": func(s map[string]any) { s["sampling"].(map[string]any)["repeat_penalty"] = 1.2 },
		"max_tokens":     func(s map[string]any) { s["sampling"].(map[string]any)["max_tokens"] = 2000 },
		"branches":       func(s map[string]any) { s["map"].(map[string]any)["branches"] = 65 },
		"to":             func(s map[string]any) { s["map"].(map[string]any)["to"] = -3 },
		"aligned":        func(s map[string]any) { s["aligned"] = []string{"warm", "terse"} },
	} {
		s := mapSpec(0, 2)
		edit(s)
		k.send(map[string]any{"type": "start", "ref": field, "spec": s})
		for {
			m, err := k.next()
			if err != nil {
				t.Fatal(err)
			}
			if m.Ref != field {
				continue
			}
			if m.Type != "error" || m.Code != "invalid" || m.Field != field || m.Message == "" {
				t.Errorf("%s: %+v", field, m)
			}
			break
		}
	}
}

// Parts of the interval that no branch covers are shown all the same, side by side with those that are known.
func TestMapViewLeavesNoGap(t *testing.T) {
	s := run.Spec{Map: &decode.Map{From: 0, To: 2, Branches: 8}}
	m := &run.Map{From: 0, To: 2}
	m.Add(decode.Event{Type: decode.EventFork, Fork: &decode.Fork{Lambda: 1, Index: 3}})
	m.Add(decode.Event{Type: decode.EventFork, Fork: &decode.Fork{Lambda: 1.5, Index: 4}})
	m.Add(decode.Event{Type: decode.EventBranch, Branch: &decode.Branch{From: 1, To: 1.5, Reason: "stop", Tokens: []decode.Token{1}, Pieces: []string{"a"}}})
	v := mapView(m, &s)
	if len(v.Branches) != 3 || v.Branches[0].Reason != "" || v.Branches[1].Reason != "stop" || v.Branches[2].To != 2 || !v.Growing || v.Covered != 0.25 {
		t.Errorf("%+v", v)
	}
	if v := mapView(&run.Map{From: 0, To: 2, Reason: "error"}, &s); len(v.Branches) != 1 || v.Growing {
		t.Errorf("%+v", v)
	}
}

// A map along a line between two mixtures: its page names places and λ of both models, and the text at a place is that of a lane at
// the λ of that place.
func TestMapAlongALineOnItsPage(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	k := p.dial()
	s := spec(12)
	delete(s, "lanes")
	s["aligned"] = []any{"warm", "terse"}
	s["map"] = map[string]any{"branches": 32, "line": map[string]any{"from": []any{-0.5, 0.5}, "to": []any{1.5, 0}}, "live": true}
	started := k.start(s)
	m := k.followMap(started.Run)
	if len(m.Branches) < 3 || m.Branches[0].From != 0 || m.Branches[len(m.Branches)-1].To != 1 {
		t.Fatalf("branches %+v", m.Branches)
	}
	section := p.get("/runs/"+started.Run+"/map", 200)
	for _, want := range []string{"place from 0 to 1 on the line from λ (−0.5, 0.5) to (1.5, 0)", "sum 1.5", `&#34;line&#34;:{&#34;from&#34;:[-0.5,0.5],&#34;to&#34;:[1.5,0]}`, "&amp;lanes=1.5:0"} {
		if !strings.Contains(section, want) {
			t.Errorf("the section lacks %s", want)
		}
	}
	line := decode.Line{From: decode.Vector{-0.5, 0.5}, To: decode.Vector{1.5, 0}}
	lanes := spec(12)
	lanes["aligned"] = []any{"warm", "terse"}
	list := []any{}
	for _, b := range m.Branches {
		v := line.At((b.From + b.To) / 2)
		list = append(list, map[string]any{"lambda": []any{v[0], v[1]}, "sample": 0})
	}
	lanes["lanes"] = list
	beside := k.start(lanes)
	tr := newTrack(beside.Run)
	k.follow(tr, len(list))
	said := make([]string, len(list))
	for _, e := range tr.decoded(t) {
		if e.Type == decode.EventToken || e.Type == decode.EventEnd {
			said[e.Lane] += e.Text
		}
	}
	for i, b := range m.Branches {
		if text := strings.Join(b.Pieces, ""); text != said[i] {
			t.Errorf("text %d is %q, a lane says %q", i, text, said[i])
		}
	}
}
