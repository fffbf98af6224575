package web

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The OpenAPI document says what the handlers do: every route is in it, every answer fits its schema, and every field of a
// request that it names is taken.
func TestOpenAPI(t *testing.T) {
	w := newWorld(t, setup{})
	var doc struct {
		Paths      map[string]map[string]any
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(openAPIDocument, &doc); err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, r := range w.handler.(*echo.Echo).Routes() {
		if path := strings.Replace(r.Path, ":model", "{model}", 1); (strings.HasPrefix(path, "/v1/") || strings.Contains(path, "token")) && !strings.Contains(path, ":token") && path != "/v1/openapi.json" {
			routes = append(routes, path)
		}
	}
	slices.Sort(routes)
	if got := slices.Sorted(maps.Keys(doc.Paths)); !slices.Equal(got, routes) {
		t.Errorf("the document has %v, the server %v", got, routes)
	}
	fits := func(name string, data []byte) { t.Helper(); fitsSchema(t, name, data) }
	const chat, text = `{"model":"table@0.5","messages":[{"role":"user","content":"abc"}],"max_tokens":3`, `{"model":"table@0.5","prompt":"abc","max_tokens":3`
	for _, test := range []struct{ path, body, request, answer string }{
		{"/v1/chat/completions", chat + `,"logprobs":true,"top_logprobs":2,"realign":true,"return_token_ids":true,"prompt_logprobs":1}`, "ChatRequest", "ChatCompletion"},
		{"/v1/completions", text + `,"logprobs":2,"echo":true,"realign":true,"return_token_ids":true}`, "CompletionRequest", "Completion"},
		{"/v1/score", `{"model":"table","prompt":"abc"}`, "ScoreRequest", "Score"},
		{"/tokenize", `{"prompt":"abc","return_token_strs":true}`, "TokenizeRequest", "Tokens"},
		{"/detokenize", `{"tokens":[3]}`, "DetokenizeRequest", "Text"},
		{"/tokenizer_info?model=table", "", "", "Error"}, // its file is none: apiequal_test.go has a real one
		{"/v1/models", "", "", "Models"},
		{"/v1/models/table@1", "", "", "Model"},
		{"/v1/completions", `{"model":"table"}`, "", "Error"},
	} {
		if test.request != "" {
			fits(test.request, []byte(test.body))
		}
		method := "POST"
		if test.body == "" {
			method = "GET"
		}
		r, err := http.NewRequest(method, w.http.URL+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		fits(test.answer, data)
	}
	// Fields that the document names are known to the parsers: none is refused as unknown.
	for schema, at := range map[string]struct{ path, body string }{"ChatRequest": {"/v1/chat/completions", chat}, "CompletionRequest": {"/v1/completions", text}} {
		for field := range doc.Components.Schemas[schema].Properties {
			if strings.Contains(at.body, `"`+field+`"`) {
				continue
			}
			w.call(at.path, at.body+`,"`+field+`":null}`, 200, nil)
		}
	}
}

// fitsSchema checks an answer or a request against a schema of the OpenAPI document.
func fitsSchema(t *testing.T, name string, data []byte) {
	t.Helper()
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPIDocument))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("openapi.json", resource); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("openapi.json#/components/schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s does not fit %s: %v", data, name, err)
	}
}
