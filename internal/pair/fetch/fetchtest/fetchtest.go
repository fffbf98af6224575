// Package fetchtest is a server on this machine that speaks the protocols of Hugging Face's hub and of Ollama's registry,
// and misbehaves as those do: it cuts connections, redirects to another host, asks to wait, and refuses.
package fetchtest

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Commit of every repository here.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// Server has repositories and misbehaves as its fields say. Set them before it is asked, or under Lock. Headers, Asked and
// Sent are what it has seen; read them under Lock.
type Server struct {
	URL   string // of the hub and the registry
	Other string // of the host that it redirects files to

	sync.Mutex
	Repositories map[string]map[string][]byte // ORG/NAME → file → content
	Models       map[string][]Layer           // NAMESPACE/NAME:TAG

	Token      string            // asked for where it is set; without it, or with another: 401
	Gated      bool              // 403 for files
	CutAfter   int               // bytes of each answer, after which the connection is cut; 0: never
	Cuts       int               // how many are still to be cut; negative: all
	Busy       int               // answers of 429 with a Retry-After of RetryAfter that are still to come
	RetryAfter string            // "1", "0.5", a date
	WrongBytes bool              // files arrive with another content of the same length
	NoRanges   bool              // ranges are ignored
	Redirects  bool              // files come from the other host
	Loop       bool              // redirects for ever
	Headers    map[string]string // seen last at the other host
	Asked      int               // for files
	Sent       int64             // bytes of files
}

// Layer of a model of Ollama's.
type Layer struct {
	MediaType string // as Ollama's manifests have it
	Content   []byte
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	s := &Server{Repositories: map[string]map[string][]byte{}, Models: map[string][]Layer{}}
	other := httptest.NewServer(http.HandlerFunc(s.elsewhere))
	main := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(main.Close)
	t.Cleanup(other.Close)
	// Another name of this machine is another host.
	s.URL, s.Other = main.URL, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	return s
}

// sum256 is the SHA-256 of a file, in hexadecimal.
func sum256(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

// GitSHA1 is the name of a file in git.
func GitSHA1(b []byte) string {
	s := sha1.Sum(append([]byte(fmt.Sprintf("blob %d\x00", len(b))), b...))
	return hex.EncodeToString(s[:])
}

// serve is the hub and the registry: it tells them apart by the path.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.Lock()
	defer s.Unlock()
	if s.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.Token {
		http.Error(w, "Invalid credentials", http.StatusUnauthorized)
		return
	}
	if s.Busy > 0 {
		s.Busy--
		w.Header().Set("Retry-After", s.RetryAfter)
		http.Error(w, "slow down", http.StatusTooManyRequests)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) == 6 && parts[0] == "api" && parts[1] == "models":
		s.list(w, parts[2]+"/"+parts[3])
	case len(parts) >= 5 && parts[2] == "resolve":
		content, ok := s.Repositories[parts[0]+"/"+parts[1]][strings.Join(parts[4:], "/")]
		s.file(w, r, content, ok)
	case len(parts) == 5 && parts[0] == "v2" && parts[3] == "manifests":
		s.manifest(w, parts[1]+"/"+parts[2]+":"+parts[4])
	case len(parts) == 5 && parts[0] == "v2" && parts[3] == "blobs":
		content, ok := s.layer(parts[1]+"/"+parts[2], parts[4])
		s.file(w, r, content, ok)
	default:
		http.NotFound(w, r)
	}
}

// list is the hub's description of a repository.
func (s *Server) list(w http.ResponseWriter, repository string) {
	files, ok := s.Repositories[repository]
	if !ok {
		http.Error(w, `{"error":"Repository not found"}`, http.StatusNotFound)
		return
	}
	var siblings []map[string]any
	for name, content := range files {
		f := map[string]any{"rfilename": name, "size": len(content), "blobId": GitSHA1(content)}
		if strings.HasSuffix(name, ".gguf") || strings.HasSuffix(name, ".safetensors") {
			f["lfs"] = map[string]any{"sha256": sum256(content), "size": len(content), "pointerSize": 134}
		}
		siblings = append(siblings, f)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"sha": Commit, "siblings": siblings})
}

// manifest is the registry's manifest of a model.
func (s *Server) manifest(w http.ResponseWriter, model string) {
	layers, ok := s.Models[model]
	if !ok {
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
		return
	}
	var all []map[string]any
	for _, l := range layers {
		all = append(all, map[string]any{"mediaType": l.MediaType, "digest": "sha256:" + sum256(l.Content), "size": len(l.Content)})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "layers": all})
}

// layer is the content of a model's layer with that digest.
func (s *Server) layer(model, digest string) ([]byte, bool) {
	for name, layers := range s.Models {
		if !strings.HasPrefix(name, model+":") {
			continue
		}
		for _, l := range layers {
			if "sha256:"+sum256(l.Content) == digest {
				return l.Content, true
			}
		}
	}
	return nil, false
}

// file sends a file, or to where it is.
func (s *Server) file(w http.ResponseWriter, r *http.Request, content []byte, ok bool) {
	switch {
	case !ok:
		http.NotFound(w, r)
	case s.Gated:
		http.Error(w, "Access to this model is restricted", http.StatusForbidden)
	case s.Loop:
		http.Redirect(w, r, r.URL.String(), http.StatusFound)
	case s.Redirects:
		http.Redirect(w, r, s.Other+"/"+sum256(content), http.StatusFound)
	default:
		s.send(w, r, content)
	}
}

// elsewhere is the other host, which has every file by its sum.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) {
	s.Lock()
	defer s.Unlock()
	s.Headers = map[string]string{}
	for key := range r.Header {
		s.Headers[key] = r.Header.Get(key)
	}
	find := func(content []byte) bool { return "/"+sum256(content) == r.URL.Path }
	for _, files := range s.Repositories {
		for _, content := range files {
			if find(content) {
				s.send(w, r, content)
				return
			}
		}
	}
	http.NotFound(w, r)
}

// send answers with a file or the range that was asked for, and cuts the connection where it is to.
func (s *Server) send(w http.ResponseWriter, r *http.Request, content []byte) {
	s.Asked++
	if s.WrongBytes {
		content = []byte(strings.Repeat("x", len(content)))
	}
	from, to := 0, len(content)
	status := http.StatusOK
	if bounds, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && !s.NoRanges {
		first, last, _ := strings.Cut(bounds, "-")
		from, _ = strconv.Atoi(first)
		to, _ = strconv.Atoi(last)
		to = min(to+1, len(content))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(content)))
		status = http.StatusPartialContent
	}
	body := content[from:to]
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if s.CutAfter > 0 && s.Cuts != 0 && len(body) > s.CutAfter {
		s.Cuts--
		s.Sent += int64(s.CutAfter)
		_, _ = w.Write(body[:s.CutAfter])
		panic(http.ErrAbortHandler)
	}
	s.Sent += int64(len(body))
	_, _ = w.Write(body)
}
