//go:build unix

package store

import (
	"strings"
	"syscall"
	"testing"

	"realign/internal/fault"
)

func TestWhyAFileIsNotLocked(t *testing.T) {
	if err := notLocked(syscall.EWOULDBLOCK, "x"); fault.KindOf(err) != fault.Conflict {
		t.Errorf("held by another: %v", err)
	}
	for _, none := range []error{syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		if err := notLocked(none, "x"); fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "cannot lock files") {
			t.Errorf("%v: %v", none, err)
		}
	}
}
