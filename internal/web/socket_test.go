package web

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"realign/internal/decode"
	"realign/internal/pair"
)

func TestRunIsStreamedWholeAndInOrder(t *testing.T) {
	w := newWorld(t, setup{})
	k := w.person().dial()
	started := k.start(spec(40, 0, 0.5, 1, 2))
	if started.Ref != "s" || started.Run == "" || started.Session == "" {
		t.Fatalf("%+v", started)
	}
	tr := newTrack(started.Run)
	k.follow(tr, 4)
	tokens := map[int]int{}
	for _, e := range tr.decoded(t) {
		if e.Type == decode.EventToken {
			if e.Index != tokens[e.Lane] || e.Logp == nil || e.KLReference == nil || e.Top == nil {
				t.Fatalf("token %d of lane %d: %+v", tokens[e.Lane], e.Lane, e)
			}
			tokens[e.Lane]++
		}
	}
	for lane := range 4 {
		if tokens[lane] != 40 || tr.ended[lane] != decode.EndLength {
			t.Errorf("lane %d: %d tokens, %q", lane, tokens[lane], tr.ended[lane])
		}
	}
}

// A client that is cut off at any moment and resumes after the last event it has seen gets every event once.
func TestResumeHasNoGapAndNoRepetition(t *testing.T) {
	w := newWorld(t, setup{delay: 2 * time.Millisecond})
	p := w.person()
	k := p.dial()
	run := k.start(spec(1900, 0, 1, 2)).Run // until it is stopped
	whole := newTrack(run)
	random := rand.New(rand.NewPCG(1, 2))
	cuts := 0
	for len(whole.ended) < 3 || whole.stats == 0 {
		for range 1 + random.IntN(12) {
			m, err := k.next()
			if err != nil {
				t.Fatal(err)
			}
			if err := whole.take(m); err != nil {
				t.Fatal(err)
			}
			if whole.stats > 0 {
				break
			}
		}
		if whole.stats > 0 {
			break
		}
		switch random.IntN(3) { // gone without a word, on the same socket, or politely
		case 0:
			_ = k.conn.NetConn().Close()
			k = p.dial()
		case 1:
			k.send(map[string]any{"type": "unwatch", "run": run})
			k.fence()
		default:
			_ = k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
			k.close()
			k = p.dial()
		}
		cuts++
		k.send(map[string]any{"type": "watch", "run": run, "after": whole.seq})
		k.resume(whole)
		if cuts == 12 {
			k.send(map[string]any{"type": "stop", "run": run})
		}
	}
	if cuts < 5 {
		t.Errorf("only %d cuts", cuts)
	}
	again := newTrack(run)
	k = p.dial()
	k.send(map[string]any{"type": "watch", "run": run})
	k.follow(again, 3)
	if !bytes.Equal(bytes.Join(again.raw(), nil), bytes.Join(whole.raw(), nil)) {
		t.Error("the log read afterwards is not what was seen live")
	}
}

func (tr *track) raw() [][]byte {
	out := make([][]byte, len(tr.events))
	for i, e := range tr.events {
		out[i] = e
	}
	return out
}

// fence reads until the server has acted on all that was sent: what was under way before is read and
// passed over.
func (k *wire) fence() {
	k.t.Helper()
	k.send(map[string]any{"type": "no such type", "ref": "fence"})
	for {
		m, err := k.next()
		if err != nil {
			k.t.Fatal(err)
		}
		if m.Type == "error" && m.Ref == "fence" {
			return
		}
	}
}

// resume reads up to the first frame of a watch that was asked for from where a track ends.
func (k *wire) resume(tr *track) {
	k.t.Helper()
	for {
		m, err := k.next()
		if err != nil {
			k.t.Fatal(err)
		}
		switch {
		case m.Type == "error":
			k.t.Fatalf("%+v", m)
		case m.Type == "caught_up" && m.Seq == tr.seq:
			return // nothing was stored above it
		case m.Type == "events" && m.Run == tr.run:
			if err := tr.take(m); err != nil {
				k.t.Fatal(err)
			}
			return
		}
	}
}

func TestManyWatchersSeeTheSame(t *testing.T) {
	w := newWorld(t, setup{delay: time.Millisecond})
	p := w.person()
	first := p.dial()
	run := first.start(spec(60, 0, 0.5, 1)).Run
	tracks := []*track{newTrack(run)}
	wires := []*wire{first}
	for range 7 {
		k := p.dial()
		k.send(map[string]any{"type": "watch", "run": run})
		wires, tracks = append(wires, k), append(tracks, newTrack(run))
	}
	for i, k := range wires {
		k.follow(tracks[i], 3)
		if !bytes.Equal(bytes.Join(tracks[i].raw(), nil), bytes.Join(tracks[0].raw(), nil)) {
			t.Errorf("watcher %d saw something else", i)
		}
	}
}

func TestManyRunsOnOneSocketTakeTurns(t *testing.T) {
	w := newWorld(t, setup{delay: time.Millisecond})
	k := w.person().dial()
	tracks := map[string]*track{}
	for range 12 {
		run := ""
		k.send(map[string]any{"type": "start", "spec": spec(50, 0, 1)})
		for run == "" {
			m, err := k.next()
			if err != nil || m.Type == "error" {
				t.Fatalf("%+v, %v", m, err)
			}
			if m.Type == "started" {
				run = m.Run
				tracks[run] = newTrack(run)
			} else if tr := tracks[m.Run]; tr != nil {
				if err := tr.take(m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for done := 0; done < len(tracks); {
		m, err := k.next()
		if err != nil {
			t.Fatal(err)
		}
		done = 0
		for _, tr := range tracks {
			if err := tr.take(m); err != nil {
				t.Fatal(err)
			}
			if len(tr.ended) == 2 && tr.stats == 1 {
				done++
			}
		}
	}
}

func TestLambdaMovesAndLanesStopAndAreAdded(t *testing.T) {
	w := newWorld(t, setup{delay: 5 * time.Millisecond})
	k := w.person().dial()
	run := k.start(spec(1900, 0, 1)).Run
	tr := newTrack(run)
	step := func(until func() bool) {
		t.Helper()
		for !until() {
			m, err := k.next()
			if err == nil && m.Type == "error" {
				err = fmt.Errorf("%+v", m)
			}
			if err == nil {
				err = tr.take(m)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	has := func(match func(decode.Event) bool) func() bool {
		return func() bool {
			for _, e := range tr.decoded(t) {
				if match(e) {
					return true
				}
			}
			return false
		}
	}
	step(has(func(e decode.Event) bool { return e.Type == decode.EventToken && e.Index == 5 }))
	k.send(map[string]any{"type": "lambda", "run": run, "lane": 0, "lambda": 1.5})
	step(has(func(e decode.Event) bool {
		return e.Type == decode.EventToken && e.Lane == 0 && e.Lambda.Equal(decode.Vector{1.5})
	}))
	k.send(map[string]any{"type": "lanes", "ref": "more", "run": run, "lanes": []any{map[string]any{"lambda": 2, "sample": 0, "prefix": []int{6, 7}}}})
	added := message{}
	for added.Type == "" {
		m, err := k.next()
		if err != nil || m.Type == "error" {
			t.Fatalf("%+v, %v", m, err)
		}
		if m.Type == "lanes_added" {
			added = m
		} else if err := tr.take(m); err != nil {
			t.Fatal(err)
		}
	}
	if added.Ref != "more" || len(added.Lanes) != 1 || added.Lanes[0] != 2 {
		t.Fatalf("%+v", added)
	}
	step(has(func(e decode.Event) bool { return e.Type == decode.EventToken && e.Lane == 2 && e.Index == 3 }))
	k.send(map[string]any{"type": "stop", "run": run, "lane": 1})
	step(func() bool { return tr.ended[1] == decode.EndCancelled })
	if len(tr.ended) != 1 {
		t.Errorf("stopping one lane ended %v", tr.ended)
	}
	k.send(map[string]any{"type": "stop", "run": run})
	step(func() bool { return len(tr.ended) == 3 })
	lambdas := 0
	for _, e := range tr.decoded(t) {
		if e.Type == decode.EventLambda {
			lambdas++
		}
	}
	if lambdas != 1 {
		t.Errorf("%d lambda events", lambdas)
	}
}

func TestPairsAreToldOnChange(t *testing.T) {
	w := newWorld(t, setup{})
	k := w.person().dial()
	for _, state := range []pair.State{pair.Restarting, pair.Ready, pair.Failed} {
		w.models.become(state)
		for m := k.want("pairs"); m.Pairs[0].State != state; m = k.want("pairs") {
		}
	}
}

func TestSocketRefusesStrangers(t *testing.T) {
	w := newWorld(t, setup{})
	p := w.person()
	var cookies []string
	u := strings.TrimPrefix(w.http.URL, "http://")
	for _, c := range p.http.Jar.Cookies(mustParse(w.http.URL)) {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	own := strings.Join(cookies, "; ")
	for _, c := range []struct {
		name   string
		header http.Header
		ok     bool
	}{
		{"its own page", http.Header{"Origin": {w.http.URL}, "Cookie": {own}}, true},
		{"another site", http.Header{"Origin": {"https://evil.example"}, "Cookie": {own}}, false},
		{"another port", http.Header{"Origin": {"http://127.0.0.1:1"}, "Cookie": {own}}, false},
		{"a sandboxed page", http.Header{"Origin": {"null"}, "Cookie": {own}}, false},
		{"no origin, a cookie", http.Header{"Cookie": {own}}, false},
		{"a program", http.Header{}, true},
		{"a rebound name", http.Header{"Origin": {"http://evil.example"}, "Host": {"evil.example"}}, false},
	} {
		conn, answer, err := websocket.DefaultDialer.Dial("ws://"+u+"/ws", c.header)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			conn.Close()
		} else if answer == nil || answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v", c.name, answer)
		}
	}
	if answer, _ := p.do("GET", "/ws", nil); answer.StatusCode != http.StatusBadRequest {
		t.Errorf("no handshake: %d", answer.StatusCode)
	}
}

func TestBadFramesGetAnErrorAndTheSocketLives(t *testing.T) {
	w := newWorld(t, setup{})
	k := w.person().dial()
	run := k.start(spec(2, 0)).Run
	k.follow(newTrack(run), 1)
	with := func(change func(map[string]any)) map[string]any {
		s := spec(5, 0)
		change(s)
		return map[string]any{"type": "start", "ref": "r", "spec": s}
	}
	lots := []any{}
	for range decode.MaxLanes + 1 {
		lots = append(lots, map[string]any{"lambda": 1})
	}
	cases := []struct {
		frame any
		code  string
		field string
	}{
		{"{", "invalid", ""},
		{"[]", "invalid", ""},
		{`{"type":"dance","ref":"r"}`, "invalid", "type"},
		{`{"ref":"r"}`, "invalid", "type"},
		{`{"type":"start","ref":"r"}`, "invalid", "spec"},
		{`{"type":"lambda","run":"` + run + `","lambda":1,"ref":"r"}`, "invalid", "lane"},
		{`{"type":"lambda","run":"` + run + `","lane":0,"lambda":"high","ref":"r"}`, "invalid", "lambda"},
		{`{"type":"lambda","run":"` + run + `","lane":0,"lambda":1,"ref":"r"}`, "conflict", ""},
		{`{"type":"lambda","run":"` + run + `","lane":9,"lambda":1,"ref":"r"}`, "not_found", ""},
		{`{"type":"stop","run":"` + run + `","lane":-3,"ref":"r"}`, "invalid", "lane"},
		{`{"type":"watch","run":"nothing","ref":"r"}`, "not_found", ""},
		{`{"type":"watch","run":"` + run + `","after":99,"ref":"r"}`, "invalid", "after"},
		{`{"type":"watch","run":"` + run + `","after":-1,"ref":"r"}`, "invalid", "after"},
		{`{"type":"stop","run":"nothing","ref":"r"}`, "not_found", ""},
		{`{"type":"lanes","run":"nothing","ref":"r","lanes":[{"lambda":1}]}`, "not_found", ""},
		{`{"type":"lanes","run":"` + run + `","ref":"r","lanes":[]}`, "invalid", "lanes"},
		{with(func(s map[string]any) { s["prompt"] = " " }), "invalid", "prompt"},
		{with(func(s map[string]any) { s["prompt"] = strings.Repeat("a", decode.MaxPromptBytes+1) }), "invalid", "prompt"},
		{with(func(s map[string]any) { s["prompt"] = strings.Repeat("a", 3000) }), "invalid", "prompt"},
		{with(func(s map[string]any) { s["pair"] = "ghost" }), "invalid", "pair"},
		{with(func(s map[string]any) { s["aligned"] = []string{"ghost"} }), "invalid", "aligned"},
		{with(func(s map[string]any) { s["lanes"] = lots }), "invalid", "lanes"},
		{with(func(s map[string]any) { s["lanes"] = []any{map[string]any{"lambda": 21}} }), "invalid", "lambda"},
		{with(func(s map[string]any) { s["lanes"] = []any{map[string]any{"lambda": []float64{1, 2}}} }), "invalid", "lambda"},
		{with(func(s map[string]any) { s["seed"] = "x" }), "invalid", ""},
		{with(func(s map[string]any) { s["mode"] = "loud" }), "invalid", "mode"},
	}
	for _, c := range cases {
		if text, ok := c.frame.(string); ok {
			if err := k.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				t.Fatal(err)
			}
		} else {
			k.send(c.frame)
		}
		m, err := k.next()
		for err == nil && m.Type != "error" {
			m, err = k.next()
		}
		if err != nil {
			t.Fatalf("%.80v: %v", c.frame, err)
		}
		if m.Code != c.code || c.field != "" && m.Field != c.field || m.Message == "" {
			t.Errorf("%.80v: %+v, want %s %s", c.frame, m, c.code, c.field)
		}
		if text, ok := c.frame.(string); (!ok || strings.Contains(text, `"ref"`)) && m.Ref != "r" {
			t.Errorf("%.80v: ref %q", c.frame, m.Ref)
		}
	}
	_ = k.conn.WriteMessage(websocket.BinaryMessage, []byte("{}"))
	if m, err := k.next(); err != nil || m.Code != "invalid" {
		t.Errorf("a binary frame: %+v, %v", m, err)
	}
	run = k.start(spec(3, 0)).Run // it lives
	k.follow(newTrack(run), 1)

	_ = k.conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"`+strings.Repeat("x", maxFrameBytes)+`"}`))
	for {
		_, err := k.next()
		if err == nil {
			continue
		}
		if !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
			t.Errorf("an oversized frame: %v", err)
		}
		break
	}
}

func TestBusyCarriesWhenToComeBack(t *testing.T) {
	w := newWorld(t, setup{})
	w.models.busy = true
	k := w.person().dial()
	k.send(map[string]any{"type": "start", "ref": "r", "spec": spec(5, 0)})
	if m, err := k.next(); err != nil || m.Code != "busy" || m.RetryAfter == 0 || m.Ref != "r" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestOthersRunsAreNotThere(t *testing.T) {
	w := newWorld(t, setup{delay: time.Millisecond})
	mine := w.person().dial()
	run := mine.start(spec(300, 0)).Run
	k := w.person().dial()
	for _, frame := range []map[string]any{
		{"type": "watch", "run": run},
		{"type": "stop", "run": run},
		{"type": "lambda", "run": run, "lane": 0, "lambda": 2},
		{"type": "lanes", "run": run, "lanes": []any{map[string]any{"lambda": 1}}},
	} {
		k.send(frame)
		if m, err := k.next(); err != nil || m.Code != "not_found" {
			t.Errorf("%v: %+v, %v", frame["type"], m, err)
		}
	}
	mine.send(map[string]any{"type": "stop", "run": run})
	mine.follow(newTrack(run), 1)
}

func TestCloseTellsSocketsAndWaits(t *testing.T) {
	w := newWorld(t, setup{delay: time.Millisecond})
	p := w.person()
	k := p.dial()
	k.start(spec(500, 0, 1))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.hub.Close()
		_ = w.Server.Close()
	}()
	for {
		if _, err := k.next(); err != nil {
			if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
				t.Errorf("%v", err)
			}
			break
		}
	}
	<-done
	if answer, _ := p.do("GET", "/ws", nil, "Connection", "Upgrade", "Upgrade", "websocket", "Origin", w.http.URL,
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="); answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new socket: %d", answer.StatusCode)
	}
}
