package store_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/run"
	"realign/internal/session"
	"realign/internal/store"
	"realign/internal/sweep"
)

func onBoth(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Run("sqlite", func(t *testing.T) { test(t, open(t, store.Config{Data: t.TempDir()})) })
	t.Run("postgres", func(t *testing.T) { test(t, open(t, postgres(t))) })
}

func batchOf(started string, first, n int) (b run.Batch) {
	for i := range n {
		b.Events = append(b.Events, run.Event{Run: started, Seq: first + i, Event: json.RawMessage(fmt.Sprintf(`{"type":"token","index":%d}`, first+i))})
	}
	return b
}

// A batch may be appended twice, and nothing else in its place.
func TestAppendAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Store) {
		ctx, now := t.Context(), time.Now()
		in := &session.Session{ID: "s", Owner: "ann", Title: "t", CreatedAt: now, UpdatedAt: now}
		started := run.Run{ID: "r", Session: "s", Owner: "ann", Instance: "here", Status: run.Running, CreatedAt: now, Lanes: 1}
		if err := s.CreateRun(ctx, started, in.Title); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			b := batchOf("r", 1, 700) // two chunks
			b.Changes = []run.StatusChange{{Run: "r", Status: run.Running, Lanes: 1, Instance: "there"}}
			if err := s.Append(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		for what, b := range map[string]run.Batch{
			"other events":    {Events: append(batchOf("r", 513, 187).Events[:186:186], run.Event{Run: "r", Seq: 699, Event: json.RawMessage(`{}`)})},
			"part of a chunk": batchOf("r", 600, 101),
			"a gap":           batchOf("r", 702, 1),
		} {
			if err := s.Append(ctx, b); fault.KindOf(err) != fault.Conflict {
				t.Errorf("%s: %v", what, err)
			}
		}
		got, err := s.Run(ctx, "ann", "r")
		if err != nil || got.Seq != 700 || got.Instance != "there" {
			t.Errorf("%+v %v", got, err)
		}
		states, err := s.RunStates(ctx, []string{"r", "none"})
		if err != nil || len(states) != 1 || states["r"] != (run.RunState{Seq: 700, Status: run.Running}) {
			t.Errorf("%+v %v", states, err)
		}
	})
}

func TestServers(t *testing.T) {
	onBoth(t, func(t *testing.T, s *store.Store) {
		ctx, now := t.Context(), time.Now()
		for _, name := range []string{"a", "b"} {
			if err := s.JoinServers(ctx, name); err != nil {
				t.Fatal(err)
			}
			in := &session.Session{ID: "s" + name, Owner: "ann", Title: "t", CreatedAt: now, UpdatedAt: now}
			if err := s.CreateRun(ctx, run.Run{ID: "r" + name, Session: in.ID, Owner: "ann", Instance: name, Status: run.Running, CreatedAt: now, Lanes: 1}, in.Title); err != nil {
				t.Fatal(err)
			}
		}
		orphans := func(want ...string) {
			t.Helper()
			got, err := s.Orphans(ctx)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("orphans %q, want %q: %v", got, want, err)
			}
		}
		orphans()
		if n, err := s.RemoveDead(ctx, time.Minute); err != nil || n != 0 {
			t.Errorf("removed %d: %v", n, err)
		}
		const silent = time.Second
		for late := true; late; {
			time.Sleep(silent)
			began := time.Now()
			if there, err := s.RenewServer(ctx, "b"); err != nil || !there {
				t.Errorf("%v %v", there, err)
			}
			n, err := s.RemoveDead(ctx, silent)
			if late = n == 2 && time.Since(began) > silent; late { // the machine was busy, and "b" silent for too long, too
				err = errors.Join(s.JoinServers(ctx, "a"), s.JoinServers(ctx, "b"))
			}
			if err != nil || n != 1 && !late {
				t.Fatalf("removed %d: %v", n, err)
			}
		}
		orphans("a")
		if there, err := s.RenewServer(ctx, "a"); err != nil || there {
			t.Errorf("a dead server is there: %v %v", there, err)
		}
		if err := s.LeaveServers(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		orphans("a", "b")
		if err := s.ClaimSweep(ctx, "none", sweep.Running, "a", "b"); fault.KindOf(err) != fault.Conflict {
			t.Errorf("claim of nothing: %v", err)
		}
	})
}

// Errors of a connection that the server has closed say that the database cannot be reached.
func TestAConnectionThatIsLost(t *testing.T) {
	config := postgres(t)
	name := "lost_" + id.New()
	s := open(t, store.Config{DSN: config.DSN + "&application_name=" + name})
	admin, err := sql.Open("pgx", config.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	lost := 0
	for range 20 {
		if _, err := admin.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", name); err != nil {
			t.Fatal(err)
		}
		err := s.Append(t.Context(), batchOf("none", 1, 1))
		switch {
		case fault.KindOf(err) == fault.NotFound: // a new connection was made at once
		case errors.Is(err, run.ErrUnreachable) && fault.KindOf(err) == fault.Unavailable:
			lost++
		default:
			t.Errorf("%T %v", err, err)
		}
	}
	t.Logf("%d of 20 connections were lost", lost)
}
