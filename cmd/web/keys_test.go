package main

import (
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	t.Setenv("REALIGN_DATA", t.TempDir())
	code, out, bad := runCommand(t, "", "keys", "add", "harness", "--expires", "30d", "--lanes", "8")
	if code != 0 || !strings.HasPrefix(out, "rk-") || strings.Count(out, "\n") != 1 || strings.Contains(bad, strings.TrimSpace(out)) {
		t.Fatalf("code %d, %q, %q", code, out, bad)
	}
	secret := strings.TrimSpace(out)
	for _, test := range []struct {
		args string
		code int
		say  string
	}{
		{"add harness", 4, "already"}, {"add -x", 2, ""}, {"add other --expires yesterday", 2, "--expires"}, {"add other --expires 2001-01-01", 2, "--expires"}, {"add other --lanes -1", 2, "--lanes"}, {"revoke nobody", 3, "nobody"},
	} {
		if code, _, bad := runCommand(t, "", append([]string{"keys"}, strings.Fields(test.args)...)...); code != test.code || !strings.Contains(bad, test.say) {
			t.Errorf("keys %s: code %d, %q", test.args, code, bad)
		}
	}
	if code, out, _ := runCommand(t, "", "keys", "list"); code != 0 || !strings.Contains(out, "harness") || !strings.Contains(out, "good") || strings.Contains(out, secret) {
		t.Errorf("code %d: %s", code, out)
	}
	if code, _, _ := runCommand(t, "", "keys", "revoke", "harness"); code != 0 {
		t.Errorf("code %d", code)
	}
	if code, out, _ := runCommand(t, "", "keys", "list"); code != 0 || !strings.Contains(out, "revoked") {
		t.Errorf("code %d: %s", code, out)
	}
	if code, _, _ := runCommand(t, "", "keys", "add", "harness"); code != 0 { // a revoked name is free
		t.Errorf("code %d", code)
	}
}
