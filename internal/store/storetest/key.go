package storetest

import (
	"testing"
	"time"

	"realign/internal/apikey"
	"realign/internal/fault"
	"realign/internal/store"
)

// testKeys: keys are found by their hash, listed and revoked by their owner, and a revoked key's name is free.
func testKeys(t *testing.T, s *store.Store) {
	ctx := t.Context()
	add := func(name, owner string, at time.Time) (apikey.Key, string) {
		t.Helper()
		k, secret, err := apikey.New(name, owner, at.Add(time.Hour), apikey.Limits{Requests: 1, Tokens: 2, Lanes: 3}, at)
		if err == nil {
			err = s.CreateKey(ctx, k, apikey.Hash(secret))
		}
		if err != nil {
			t.Fatal(err)
		}
		return k, secret
	}
	mine, secret := add("mine", "a", t0)
	theirs, _ := add("theirs", "b", t0.Add(time.Minute))
	add("shell", "", t0.Add(2*time.Minute))
	got, err := s.KeyByHash(ctx, apikey.Hash(secret))
	if err != nil || got.Name != "mine" || got.Owner != "a" || got.Limits != mine.Limits || !got.CreatedAt.Equal(mine.CreatedAt) || !got.ExpiresAt.Equal(mine.ExpiresAt) || !got.UsedAt.IsZero() || got.State(t0) != "good" || got.State(t0.Add(2*time.Hour)) != "expired" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.KeyByHash(ctx, apikey.Hash("rk-other")); fault.KindOf(err) != fault.NotFound {
		t.Errorf("an unknown key: %v", err)
	}
	again, other, _ := apikey.New("mine", "c", time.Time{}, apikey.Limits{}, t0)
	if err := s.CreateKey(ctx, again, apikey.Hash(other)); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a name that is in use: %v", err)
	}
	if err := s.UseKey(ctx, mine.ID, t0.Add(time.Second)); err != nil {
		t.Error(err)
	}
	if own, err := s.KeysOf(ctx, "a"); err != nil || len(own) != 1 || own[0].ID != mine.ID || !own[0].UsedAt.Equal(t0.Add(time.Second)) {
		t.Errorf("%+v, %v", own, err)
	}
	if all, err := s.Keys(ctx); err != nil || len(all) != 3 || all[0].Name != "shell" || all[2].Name != "mine" {
		t.Errorf("%+v, %v", all, err)
	}
	if err := s.RevokeKeyOf(ctx, "a", theirs.ID, t0); fault.KindOf(err) != fault.NotFound {
		t.Errorf("another's key: %v", err)
	}
	if err := s.RevokeKeyOf(ctx, "a", mine.ID, t0); err != nil {
		t.Error(err)
	}
	if err := s.RevokeKeyOf(ctx, "a", mine.ID, t0); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a revoked key: %v", err)
	}
	if err := s.RevokeKey(ctx, "theirs", t0); err != nil {
		t.Error(err)
	}
	if own, err := s.KeysOf(ctx, "b"); err != nil || own[0].State(t0) != "revoked" {
		t.Errorf("%+v, %v", own, err)
	}
	if err := s.CreateKey(ctx, again, apikey.Hash(other)); err != nil {
		t.Errorf("the name of a revoked key: %v", err)
	}
}
