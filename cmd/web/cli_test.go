package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"realign/internal/decode"
	"realign/internal/decode/decodetest"
	"realign/internal/pair"
)

// TestMain is also the worker process of the tests of serve, and the process that converts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "worker" || os.Args[1] == "convert") {
		os.Exit(Run(context.Background(), os.Args[1:], env{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, open: openTable}))
	}
	os.Exit(m.Run())
}

func openTable(context.Context, *pair.Pair, modelFlags, func(float64)) (decode.Pair, error) {
	return decodetest.New(decodetest.Options{Seed: 5, EndLogit: -3}), nil
}

// models is a folder with a manifest for the table.
func models(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	folder := filepath.Join(dir, "demo")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"pair.json": `{"name":"demo","reference":{"file":"r"},"aligned":[{"name":"warm","adapter":"w"},{"name":"terse","file":"t"}]}`,
		"r":         "reference", "w": "warm", "t": "terse",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runCommand runs the program and returns its exit code and what it printed.
func runCommand(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, bad bytes.Buffer
	code = Run(t.Context(), args, env{
		stdin: strings.NewReader(stdin), stdout: &out, stderr: &bad, open: openTable, engine: func() string { return "table" },
	})
	return code, out.String(), bad.String()
}

// TestBadArguments: each ends with one line that names the flag, and the right exit code.
func TestBadArguments(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	good := []string{"decode", "--prompt", "abc", "--max-tokens", "3"}
	for _, test := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"--lambda", "x"}, 2, "--lambda"},
		{[]string{"--lambda", "NaN"}, 2, `--lambda: "NaN" is not a number`},
		{[]string{"--lambda", "0,5"}, 2, "--lambda: “0,5” can be one number or two: write 0.5, or “0; 5” for two"},
		{[]string{"--lambda", "Inf"}, 2, "--lambda"},
		{[]string{"--lambda", "21"}, 2, "--lambda: 21 is outside -5 to 20"},
		{[]string{"--lambda", "1/0"}, 2, "--lambda"},
		{[]string{"--lambda", ""}, 2, "--lambda"},
		{[]string{"--lambda", "0.5:1"}, 2, "--lambda"},
		{[]string{"--pair", "demo:warm,terse"}, 2, "--lambda"},
		{[]string{"--pair", "nobody"}, 2, "--pair"},
		{[]string{"--pair", "demo:nobody"}, 2, "--aligned"},
		{[]string{"--aligned", "nobody"}, 2, "--aligned"},
		{[]string{"--prompt", ""}, 2, "--prompt: is empty"},
		{[]string{"--prompt", strings.Repeat("a", decode.MaxPromptBytes+1)}, 2, "--prompt"},
		{[]string{"--prompt", "-"}, 2, "--prompt: is not valid UTF-8"},
		{[]string{"--max-tokens", "0"}, 2, "--max-tokens: 0 is outside 1 to 4096"},
		{[]string{"--max-tokens", "many"}, 2, "--max-tokens"},
		{[]string{"--temperature", "-1"}, 2, "--temperature"},
		{[]string{"--temperature", "NaN"}, 2, "--temperature"},
		{[]string{"--top-p", "1.5"}, 2, "--top-p"},
		{[]string{"--top-k", "-1"}, 2, "--top-k"},
		{[]string{"--min-p", "2"}, 2, "--min-p"},
		{[]string{"--seed", "-1"}, 2, "--seed"},
		{[]string{"--samples", "0"}, 2, "--samples"},
		{[]string{"--samples", "65"}, 2, "--samples"},
		{[]string{"--alternatives", "21"}, 2, "--alternatives"},
		{[]string{"--text", "--system", "x"}, 2, "--system"},
		{[]string{"--stop", ""}, 2, "--stop"},
		{[]string{"--nonsense"}, 2, "--nonsense"},
	} {
		t.Run(strings.Join(test.args, " ")[:min(30, len(strings.Join(test.args, " ")))], func(t *testing.T) {
			code, out, bad := runCommand(t, "\xff", append(good[:len(good):len(good)], test.args...)...)
			if code != test.code || !strings.Contains(bad, test.say) || strings.Count(bad, "\n") != 1 || out != "" {
				t.Errorf("code %d, want %d; output %q; error %q, want %q", code, test.code, out, bad, test.say)
			}
		})
	}
	for _, args := range [][]string{{}, {"decode"}, {"nonsense"}, {"pairs", "show"}} {
		if code, _, bad := runCommand(t, "", args...); code != 2 || strings.Count(bad, "\n") != 1 {
			t.Errorf("%v: code %d, %q", args, code, bad)
		}
	}
}

func TestDecodeJSON(t *testing.T) {
	args := []string{"decode", "--models", models(t), "--lambda", "0,1/2,2", "--samples", "2", "--seed", "7", "--max-tokens", "5",
		"--prompt", "-", "--json", "--alternatives", "2"}
	code, out, bad := runCommand(t, "abc\n", args...)
	if code != 0 || bad != "" {
		t.Fatalf("code %d: %s", code, bad)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	tokens, ends := map[float64]int{}, 0
	for i, line := range lines {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !strings.HasPrefix(line, `{"type":`) {
			t.Errorf("type does not come first: %s", line)
		}
		switch e["type"] {
		case "token":
			tokens[e["lambda"].(float64)]++
			for _, field := range []string{"lane", "sample", "index", "id", "text", "logp", "kl_reference", "kl_aligned", "log_z", "top"} {
				if e[field] == nil {
					t.Errorf("a token without %s: %s", field, line)
				}
			}
		case "end":
			ends++
			if e["reason"] == nil || e["id"] != nil {
				t.Errorf("%s", line)
			}
		case "stats":
			if i != len(lines)-1 || e["prompt_tokens"] == nil || e["rows"] == nil || e["seconds"] == nil {
				t.Errorf("line %d: %s", i, line)
			}
		}
	}
	if ends != 6 || len(tokens) != 3 || tokens[0.5] == 0 {
		t.Errorf("%d lanes ended, tokens %v", ends, tokens)
	}
	strip := func(s string) string { return s[:strings.LastIndex(strings.TrimSpace(s), "\n")] } // stats have a time
	_, again, _ := runCommand(t, "abc\n", args...)
	_, plain, _ := runCommand(t, "abc\n", append(args, "--plain")...)
	if strip(out) != strip(again) {
		t.Error("the same run twice is not the same")
	}
	if a, b := sorted(strip(out)), sorted(strip(plain)); a != b {
		t.Error("--plain is not the same")
	}
}

// What a pair recommends holds where no flag says otherwise.
func TestRecommendedSampling(t *testing.T) {
	plain, recommending := models(t), models(t)
	file := filepath.Join(recommending, "demo", pair.ManifestName)
	manifest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	manifest = bytes.Replace(manifest, []byte("{"), []byte(`{"sampling":{"temperature":0,"max_tokens":4},`), 1)
	if err := os.WriteFile(file, manifest, 0o644); err != nil {
		t.Fatal(err)
	}
	decoded := func(dir string, flags ...string) string {
		code, out, bad := runCommand(t, "", append([]string{"decode", "--models", dir, "--lambda", "1/2", "--seed", "7", "--prompt", "abc"}, flags...)...)
		if code != 0 {
			t.Fatal(bad)
		}
		return out
	}
	if got, want := decoded(recommending), decoded(plain, "--temperature", "0", "--max-tokens", "4"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := decoded(recommending, "--temperature", "0.7", "--max-tokens", "128"), decoded(plain); got != want || want == decoded(recommending) {
		t.Errorf("with flags %q, want %q", got, want)
	}
}

// sorted orders lines by lane, since the order between lanes means nothing.
func sorted(text string) string {
	var b strings.Builder
	for lane := range 8 {
		for line := range strings.Lines(text + "\n") {
			if strings.Contains(line, fmt.Sprintf(`"lane":%d,`, lane)) {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

func TestDecodeText(t *testing.T) {
	dir := models(t)
	code, out, bad := runCommand(t, "", "decode", "--models", dir, "--pair", "demo:terse,warm", "--lambda", "0.5:0.2,1:0", "--prompt", "abc", "--max-tokens", "4")
	if code != 0 || !strings.Contains(out, "λ = 0.5:0.2 ──") || !strings.Contains(out, "λ = 1:0 ──") {
		t.Errorf("code %d: %s%s", code, out, bad)
	}
	if code, out, _ := runCommand(t, "", "decode", "--models", dir, "--lambda", "1", "--prompt", "abc", "--text", "--max-tokens", "4"); code != 0 || strings.Contains(out, "λ") {
		t.Errorf("one lane needs no heading: %q", out)
	}
	if got := printable("a\x1b[2Jb\u009bc\n"); got != "a[2Jbc\n" {
		t.Errorf("%q", got)
	}
}

// Text shows no trace, so lanes at λ = 0 and 1 cost one model.
func TestDecodeTextPaysForOneModel(t *testing.T) {
	dir := models(t)
	for lambda, both := range map[string]bool{"0": false, "1": false, "0.5": true} {
		table := &counted{Pair: decodetest.New(decodetest.Options{Seed: 5, EndLogit: -3})}
		var out, bad bytes.Buffer
		code := Run(t.Context(), []string{"decode", "--models", dir, "--lambda", lambda, "--prompt", "abc", "--max-tokens", "4"}, env{
			stdout: &out, stderr: &bad,
			open: func(context.Context, *pair.Pair, modelFlags, func(float64)) (decode.Pair, error) { return table, nil },
		})
		if code != 0 {
			t.Fatal(bad.String())
		}
		if used := table.Table().Passes() > 0; used != (both || lambda == "0") {
			t.Errorf("λ = %s: %d passes of the reference", lambda, table.Table().Passes())
		}
		if used := table.opened > 0; used != (both || lambda == "1") {
			t.Errorf("λ = %s: %d aligned models were opened", lambda, table.opened)
		}
		_, traced, _ := runCommand(t, "", "decode", "--models", dir, "--lambda", lambda, "--prompt", "abc", "--max-tokens", "4", "--json")
		if !strings.Contains(traced, `"logp"`) {
			t.Errorf("λ = %s: no trace with --json", lambda)
		}
	}
}

// counted is a table pair that counts which models are opened.
type counted struct {
	*decodetest.Pair
	opened int
}

func (p *counted) Aligned(name string) (decode.Model, error) {
	p.opened++
	return p.Pair.Aligned(name)
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, bad bytes.Buffer
	open := func(context.Context, *pair.Pair, modelFlags, func(float64)) (decode.Pair, error) {
		return decodetest.New(decodetest.Options{Seed: 5, EndLogit: -50, Delay: time.Millisecond}), nil
	}
	code := Run(ctx, []string{"decode", "--models", models(t), "--prompt", "abc", "--max-tokens", "400", "--json"},
		env{stdout: &out, stderr: &bad, open: open})
	if code != 130 || !strings.Contains(out.String(), `"reason":"cancelled"`) || !strings.Contains(out.String(), `{"type":"stats"`) {
		t.Errorf("code %d: %s%s", code, out.String(), bad.String())
	}
}

func TestPairs(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	if code, out, bad := runCommand(t, "", "pairs", "list"); code != 0 || !strings.Contains(out, "warm, terse") {
		t.Errorf("list: %d %s%s", code, out, bad)
	}
	if code, out, bad := runCommand(t, "", "pairs", "show", "demo", "--json"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("show: %d %s%s", code, out, bad)
	}
	if code, _, bad := runCommand(t, "", "pairs", "check", "demo"); code != 2 || !strings.Contains(bad, "GGUF") {
		t.Errorf("check of files that are not GGUF: %d %s", code, bad)
	}
	for _, args := range [][]string{
		{"mine", "--reference", "/nowhere.gguf", "--aligned", "a=/nowhere.gguf"},
		{"mine", "--reference", os.Args[0], "--aligned", "a=" + os.Args[0]},
		{"mine", "--reference", os.Args[0], "--aligned", "a"},
		{"mine", "--reference", os.Args[0], "--aligned", "a=b,beta=x"},
		{"mine", "--reference", os.Args[0], "--aligned", "a=b,colour=red"},
		{"../mine", "--reference", os.Args[0], "--aligned", "a=b"},
	} {
		code, _, bad := runCommand(t, "", append([]string{"pairs", "add"}, args...)...)
		if code == 0 || code == 1 || strings.Count(bad, "\n") != 1 {
			t.Errorf("add %v: %d %s", args, code, bad)
		}
	}
	if code, _, _ := runCommand(t, "", "pairs", "show", "mine"); code != 2 {
		t.Error("a pair that was refused is there")
	}
}

func TestPairThatIsNotInstalled(t *testing.T) {
	dir := models(t)
	t.Setenv("REALIGN_MODELS", dir)
	t.Setenv("REALIGN_DATA", t.TempDir())
	path := filepath.Join(dir, "demo", "pair.json")
	manifest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	away := strings.Replace(string(manifest), `{"file":"r"}`, `{"file":"away/r.gguf","install":"make demo"}`, 1)
	if err := os.WriteFile(path, []byte(away), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"list", "show demo"} {
		code, out, bad := runCommand(t, "", append([]string{"pairs"}, strings.Fields(what)...)...)
		if code != 0 || !strings.Contains(strings.ToLower(out), "not installed: make demo") {
			t.Errorf("%s: %d %s%s", what, code, out, bad)
		}
	}
	for _, args := range [][]string{
		{"pairs", "check", "demo"}, {"decode", "--prompt", "abc"}, {"logits", "--tokens-file", path, "--out", path}, {"bench"},
		{"worker", "--pair", "demo", "--nats", "nats://127.0.0.1:1"},
	} {
		code, _, bad := runCommand(t, "", args...)
		if code != 7 || !strings.Contains(bad, "r.gguf") || !strings.Contains(bad, "make demo") || strings.Count(bad, "\n") != 1 {
			t.Errorf("%v: code %d, %s", args, code, bad)
		}
	}
}

func TestLogits(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte("[5,6,7]\n{\"tokens\":[5]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, bad := runCommand(t, "", "logits", "--models", models(t), "--model", "warm", "--tokens-file", in, "--out", out); code != 0 {
		t.Fatal(bad)
	}
	data, _ := os.ReadFile(out)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	var line struct {
		Tokens []int
		Logits []float64
	}
	if len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &line) != nil || len(line.Tokens) != 3 || len(line.Logits) != 12 {
		t.Errorf("%s", data)
	}
	os.WriteFile(in, []byte("[99]"), 0o644)
	if code, _, bad := runCommand(t, "", "logits", "--models", models(t), "--tokens-file", in, "--out", out); code != 2 {
		t.Errorf("code %d: %s", code, bad)
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := runCommand(t, "", "version"); code != 0 || !strings.Contains(out, "realign ") || !strings.Contains(out, "table") {
		t.Errorf("%d %s", code, out)
	}
}

func TestServeRefuses(t *testing.T) {
	dir := models(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o644)
	for _, test := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"--addr", taken.Addr().String()}, 7, "another program listens"},
		{[]string{"--addr", "0.0.0.0:0"}, 2, "--auth"},
		{[]string{"--addr", "nonsense"}, 2, "--addr"},
		{[]string{"--addr", "127.0.0.1:0", "--data", filepath.Join(file, "below")}, 2, "--data"},
		{[]string{"--addr", "127.0.0.1:0", "--auth", "password"}, 2, "REALIGN_PASSWORD"},
		{[]string{"--addr", "127.0.0.1:0", "--auth", "magic"}, 2, "--auth"},
		{[]string{"--addr", "127.0.0.1:0", "--db", "oracle://x"}, 2, "--db"},
		{[]string{"--addr", "127.0.0.1:0", "--nats", "nats://127.0.0.1:1"}, 7, "no NATS server answers at 127.0.0.1:1"},
		{[]string{"--addr", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0"}, 2, "--nats-listen: needs a token"},
		{[]string{"--addr", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--nats-token", "short"}, 2, "--nats-token: has 5 bytes"},
		{[]string{"--addr", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--nats-token-file", file}, 2, "--nats-token-file: the first line"},
		{[]string{"--addr", "127.0.0.1:0", "--nats-listen", taken.Addr().String(), "--nats-token", "0123456789abcdef"}, 7, "--nats-listen"},
	} {
		code, _, bad := runCommand(t, "", append([]string{"serve", "--models", dir, "--data", t.TempDir(), "--log-level", "error"}, test.args...)...)
		if code != test.code || !strings.Contains(bad, test.say) || strings.Count(bad, "\n") != 1 {
			t.Errorf("%v: code %d, want %d: %q, want %q", test.args, code, test.code, bad, test.say)
		}
	}
}

// lines hands on what is logged, line by line.
type lines struct {
	mu   sync.Mutex
	text []byte
	news chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	l.text = append(l.text, b...)
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
	return len(b), nil
}

// until waits for a word and returns what follows it.
func (l *lines) until(t *testing.T, word string) string {
	t.Helper()
	late := time.After(60 * time.Second)
	for {
		l.mu.Lock()
		_, after, found := strings.Cut(string(l.text), word)
		l.mu.Unlock()
		if found && strings.ContainsAny(after, " \n") {
			return after[:strings.IndexAny(after, " \n")]
		}
		select {
		case <-l.news:
		case <-late:
			t.Fatalf("no %q in %s", word, l.text)
		}
	}
}

// TestServe starts the whole program with a worker process, waits until it is ready, and stops it.
func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	log := &lines{news: make(chan struct{}, 1)}
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"serve", "--models", models(t), "--data", t.TempDir(), "--addr", "127.0.0.1:0"},
			env{stdout: io.Discard, stderr: log, open: openTable})
	}()
	url := log.until(t, "url=")
	get := func(path string) (int, string) {
		r, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(body)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
	log.until(t, "msg=ready")
	for range 600 {
		if code, _ := get("/readyz"); code == 200 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if code, body := get("/readyz"); code != 200 {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, body := get("/"); code != 200 || !strings.Contains(body, "<html") {
		t.Errorf("/: %d", code)
	}
	cancel()
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("code %d: %s", code, log.text)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stop")
	}
}
