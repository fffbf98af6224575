package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"realign/internal/store"
)

// TestSoakDiskFull: a server whose disk is full says so, loses nothing that it has acknowledged, and goes on when there is
// room. It needs the right to mount a file system in memory.
func TestSoakDiskFull(t *testing.T) {
	rounds := soakRounds(t, 0)
	d := newDaemon(t)
	if err := syscall.Mount("tmpfs", d.data, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("no small disk can be made: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(d.data, 0); err != nil {
			t.Error(err)
		}
	}()
	d.start()
	defer func() { d.kill() }()
	filler := filepath.Join(d.data, "filler")
	received, cut := 0, 0
	for round := range rounds {
		var all []*browser
		var wait sync.WaitGroup
		for range 5 {
			b := newBrowser(d)
			b.open(t)
			all = append(all, b)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		full := make(chan struct{}, len(all))
		for _, b := range all {
			wait.Go(func() { b.untilFull(ctx, full) })
		}
		d.awaitEvents(all, len(all))
		fillDisk(t, filler)
		for range all {
			select {
			case <-full:
			case <-ctx.Done():
				t.Errorf("round %d: nobody is told that the disk is full:\n%.2000s", round, d.log.String())
			}
		}
		if answer, err := http.Get("http://" + d.addr + "/healthz"); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("round %d: the server is gone: %v\n%s", round, err, d.log.String())
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			b.conn.Close()
		}
		cancel()
		wait.Wait()
		o := newBrowser(d) // there is room again: without a restart
		o.open(t)
		(&wire{t: t, conn: o.conn}).decodes(t)
		o.conn.Close()
		for _, b := range all {
			for run := range b.runs {
				b.ends(t, run)
			}
			b.open(t)
			n, c := b.check(t)
			received, cut = received+n, cut+c
			b.conn.Close()
		}
	}
	d.kill()
	db, err := store.Open(t.Context(), store.Config{Data: d.data})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if problems, err := db.IntegrityCheck(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("integrity: %v %v", problems, err)
	}
	t.Logf("soak: disk full: %d times, %d events that had been received are there, %d lanes were cut off and say so", rounds, received, cut)
}

// untilFull starts runs, one after the other, and keeps what comes, until the server says that the disk is full.
func (b *browser) untilFull(ctx context.Context, full chan<- struct{}) {
	start := func() {
		_ = b.conn.WriteJSON(map[string]any{"type": "start", "spec": map[string]any{
			"pair": "demo", "prompt": "What did you think of the film?", "mode": "chat", "seed": fmt.Sprint(rand.Uint64()), "alternatives": 10,
			"lanes":    []any{map[string]any{"lambda": 0}, map[string]any{"lambda": 1.5}},
			"sampling": map[string]any{"max_tokens": 200, "temperature": 1, "top_p": 1, "ignore_end": true},
		}})
	}
	start()
	told := false
	for ctx.Err() == nil {
		var m message
		if b.conn.ReadJSON(&m) != nil {
			break
		}
		switch m.Type {
		case "started":
			b.mu.Lock()
			b.runs[m.Run] = newTrack(m.Run)
			b.mu.Unlock()
		case "events":
			if err := b.runs[m.Run].take(m); err != nil {
				panic(err) // a gap: the log says which
			}
			if len(b.runs[m.Run].ended) == 2 && b.runs[m.Run].stats > 0 {
				start()
			}
		case "error":
			if !told && strings.Contains(m.Message, "disk is full") {
				told = true
				full <- struct{}{}
			}
			time.Sleep(20 * time.Millisecond)
			start()
		}
	}
}

// ends waits until a run that could not be saved has ended, as the server tries again to say.
func (b *browser) ends(t *testing.T, run string) {
	t.Helper()
	for late := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		b.open(t)
		tr := newTrack(run)
		err := b.conn.WriteJSON(map[string]any{"type": "watch", "run": run})
		for err == nil && len(tr.ended) < 2 { // one that could not be saved has no stats
			var m message
			_ = b.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if err = b.conn.ReadJSON(&m); err == nil && m.Type == "error" {
				err = errors.New(m.Message)
			}
			if err == nil {
				err = tr.take(m)
			}
		}
		b.conn.Close()
		if err == nil {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("run %s has not ended a minute after there was room again: %v", run, err)
		}
	}
}

// fillDisk writes a file until the disk is full.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 1 << 12, 1} {
		block := bytes.Repeat([]byte{1}, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// decodes runs something short to its end.
func (k *wire) decodes(t *testing.T) {
	t.Helper()
	late := time.Now().Add(time.Minute)
	for {
		k.send(map[string]any{"type": "start", "spec": map[string]any{
			"pair": "demo", "prompt": "Hello?", "mode": "chat", "seed": "1", "lanes": []any{map[string]any{"lambda": 0.5}},
			"sampling": map[string]any{"max_tokens": 5, "temperature": 1, "top_p": 1, "ignore_end": true},
		}})
		for {
			m, err := k.next()
			if err != nil {
				t.Fatal(err)
			}
			if m.Type == "started" {
				k.follow(newTrack(m.Run), 1)
				return
			}
			if m.Type == "error" {
				if time.Now().After(late) {
					t.Fatalf("there is room again, and still: %+v", m)
				}
				time.Sleep(100 * time.Millisecond)
				break
			}
		}
	}
}
