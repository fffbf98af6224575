package fetch

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"realign/internal/fault"
	"realign/internal/pair/modelstore"
)

// Registry is Ollama's registry of models, or one that speaks its protocol, with a folder for what it has: Ollama's
// store,
// in its layout. It has no state of its own; several goroutines may use it.
type Registry struct {
	Endpoint string // "" is https:// and the host of the model's name
	Store    string // {blobs,manifests}
	Options
}

// RegistryFromEnvironment reads OLLAMA_MODELS as Ollama does. home is the user's folder.
func RegistryFromEnvironment(getenv func(string) string, home string) Registry {
	return Registry{Store: cmp.Or(getenv("OLLAMA_MODELS"), filepath.Join(home, ".ollama", "models"))}
}

var (
	ollamaPart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	sha256Name = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// Pull fetches NAME[:TAG], NAMESPACE/NAME[:TAG] or HOST/NAMESPACE/NAME[:TAG], with every layer, as Ollama does, so that
// Ollama itself can use the model. It returns the name under which the model store finds it. The manifest is written last:
// without it the store does not have the model. Errors are as of Hub.Pull, with the field model.
func (g Registry) Pull(ctx context.Context, model string) (name string, err error) {
	base, tag := model, "latest"
	if i := strings.LastIndexByte(model, ':'); i >= 0 && !strings.Contains(model[i:], "/") {
		base, tag = model[:i], model[i+1:]
	}
	parts := strings.Split(base, "/")
	switch len(parts) {
	case 1:
		parts = append([]string{modelstore.OllamaHost, modelstore.OllamaNamespace}, parts...)
	case 2:
		parts = append([]string{modelstore.OllamaHost}, parts...)
	}
	for _, p := range append(parts, tag) {
		if len(parts) != 3 || !ollamaPart.MatchString(p) {
			return "", fault.Field("model", "%.200q is not NAME, NAME:TAG or NAMESPACE/NAME:TAG", model)
		}
	}
	endpoint := cmp.Or(g.Endpoint, "https://"+parts[0])
	r := &remote{Options: g.Options.fill(), name: "the registry", denied: "the model " + model + " is not public, and only public models can be fetched here"}
	address, err := under(endpoint, "v2", parts[1], parts[2], "manifests", tag)
	if err != nil {
		return "", err
	}
	if u, err := url.Parse(address); err == nil {
		r.host = u.Host
	}
	data, _, err := r.document(ctx, address, maxListing, http.Header{"Accept": {"application/vnd.docker.distribution.manifest.v2+json"}})
	if err != nil {
		return "", err
	}
	blobs, err := g.layers(data, endpoint, parts)
	if err != nil {
		return "", err
	}
	if err := r.fetch(ctx, blobs); err != nil {
		return "", err
	}
	manifest := filepath.Join(append([]string{g.Store, "manifests"}, append(parts, tag)...)...)
	if err := os.MkdirAll(filepath.Dir(manifest), 0o755); err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "the store at %s cannot be written", g.Store)
	}
	temp := manifest + ".realign-new"
	err = os.WriteFile(temp, data, 0o644)
	if err == nil {
		err = os.Rename(temp, manifest)
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "the store at %s cannot be written", g.Store)
	}
	return "ollama:" + base + ":" + tag, nil
}

// layers are the blobs that a manifest names, its configuration included. parts are host, namespace and name. A
// model without GGUF weights is
// Invalid.
func (g Registry) layers(manifest []byte, endpoint string, parts []string) ([]blob, error) {
	type layer struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	var m struct {
		Config layer   `json:"config"`
		Layers []layer `json:"layers"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil || len(m.Layers) == 0 {
		return nil, fault.New(fault.Unavailable, "the registry's manifest cannot be read")
	}
	weights := false
	var blobs []blob
	for _, l := range append(m.Layers, m.Config) {
		if l.Digest == "" && l == m.Config {
			continue
		}
		if !sha256Name.MatchString(l.Digest) || l.Size < 0 {
			return nil, fault.New(fault.Unavailable, "the registry names the layer %.100q, which is no SHA-256", l.Digest)
		}
		weights = weights || strings.HasSuffix(l.MediaType, ".model")
		address, err := under(endpoint, "v2", parts[1], parts[2], "blobs", l.Digest)
		if err != nil {
			return nil, err
		}
		sum := strings.TrimPrefix(l.Digest, "sha256:")
		blobs = append(blobs, blob{name: l.Digest[:19], address: address, path: filepath.Join(g.Store, "blobs", "sha256-"+sum), size: l.Size, sha256: sum})
	}
	if !weights {
		return nil, fault.New(fault.Invalid, "this model has no GGUF weights: it is served elsewhere, or made of single tensors")
	}
	return blobs, nil
}
