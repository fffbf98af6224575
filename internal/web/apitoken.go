package web

import (
	"context"
	_ "embed"
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/openai"
)

// listedLambdas are the λ at which every aligned model is listed; any other is accepted, too.
var listedLambdas = []float64{0, 0.5, 1, 2}

// apiModel is a model in OpenAI's shape.
type apiModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`   // model
	Created int64  `json:"created"`  // seconds since 1970; always 0, as nobody knows it
	OwnedBy string `json:"owned_by"` // realign

	Lambda decode.Vector `json:"lambda,omitempty"`         // that the id says; none in an id without λ
	Beta   float64       `json:"effective_beta,omitempty"` // β/λ; 0 and left out where β is unknown or λ is not above 0
}

// listModels answers GET /v1/models: each aligned model of each installed pair at listedLambdas.
func (s *Server) listModels(c echo.Context) error {
	pairs, err := s.library.List()
	if err != nil {
		s.log.WarnContext(c.Request().Context(), "a pair's manifest is broken", "error", err)
	}
	list := []apiModel{}
	for _, p := range pairs {
		if p.Installed() != nil {
			continue
		}
		for _, a := range p.Aligned {
			for _, l := range listedLambdas {
				m := apiModel{ID: openai.Model{Pair: p.Name, Aligned: []string{a.Name}, Lambda: decode.Vector{l}}.String(), Object: "model", OwnedBy: "realign", Lambda: decode.Vector{l}}
				if a.Beta > 0 && l > 0 {
					m.Beta = a.Beta / l
				}
				list = append(list, m)
			}
		}
	}
	return s.apiJSON(c, http.StatusOK, map[string]any{"object": "list", "data": list})
}

// showModel answers GET /v1/models/{model}, at any λ.
func (s *Server) showModel(c echo.Context) error {
	m, err := openai.ParseModel(c.Param("model"))
	if err != nil {
		return &fault.Error{Kind: fault.NotFound, Field: "model", Message: fault.Of(err).Message}
	}
	if _, err := s.resolveModel(m); err != nil {
		return err
	}
	return s.apiJSON(c, http.StatusOK, apiModel{ID: m.String(), Object: "model", OwnedBy: "realign", Lambda: m.Lambda})
}

// encodePrompt turns a prompt into a pair's tokens.
func (s *Server) encodePrompt(ctx context.Context, pair string, aligned []string, p decode.Prompt, with decode.Rendering) (*decode.PromptProgress, error) {
	var started *decode.PromptProgress
	err := s.decodeAll(ctx, pair, decode.Request{Aligned: aligned, Prompt: p, Encode: true, Rendering: with}, func(e decode.Event) {
		if e.Type == decode.EventStart {
			started = e.Prompt
		}
	})
	if err != nil {
		return nil, err
	}
	if started == nil {
		return nil, fault.New(fault.Unavailable, "the pair's worker did not answer")
	}
	return started, nil
}

// pieceCost is what a token of an answer about a tokenizer takes in memory, with its text, measured by the tests of memory.
const pieceCost = 128

// encodeCall turns a client's prompt into tokens, which takes a place among the calls and memory, and costs the tokens.
func (s *Server) encodeCall(c echo.Context, pair string, aligned []string, p decode.Prompt) (*decode.PromptProgress, error) {
	done, err := s.enterCall(apiClient(c), 0)
	if err != nil {
		return nil, err
	}
	tokens := 0
	defer func() { done(tokens) }()
	most := int64(max(len(p.Tokens), len(p.Text)/3))
	for _, m := range p.Messages {
		most += int64(len(m.Content) / 3)
	}
	release, err := s.budgets.uploads.Take(c.Request().Context(), min(uploadSpace, most*pieceCost), uploadWait)
	if err != nil {
		return nil, err
	}
	defer release()
	started, err := s.encodePrompt(c.Request().Context(), pair, aligned, p, decode.Rendering{})
	if err == nil {
		tokens = len(started.Tokens)
	}
	return started, err
}

// tokenizerOf is the pair that a request about a tokenizer is for: the default where it names none.
func (s *Server) tokenizerOf(name string) (string, []string, error) {
	if name == "" {
		name = s.defaultPair
	}
	m, err := openai.ParseModel(name)
	if err != nil {
		return "", nil, err
	}
	known, err := s.resolveModel(m)
	return m.Pair, known.Aligned, err
}

// tokenize answers POST /tokenize in vLLM's shape.
func (s *Server) tokenize(c echo.Context) error {
	asked := struct {
		Model    string           `json:"model"`
		Prompt   *string          `json:"prompt"`
		Messages []decode.Message `json:"messages"`
		Special  *bool            `json:"add_special_tokens"`
		Strings  bool             `json:"return_token_strs"`
	}{}
	if err := json.Unmarshal(apiBody(c), &asked); err != nil {
		return fault.Field("body", "is not the JSON that was expected: %v", err)
	}
	pair, aligned, err := s.tokenizerOf(asked.Model)
	if err != nil {
		return err
	}
	answer := struct {
		Count  int            `json:"count"`
		Tokens []decode.Token `json:"tokens"`
		Texts  []string       `json:"token_strs,omitempty"`
	}{Tokens: []decode.Token{}}
	p := decode.Prompt{Messages: asked.Messages}
	if asked.Prompt != nil {
		p = decode.Prompt{Text: *asked.Prompt, Special: true, Bare: asked.Special != nil && !*asked.Special}
		if p.Text == "" {
			return s.apiJSON(c, http.StatusOK, answer)
		}
	}
	started, err := s.encodeCall(c, pair, aligned, p)
	if err != nil {
		return err
	}
	answer.Count, answer.Tokens = len(started.Tokens), started.Tokens
	if asked.Strings {
		for _, piece := range started.Pieces {
			answer.Texts = append(answer.Texts, string(piece))
		}
	}
	return s.apiJSON(c, http.StatusOK, answer)
}

// detokenize answers POST /detokenize in vLLM's shape.
func (s *Server) detokenize(c echo.Context) error {
	var asked struct {
		Model  string         `json:"model"`
		Tokens []decode.Token `json:"tokens"`
	}
	if err := json.Unmarshal(apiBody(c), &asked); err != nil {
		return fault.Field("tokens", "is not a list of token ids: %v", err)
	}
	pair, aligned, err := s.tokenizerOf(asked.Model)
	if err != nil {
		return err
	}
	var text []byte
	if len(asked.Tokens) > 0 {
		started, err := s.encodeCall(c, pair, aligned, decode.Prompt{Tokens: asked.Tokens})
		if err != nil {
			return err
		}
		for _, piece := range started.Pieces {
			text = append(text, piece...)
		}
	}
	return s.apiJSON(c, http.StatusOK, map[string]string{"prompt": string(text)})
}

// tokenizerInfo answers GET /tokenizer_info in vLLM's shape.
func (s *Server) tokenizerInfo(c echo.Context) error {
	pair, _, err := s.tokenizerOf(c.QueryParam("model"))
	if err != nil {
		return err
	}
	p, err := s.library.Find(pair)
	if err != nil {
		return err
	}
	info, err := p.Tokenizer()
	if err != nil {
		return err
	}
	return s.apiJSON(c, http.StatusOK, info)
}

//go:embed openapi.json
var openAPIDocument []byte

// openAPI is the description of the API for programs.
func (s *Server) openAPI(c echo.Context) error {
	return c.Blob(http.StatusOK, "application/json", openAPIDocument)
}
