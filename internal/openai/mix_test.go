package openai

import (
	"errors"
	"testing"

	"realign/internal/decode"
	"realign/internal/fault"
)

func TestMix(t *testing.T) {
	resolve := func(Model) (Known, error) {
		return Known{Aligned: []string{"warm"}, Sampling: decode.DefaultSampling()}, nil
	}
	call, err := ParseCompletion([]byte(`{"model":"demo","prompt":"a","lambda":[0,1.5],"mix":"weights"}`), resolve)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range call.Requests() {
		if r.Mix != decode.MixWeights || len(r.Lanes) != 2 {
			t.Errorf("request %+v", r)
		}
	}
	for more, field := range map[string]string{
		`"mix":"models"`:                           "mix",
		`"mix":"weights","realign":true`:           "realign",
		`"mix":"weights","store":true`:             "store",
		`"mix":"weights","prompt_logprobs":1`:      "prompt_logprobs",
		`"mix":"weights","echo":true,"logprobs":1`: "echo",
	} {
		_, err := ParseCompletion([]byte(`{"model":"demo","prompt":"a",`+more+`}`), resolve)
		var refused *fault.Error
		if !errors.As(err, &refused) || refused.Field != field {
			t.Errorf("%s: error %v", more, err)
		}
	}
}
