package fetch

import (
	"math"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"realign/internal/fault"
)

// A disk that fills while a model arrives: what was fetched is kept, and goes on once there is room.
func TestDiskFills(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=600k"); err != nil {
		t.Skipf("a small disk cannot be made here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	_, h, _, model := start(t)
	h.Cache, h.Free = dir, func(string) (int64, error) { return math.MaxInt64, nil }
	if _, err := h.Pull(t.Context(), repository, "Q8_0"); fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "is full") {
		t.Fatalf("%v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Pull(t.Context(), repository, "Q8_0"); err != nil {
		t.Fatal(err)
	}
	check(t, h, model)
}
