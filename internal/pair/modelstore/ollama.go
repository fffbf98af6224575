package modelstore

import (
	"io/fs"
	"regexp"
	"strings"
)

// Media types of the layers of Ollama's manifests that matter here.
const (
	ollamaModel   = "application/vnd.ollama.image.model"   // weights as GGUF
	ollamaAdapter = "application/vnd.ollama.image.adapter" // a LoRA adapter as GGUF
	ollamaTensor  = "application/vnd.ollama.image.tensor"  // one tensor of a model that is not GGUF
)

// ollamaManifest is a manifest of Ollama's store, at manifests/HOST/NAMESPACE/MODEL/TAG.
type ollamaManifest struct {
	Layers []struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"` // sha256:HEX of the blob
		From      string `json:"from"`   // the model that the layer was taken from
	} `json:"layers"`
}

// blobs are the layers of a type, as paths in the store. A layer whose digest has another form is left out.
func (m *ollamaManifest) blobs(mediaType string) (paths []string) {
	for _, l := range m.Layers {
		if l.MediaType == mediaType && digest.MatchString(l.Digest) {
			paths = append(paths, "blobs/"+strings.Replace(l.Digest, ":", "-", 1))
		}
	}
	return paths
}

// digest is the form of the digests of layers, which become names of files.
var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Where names without a host or namespace are in Ollama's registry.
const (
	OllamaHost      = "registry.ollama.ai"
	OllamaNamespace = "library"
)

// ollamaName is what people call the model of a manifest at manifests/HOST/NAMESPACE/MODEL/TAG: the default host
// and namespace are left out.
func ollamaName(manifest string) string {
	p := strings.Split(strings.TrimPrefix(manifest, "manifests/"), "/")
	tag := p[len(p)-1]
	p = p[:len(p)-1]
	if p[0] == OllamaHost {
		p = p[1:]
		if p[0] == OllamaNamespace {
			p = p[1:]
		}
	}
	return "ollama:" + strings.Join(p, "/") + ":" + tag
}

// ollama adds the models of Ollama's store. A manifest with adapters gives its model and each adapter.
func (s *scan) ollama() {
	err := fs.WalkDir(s.root.FS(), "manifests", func(p string, d fs.DirEntry, err error) error {
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if err != nil || d.IsDir() || strings.Count(p, "/") != 4 || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		var m ollamaManifest
		if err := s.json(p, &m); err != nil {
			s.broken(p, "%v", err)
			return nil
		}
		s.manifest(p, &m)
		return nil
	})
	if err != nil && s.ctx.Err() == nil {
		s.broken("manifests", "%v", err)
	}
}

// manifest adds the model of a manifest at p, and each of its adapters under the model's name and adapterSuffix.
func (s *scan) manifest(p string, m *ollamaManifest) {
	models, adapters := m.blobs(ollamaModel), m.blobs(ollamaAdapter)
	if len(models) == 0 {
		if len(m.blobs(ollamaTensor)) > 0 {
			s.broken(p, "its weights are single tensors, not GGUF: pull it as a GGUF model or as safetensors")
		}
		return // a model of the cloud, or an embedding that llama.cpp has no part in
	}
	name := ollamaName(p)
	before := len(s.listing.Models)
	s.file(models[0], name)
	if len(s.listing.Models) == before {
		return // it is broken, and listed so
	}
	for i, a := range adapters {
		before := len(s.listing.Models)
		s.file(a, name+adapterSuffix(i))
		if len(s.listing.Models) > before {
			s.listing.Models[before].Base = name
		}
	}
}

// adapterSuffix tells the adapters of one manifest from its model.
func adapterSuffix(i int) string {
	if i == 0 {
		return "#adapter"
	}
	return "#adapter" + string(rune('1'+i))
}
