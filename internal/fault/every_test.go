package fault

import (
	"errors"
	"testing"
)

func TestEvery(t *testing.T) {
	err := errors.Join(Field("a", "first"), nil, errors.Join(Field("b", "second"), Field("a", "again")), New(Conflict, "third"))
	all := Every(err)
	if len(all) != 3 || all[0].Message != "first" || all[1].Field != "b" || all[2].Kind != Conflict {
		t.Errorf("%v", all)
	}
	if len(Every(nil)) != 0 || len(Every(errors.New("x"))) != 1 {
		t.Error("of no error there is none, and of another kind one")
	}
}
