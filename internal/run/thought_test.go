package run

import (
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
)

// What a model thought is not carried into the conversation, unless it is a text that is completed.
func TestThoughtIsNotCarriedOn(t *testing.T) {
	parent := &Spec{Mode: Chat, Prompt: "Hi?"}
	for text, want := range map[string]string{"<think>\nHm.\n</think>\n\nHello.": "Hello.", "Hello.": "Hello."} {
		next := Spec{Mode: Chat, Prompt: "And?"}
		if err := next.continueFrom(parent, &Lane{Text: text, Reason: decode.EndStop}); err != nil || next.History[1].Content != want {
			t.Errorf("%q: %+v, %v", text, next.History, err)
		}
	}
	thinking := &Lane{Text: "<think>Hm", Reason: decode.EndLength}
	next := Spec{Mode: Chat, Prompt: "And?"}
	if err := next.continueFrom(parent, thinking); fault.KindOf(err) != fault.Conflict {
		t.Errorf("a lane that said nothing: %v", err)
	}
	parent.Mode, next = Plain, Spec{Mode: Plain, Prompt: "And?"}
	if err := next.continueFrom(parent, thinking); err != nil || next.History[1].Content != thinking.Text {
		t.Errorf("%+v, %v", next.History, err)
	}
}
