package web

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// operating is docs/operate.md.
func operating(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is what the page has between fences of a language.
func block(t *testing.T, language string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(operating(t))
	if found == nil {
		t.Fatalf("the page has no %s", language)
	}
	return found[1]
}

// TestProxiesOfThePage: behind the proxies that docs/operate.md sets up, as it does, pages, assets and sockets work below a path. It
// needs the program, nginx and Caddy: REALIGN_BIN=$PWD/bin/realign go test -run Proxies ./internal/web
func TestProxiesOfThePage(t *testing.T) {
	d := newDaemon(t)
	flags := regexp.MustCompile("realign serve (--trusted-proxy .*)").FindStringSubmatch(operating(t))
	if flags == nil {
		t.Fatal("the page does not say how the server is started")
	}
	var args []string
	for _, f := range regexp.MustCompile(` ?(--[a-z-]+) (\S+)`).FindAllStringSubmatch(flags[1], -1) {
		if f[1] != "--public-url" { // there is no TLS here
			args = append(args, f[1]+"="+f[2])
		}
	}
	d.start(args...)
	defer d.kill()
	t.Run("nginx", func(t *testing.T) {
		addr, dir := freeAddr(t), t.TempDir()
		text := strings.NewReplacer("listen 443 ssl;", "listen "+addr+";", "127.0.0.1:8080", d.addr).Replace(block(t, "nginx"))
		text = regexp.MustCompile(`(?m)^ *ssl_.*$`).ReplaceAllString(text, "")
		_, own, _ := strings.Cut(text, "map ")
		text = "daemon off; pid " + dir + "/pid; error_log stderr;\nevents {}\nhttp { access_log off; client_body_temp_path " + dir + "/b; proxy_temp_path " + dir + "/p; fastcgi_temp_path " +
			dir + "/f; uwsgi_temp_path " + dir + "/u; scgi_temp_path " + dir + "/s; types { text/css css; text/javascript js; }\nmap " + own + "}\n"
		throughProxy(t, addr, dir, "nginx.conf", text, "nginx", "-c")
	})
	t.Run("caddy", func(t *testing.T) {
		addr, dir := freeAddr(t), t.TempDir()
		text := strings.NewReplacer("example.org {", "http://"+addr+" {", "127.0.0.1:8080", d.addr).Replace(block(t, "caddy"))
		throughProxy(t, addr, dir, "Caddyfile", "{\n\tadmin off\n}\n"+text, "caddy", "run", "--adapter", "caddyfile", "--config")
	})
}

// throughProxy starts a proxy on a configuration and uses the server behind it.
func throughProxy(t *testing.T, addr, dir, name, text string, command ...string) {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skipf("there is no %s here", command[0])
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], append(command[1:], path)...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s\n%s", err, text, said.String())
		}
	}
	d := &daemon{t: t, addr: addr + "/realign"}
	b := newBrowser(d)
	answer, err := (&http.Client{Jar: b.jar}).Get(b.base + "/")
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	script := regexp.MustCompile(`src="(/realign/static/app\.js[^"]*)"`).FindSubmatch(page)
	if answer.StatusCode != http.StatusOK || script == nil {
		t.Fatalf("%d %.500s\n%s", answer.StatusCode, page, said.String())
	}
	if answer.Header.Get("Content-Encoding") != "" {
		t.Error("a page is compressed")
	}
	ask, _ := http.NewRequest("GET", "http://"+addr+string(script[1]), nil)
	ask.Header.Set("Accept-Encoding", "gzip")
	asset, err := http.DefaultTransport.RoundTrip(ask)
	if err != nil {
		t.Fatal(err)
	}
	asset.Body.Close()
	if asset.StatusCode != http.StatusOK || asset.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("the script: %d, %q", asset.StatusCode, asset.Header.Get("Content-Encoding"))
	}
	conn, _, err := (&websocket.Dialer{Jar: b.jar}).Dial("ws://"+addr+"/realign/ws", http.Header{"Origin": {"http://" + addr}})
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	k := &wire{t: t, conn: conn}
	defer k.close()
	k.send(map[string]any{"type": "start", "spec": map[string]any{
		"pair": "demo", "prompt": "What did you think of the film?", "mode": "chat", "seed": "7", "lanes": []any{map[string]any{"lambda": 1}},
		"sampling": map[string]any{"max_tokens": 5, "temperature": 1, "top_p": 1},
	}})
	started := k.want("started")
	k.follow(newTrack(started.Run), 1)
}

// TestMetricsOfThePage: the metrics of docs/operate.md and of its dashboard are those that there are.
func TestMetricsOfThePage(t *testing.T) {
	dashboard, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(dashboard) {
		t.Error("the dashboard is not JSON")
	}
	w := newWorld(t, setup{})
	p := w.person()
	_, there := p.do("GET", "/metrics", nil)
	names := regexp.MustCompile(`\b(realign|process)_[a-z]+_?[a-z_]*[a-z]\b`).FindAllString(operating(t)+string(dashboard), -1)
	if len(names) < 20 {
		t.Fatalf("the page names %q", names)
	}
	for _, name := range names {
		if !strings.Contains(there, "# TYPE "+strings.TrimSuffix(name, "_bucket")+" ") {
			t.Errorf("there is no metric %s", name)
		}
	}
}

// TestUnitOfThePage: the systemd unit of docs/operate.md is one that systemd takes, without a warning.
func TestUnitOfThePage(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	unit := filepath.Join(t.TempDir(), "realign.service")
	text := strings.ReplaceAll(block(t, "ini"), "/opt/realign/realign", os.Args[0]) // a program that is there
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(verify, "verify", "--man=no", "--recursive-errors=no", unit).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
