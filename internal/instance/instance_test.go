package instance_test

import (
	"errors"
	"testing"

	"realign/internal/instance"
)

// What another server has is claimed once, by the name of the moment; where the store refuses it stays the other's.
func TestClaim(t *testing.T) {
	refused := errors.New("refused")
	of, told := "b", 0
	take := func(err error) func(from, to string) error {
		return func(from, to string) error {
			told++
			if from != "b" || to != "a" {
				t.Errorf("from %q to %q", from, to)
			}
			return err
		}
	}
	me := instance.Fixed("a")
	if err := instance.Claim(me, &of, take(refused)); err != refused || of != "b" {
		t.Errorf("refused: %v, it is %q's", err, of)
	}
	if err := instance.Claim(me, &of, take(nil)); err != nil || of != "a" {
		t.Errorf("claimed: %v, it is %q's", err, of)
	}
	if err := instance.Claim(me, &of, take(refused)); err != nil || told != 2 {
		t.Errorf("claimed again: %v, told %d times", err, told)
	}
	if name := instance.Or(nil).Name(); name != "" {
		t.Errorf("alone: %q", name)
	}
}
