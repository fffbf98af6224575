package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realign/internal/store"
	"realign/internal/sweep"
)

// sweepFile writes a configuration into a folder of its own.
func sweepFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const smallSweep = `
pair: demo
prompts: [abc, bcd, cde, {prompt: dea, category: x}]
lambda: {from: 0, to: 2, points: 5}
samples: 2
sampling: {max_tokens: 10, temperature: 1}
rewards: [{reward: length, parameters: {low: 4, high: 6}}, distinct]
refine: {rounds: 1}
`

// TestSweepCommand: one command does the sweep and leaves its results; the same command again only prints them, and another
// configuration is not mixed in.
func TestSweepCommand(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	file, out := sweepFile(t, smallSweep), filepath.Join(t.TempDir(), "results")
	code, said, bad := runCommand(t, "", "sweep", "--config", file, "--out", out)
	if code != 0 || !strings.HasPrefix(said, "# β ticket") {
		t.Fatalf("code %d, %q, %q", code, said, bad)
	}
	for _, name := range []string{"ticket.md", "ticket.json", "report.json", "outputs.jsonl", "outputs.csv", "outputs.parquet"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	code, again, _ := runCommand(t, "", "sweep", "--config", file, "--out", out)
	if code != 0 || again != said {
		t.Errorf("the second time: code %d, %q", code, again)
	}
	code, text, _ := runCommand(t, "", "sweep", "--config", file, "--out", out, "--json")
	var ticket sweep.Recommendation
	if err := json.Unmarshal([]byte(text), &ticket); code != 0 || err != nil || ticket.Pair != "demo" {
		t.Errorf("code %d, %v, %+v", code, err, ticket)
	}
	// A reward more judges what is there: the other numbers stay, to the last digit.
	more := sweepFile(t, strings.Replace(smallSweep, ", distinct]", ", distinct, readability]", 1))
	before := outputs(t, out)
	code, _, bad = runCommand(t, "", "sweep", "--config", more, "--out", out)
	after := outputs(t, out)
	if code != 0 || len(after) != len(before) {
		t.Fatalf("a reward more: code %d, %q, %d outputs after %d", code, bad, len(after), len(before))
	}
	for i := range after {
		if _, ok := after[i].Rewards["readability"]; !ok {
			t.Errorf("%+v is not judged", after[i].Cell)
		}
	}
	if !reflect.DeepEqual(without(after, "readability"), before) {
		t.Error("a reward more changes outputs, or what others said of them")
	}
	if code, _, bad := runCommand(t, "", "sweep", "--config", more, "--out", out, "--judge-again"); code != 0 || !reflect.DeepEqual(before, without(outputs(t, out), "readability")) {
		t.Errorf("judged again: code %d, %q", code, bad)
	}
	other := sweepFile(t, strings.Replace(smallSweep, "samples: 2", "samples: 3", 1))
	if code, _, bad := runCommand(t, "", "sweep", "--config", other, "--out", out); code != 4 || !strings.Contains(bad, "another configuration") {
		t.Errorf("another configuration: code %d, %q", code, bad)
	}
}

// TestSweepWithoutBest: where nothing is known of a best λ the ticket says so, with exit code 0, and recommends nothing.
func TestSweepWithoutBest(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	for name, c := range map[string]struct{ config, want string }{
		"one prompt":   {strings.Replace(smallSweep, "abc, bcd, cde, {prompt: dea, category: x}", "abc", 1), "one prompt says nothing about others"},
		"equal values": {strings.Replace(smallSweep, "{reward: length, parameters: {low: 4, high: 6}}", "{reward: pattern, parameters: {pattern: never said}}", 1), "the reward does not differ"},
	} {
		code, said, bad := runCommand(t, "", "sweep", "--config", sweepFile(t, c.config), "--out", filepath.Join(t.TempDir(), "results"))
		if code != 0 || !strings.Contains(said, "No best λ found") || !strings.Contains(said, c.want) || strings.Contains(said, "DPOConfig") || strings.Contains(said, "effective β") {
			t.Errorf("%s: code %d, %q, %s", name, code, bad, said)
		}
	}
}

// outputs are those that a sweep has left in its folder.
func outputs(t *testing.T, dir string) (all []sweep.Output) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "outputs.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var o sweep.Output
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// without takes a reward off outputs.
func without(outputs []sweep.Output, reward string) []sweep.Output {
	for i := range outputs {
		delete(outputs[i].Rewards, reward)
	}
	return outputs
}

// TestSweepInterrupted: Ctrl-C ends with 130 and a word about it, and the same command goes on to the ticket of a sweep that
// was not interrupted.
func TestSweepInterrupted(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	file := sweepFile(t, smallSweep)
	_, want, _ := runCommand(t, "", "sweep", "--config", file, "--out", t.TempDir())
	out := t.TempDir()
	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(150*(i+1))*time.Millisecond)
		var said, bad bytes.Buffer
		code := Run(ctx, []string{"sweep", "--config", file, "--out", out}, env{stdin: strings.NewReader(""), stdout: &said, stderr: &bad, open: openTable})
		cancel()
		if code != 130 && code != 0 && code != 1 {
			t.Fatalf("code %d, %q", code, bad.String())
		}
	}
	code, got, bad := runCommand(t, "", "sweep", "--config", file, "--out", out)
	if code != 0 || got != want {
		t.Errorf("code %d, %q; the ticket is\n%s\nwithout interruption\n%s", code, bad, got, want)
	}
}

// TestSweepBadInput: each is one line that names what is wrong, and exit code 2.
func TestSweepBadInput(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	replace := func(old, by string) string { return strings.Replace(smallSweep, old, by, 1) }
	for name, c := range map[string]struct {
		text, say string
		code      int
	}{
		"an unknown field":     {replace("samples:", "sampels:"), "samples", 2},
		"a reversed range":     {replace("from: 0, to: 2", "from: 2, to: 0"), "reversed", 2},
		"no prompts":           {replace("prompts: [abc, bcd, cde, {prompt: dea, category: x}]", "prompts: []"), "prompts", 2},
		"no file of prompts":   {replace("prompts: [abc, bcd, cde, {prompt: dea, category: x}]", "prompts: none.jsonl"), "prompts", 2},
		"a missing column":     {replace(", distinct", ", rouge-l"), "needs the column", 2},
		"no such reward":       {replace(", distinct", ", distict"), "distinct", 2},
		"a small budget":       {smallSweep + "budget: 7\n", "budget", 2},
		"no such pair":         {replace("pair: demo", "pair: nobody"), "pair", 2},
		"no such model":        {smallSweep + "aligned: nobody\n", "aligned", 2},
		"an unreached address": {replace(", distinct", ", {reward: http, parameters: {url: 'http://127.0.0.1:1/'}}"), "rewards.http", 2},
		"not YAML":             {"a: [", "YAML", 2},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			code, said, bad := runCommand(t, "", "sweep", "--config", sweepFile(t, c.text), "--out", out)
			if code != c.code || !strings.Contains(bad, c.say) || said != "" {
				t.Errorf("code %d, want %d; %q, want %q in it; output %q", code, c.code, bad, c.say, said)
			}
			if _, err := os.Stat(filepath.Join(out, "ticket.md")); err == nil {
				t.Error("there is a ticket")
			}
		})
	}
	if code, _, bad := runCommand(t, "", "sweep", "--config", "nothing.yaml"); code != 2 || !strings.Contains(bad, "--config") {
		t.Errorf("no file: code %d, %q", code, bad)
	}
}

// certificate makes a certificate for this machine, and its key, as files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	signed, err := x509.CreateCertificate(rand.Reader, &about, &about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestSweepOverTwoWorkers: two workers, processes of their own that were there first and joined over NATS, share a sweep; one is
// killed in the middle. They trust the server's certificate because the system does. Every cell is there once, and the ticket is the one of a single worker.
func TestSweepOverTwoWorkers(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	text := strings.Replace(smallSweep, "prompts: [", "prompts: [aab, aac, aad, aae, bba, bbc, bbd, bbe, cca, ccb, ccd, cce, dda, ddb, ddc, dde, ", 1)
	file := sweepFile(t, strings.Replace(text, "samples: 2", "samples: 5", 1)) // it lasts, so that there is a middle
	_, want, _ := runCommand(t, "", "sweep", "--config", file, "--out", t.TempDir())

	t.Setenv("REALIGN_NATS_TOKEN", "0123456789abcdef")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	cert, key := certificate(t)
	var workers []*exec.Cmd
	for range 2 {
		w := exec.Command(os.Args[0], "worker", "--pair=demo", "--nats="+at)
		w.Env = append(os.Environ(), "SSL_CERT_FILE="+cert)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		workers = append(workers, w)
		defer func() { w.Process.Kill(); w.Wait() }()
	}
	out := t.TempDir()
	var said bytes.Buffer
	bad := &lines{news: make(chan struct{}, 1)}
	ended := make(chan int, 1)
	go func() {
		ended <- Run(t.Context(), []string{"sweep", "--config", file, "--out", out, "--nats-listen", at, "--nats-tls-cert", cert, "--nats-tls-key", key, "--no-workers"},
			env{stdin: strings.NewReader(""), stdout: &said, stderr: bad, open: openTable})
	}()
	bad.until(t, "results in ") // from then on the database is there
	killed := false
	for code := -1; code < 0; {
		select {
		case code = <-ended:
			if code != 0 || said.String() != want {
				t.Errorf("code %d, %q; the ticket is\n%s\nof a single worker\n%s", code, bad.text, said.String(), want)
			}
		case <-time.After(10 * time.Millisecond): // when some of the cells are there
			if !killed && cells(out) > 20 {
				workers[0].Process.Kill()
				killed = true
			}
		}
	}
	if !killed {
		t.Error("no worker was killed before the end")
	}
}

// TestSweepByJudge: an LLM judge that is overloaded, fails, is late and talks nonsense now and then costs time only; what it never
// judges is missing, with the reason, and counts as nothing.
func TestSweepByJudge(t *testing.T) {
	t.Setenv("REALIGN_MODELS", models(t))
	t.Setenv("REALIGN_DATA", t.TempDir())
	t.Setenv("JUDGE_KEY", "secret")
	var mu sync.Mutex
	var late atomic.Bool
	times := map[string]int{} // each question was asked
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/v1/models" {
			io.WriteString(w, `{"data":[]}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		question := string(body)
		mu.Lock()
		times[question]++
		first, kind := times[question] == 1, len(times)%5
		mu.Unlock()
		switch {
		case strings.Contains(question, `USER\ndea\n`):
			w.WriteHeader(http.StatusServiceUnavailable)
		case first && kind == 0:
			w.WriteHeader(http.StatusTooManyRequests)
		case first && kind == 1:
			w.WriteHeader(http.StatusInternalServerError)
		case first && kind == 2 && late.CompareAndSwap(false, true): // once: the timeout is long, for a machine that is busy
			<-r.Context().Done()
		case first && kind == 3:
			io.WriteString(w, `{"choices":[{"message":{"content":"{\"score\": "}}]`)
		default:
			_, answer, _ := strings.Cut(question, `ANSWER\n`)
			answer, _, _ = strings.Cut(answer, `\n`)
			content, _ := json.Marshal(fmt.Sprintf(`{"explanation":"","score":%d}`, 1+len(answer)%10))
			fmt.Fprintf(w, `{"choices":[{"message":{"content":%s}}],"usage":{"prompt_tokens":100,"completion_tokens":10}}`, content)
		}
	}))
	defer judge.Close()
	text := strings.Replace(smallSweep, "rewards: [", fmt.Sprintf(
		"objective: judge\nrewards: [{reward: judge, parameters: {url: '%s/v1', key: JUDGE_KEY, model: m, timeout: 3, tries: 2, at_once: 32, price_out: 1000}}, ", judge.URL), 1)
	text = strings.NewReplacer("points: 5", "points: 3", "rounds: 1", "rounds: 0").Replace(text)
	out := t.TempDir()
	code, said, bad := runCommand(t, "", "sweep", "--config", sweepFile(t, text), "--out", out)
	if code != 0 || !strings.HasPrefix(said, "# β ticket") {
		t.Fatalf("code %d, %q, %q", code, said, bad)
	}
	if !strings.Contains(said, "Judging cost ") || !strings.Contains(bad, "judging cost ") {
		t.Errorf("nothing tells the cost: %q, %q", said, bad)
	}
	file, err := os.ReadFile(filepath.Join(out, "outputs.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	judged, missing := 0, 0
	for line := range strings.Lines(string(file)) {
		var o struct {
			Prompt  int
			Text    string
			Rewards map[string]sweep.Value
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		v, ok := o.Rewards["judge"]
		switch {
		case !ok:
			t.Errorf("nothing is said of %s", line)
		case o.Prompt == 3: // dea
			missing++
			if v.OK() || v.Missing != "the endpoint says 503 Service Unavailable (asked 2 times)" {
				t.Errorf("%+v", v)
			}
		default:
			judged++
			if !v.OK() || v.Value != float64(1+len(o.Text)%10) {
				t.Errorf("%q: %+v", o.Text, v)
			}
		}
	}
	if judged == 0 || missing == 0 {
		t.Errorf("%d judged, %d missing", judged, missing)
	}
	var report sweep.Report
	if data, err := os.ReadFile(filepath.Join(out, "report.json")); err != nil || json.Unmarshal(data, &report) != nil || report.Cost <= 0 {
		t.Errorf("%v, cost %v", err, report.Cost)
	}
	if one := report.Reward("judge"); one == nil || len(one.Missing) != 1 || one.Missing[0].Cells != missing {
		t.Errorf("%+v, want %d missing", one, missing)
	}
	if strings.Contains(said+bad+string(file), "secret") {
		t.Error("the key is told")
	}
}

// cells counts the outputs in a results folder.
func cells(dir string) int {
	if _, err := os.Stat(filepath.Join(dir, "realign.db")); err != nil {
		return 0
	}
	db, err := store.Open(context.Background(), store.Config{Data: dir})
	if err != nil {
		return 0
	}
	defer db.Close()
	list, _, err := db.Sweeps(context.Background(), sweepOwner, "", 1)
	if err != nil || len(list) == 0 {
		return 0
	}
	return list[0].Outputs
}
