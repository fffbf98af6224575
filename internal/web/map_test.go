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
	w.person().get("/runs/"+started.Run+"/map", 404)
	p.get("/runs/nothing/map", 404)
	other := k.start(spec(3, 0))
	k.follow(newTrack(other.Run), 1)
	p.get("/runs/"+other.Run+"/map", 404)

	// One of its texts as a lane: the same text, with the same seed.
	lambda := (m.Branches[1].From + m.Branches[1].To) / 2
	bench := p.get(fmt.Sprintf("/s/%s?run=%s&lanes=%v", started.Session, started.Run, lambda), 200)
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
	if plain := stranger.get("/?from="+url.QueryEscape("c:"+path[3:]), 200); strings.Count(plain, "data-lane-template") != 1 || !strings.Contains(plain, `data-lambda="1.5"`) {
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
