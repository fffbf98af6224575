package web

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/run"
)

// renderedPrompt is a prompt as one model gets it.
type renderedPrompt struct {
	Who    string          `json:"who"`    // "reference", or the name of an aligned model whose prompt is another
	Tokens []renderedToken `json:"tokens"` // the whole prompt
}

// renderedToken is a token of such a prompt.
type renderedToken struct {
	ID   decode.Token `json:"id"`
	Text string       `json:"text"` // as shown: a special token by its name
}

// renderPrompt is POST /prompt: what a run's spec becomes for the models, with the tokens. Nothing is decoded or kept.
func (s *Server) renderPrompt(c echo.Context) error {
	var spec run.Spec
	if err := json.Unmarshal([]byte(c.FormValue("spec")), &spec); err != nil {
		return fault.Field("spec", "is not the JSON of a run: %v", err)
	}
	if spec.Mode != run.Chat && spec.Mode != run.Plain {
		return fault.Field("mode", "%.20q is neither chat nor plain", string(spec.Mode))
	}
	ctx := c.Request().Context()
	names, _, err := s.models.Models(ctx, spec.Pair, spec.Aligned)
	if err != nil {
		return err
	}
	spec.Aligned = names
	request := spec.Request("", nil)
	request.Map, request.Encode = nil, true
	if err := request.Validate(len(names)); err != nil {
		return err
	}
	var started *decode.PromptProgress
	if err := s.decodeAll(ctx, spec.Pair, request, func(e decode.Event) {
		if e.Type == decode.EventStart {
			started = e.Prompt
		}
	}); err != nil {
		return err
	}
	if started == nil {
		return fault.New(fault.Unavailable, "the pair's worker did not answer")
	}
	return c.JSON(http.StatusOK, map[string]any{"prompts": renderedPrompts(started, names)})
}

// renderedPrompts are the prompts of the reference and of every aligned model that has another.
func renderedPrompts(started *decode.PromptProgress, names []string) (all []renderedPrompt) {
	prompts := append([][]decode.Token{started.Tokens}, started.Aligned...)
	for i, tokens := range prompts {
		if tokens == nil {
			continue
		}
		p := renderedPrompt{Who: "reference", Tokens: []renderedToken{}}
		if i > 0 {
			p.Who = names[i-1]
		}
		for k, id := range tokens {
			t := renderedToken{ID: id}
			if i < len(started.Names) && k < len(started.Names[i]) {
				t.Text = started.Names[i][k]
			}
			p.Tokens = append(p.Tokens, t)
		}
		all = append(all, p)
	}
	return all
}
