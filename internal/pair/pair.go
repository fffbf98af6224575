// Package pair knows which pairs of models exist, where their files are and whether the files fit
// together. It reads manifests and the heads of model files; it never loads weights.
package pair

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gpu"
)

// Pair is a reference model and the models aligned from it, as its manifest describes them. Parse or Load makes it; after
// that it is only read, by any goroutine.
type Pair struct {
	Name        string    `json:"name"`                  // unique in a library
	Title       string    `json:"title,omitempty"`       // as pages show it; Label is it or the name
	Description string    `json:"description,omitempty"` // for people
	Licence     string    `json:"licence,omitempty"`     // of the weights
	Reference   Reference `json:"reference"`             // the model at λ = 0
	Aligned     []Aligned `json:"aligned"`               // the default first

	// Sampling is what runs start from, as the models' authors recommend. A manifest states what differs from
	// decode.DefaultSampling.
	Sampling decode.Sampling `json:"sampling,omitzero"`

	// Template stands in place of the models' chat template: a file, or the name of a template that llama.cpp knows. What it is
	// told beside a conversation are TemplateVariables.
	Template          string         `json:"template,omitempty"`
	TemplateVariables map[string]any `json:"template_variables,omitempty"`

	// Contrast in a manifest stands for one aligned model: the reference with this beyond its prompt.
	Contrast *decode.Contrast `json:"contrast,omitempty"`

	Dir string `json:"-"` // folder of the manifest
}

// Reference is the model at λ = 0.
type Reference struct {
	Name   string `json:"name,omitempty"`   // not used to find it: its role is RoleReference
	Title  string `json:"title,omitempty"`  // as pages show it
	File   string `json:"file"`             // a path, relative to the manifest's folder or absolute
	SHA256 string `json:"sha256,omitempty"` // of the file, in hexadecimal; "" is not checked

	// Install is the command that puts the file in place, for a pair whose reference is too large to come
	// with its manifest.
	Install string `json:"install,omitempty"`
}

// Aligned is a model at λ = 1: a LoRA adapter on the reference's weights, weights of its own, the reference with another prompt, or,
// with an untuned model, the reference and what tuning changed in that one.
type Aligned struct {
	Name        string `json:"name"`            // unique in the pair
	Title       string `json:"title,omitempty"` // as pages show it; Label is it or the name
	Description string `json:"description,omitempty"`

	// Exactly one of the three is set.
	Adapter  string           `json:"adapter,omitempty"`  // path of a LoRA adapter for the reference
	File     string           `json:"file,omitempty"`     // path of a whole model
	Contrast *decode.Contrast `json:"contrast,omitempty"` // what the reference is told beyond its prompt

	// Untuned makes it a proxy: File is what this model was tuned to, both with the reference's tokenizer.
	Untuned       string `json:"untuned,omitempty"`
	UntunedSHA256 string `json:"untuned_sha256,omitempty"`

	SHA256  string  `json:"sha256,omitempty"`  // of the adapter or the file, in hexadecimal; "" is not checked
	Scale   float64 `json:"scale,omitempty"`   // of an adapter: multiplies its strength; 0 is 1
	Beta    float64 `json:"beta,omitempty"`    // KL strength it was trained with; 0 is unknown
	Reward  string  `json:"reward,omitempty"`  // what it was trained for
	Default bool    `json:"default,omitempty"` // moved to the front by Parse
}

// File is one file of a pair.
type File struct {
	Role    string  // "reference", or the aligned model's name, or that with "/untuned" for the untuned model of a proxy
	Path    string  // absolute, or relative to where the program runs
	Adapter bool    // it is a LoRA adapter, not a model
	Scale   float64 // of an adapter's strength; 0 is 1
	SHA256  string  // as the manifest states it; may be empty
}

// RoleReference is the File.Role of the reference model, and a name no aligned model may have.
const RoleReference = "reference"

// State is what a pair's worker is doing.
type State string

// The states. A worker goes from Idle or Restarting over Starting and Loading to Ready.
const (
	Idle       State = "idle"          // nobody asked for it yet
	Starting   State = "starting"      // its process was started
	Loading    State = "loading"       // it reads its models
	Ready      State = "ready"         // it decodes
	Restarting State = "restarting"    // it died and is about to be started again
	Failed     State = "failed"        // it cannot be loaded: Message says why
	Absent     State = "not installed" // its reference is not on this machine: Message says how to get it
)

// Status is the state of one pair's worker, as pages show it.
type Status struct {
	Name     string  `json:"name"`     // of the pair
	State    State   `json:"state"`    // what the worker is doing
	Progress float64 `json:"progress"` // of loading, from 0 to 1
	Message  string  `json:"message"`  // the last error, if any
	Restarts int     `json:"restarts"` // since the server started

	Placement []gpu.Placement `json:"-"` // where its models are, once it is ready
}

// name is the form of the names of pairs and aligned models.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckName returns an Invalid error unless s can name a pair or an aligned model.
func CheckName(field, s string) error {
	if !name.MatchString(s) {
		return fault.Field(field, "%.80q is not a name: up to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit", s)
	}
	return nil
}

// Files lists the reference's file, then the aligned models' in order. A contrast has none; a proxy has two.
func (p *Pair) Files() []File {
	files := []File{{Role: RoleReference, Path: p.path(p.Reference.File), SHA256: p.Reference.SHA256}}
	for _, a := range p.Aligned {
		if a.Contrast != nil {
			continue
		}
		file := File{Role: a.Name, Path: p.path(a.File), SHA256: a.SHA256}
		if a.Adapter != "" {
			file.Path, file.Adapter, file.Scale = p.path(a.Adapter), true, a.Scale
		}
		files = append(files, file)
		if a.Untuned != "" {
			files = append(files, File{Role: a.Name + untunedSuffix, Path: p.path(a.Untuned), SHA256: a.UntunedSHA256})
		}
	}
	return files
}

// Installed is an Unavailable error that names the command to run, if the pair's reference is still to be
// put in place with one. Any other file that is missing is a fault of the pair, found when it is used.
func (p *Pair) Installed() error {
	if p.Reference.Install == "" {
		return nil
	}
	file := p.path(p.Reference.File)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Unavailable, "pair %s is not installed: its reference, %s, is put in place by: %s",
			p.Name, filepath.Base(file), p.Reference.Install)
	}
	return nil
}

// Names lists the aligned models; the first is the default.
func (p *Pair) Names() []string {
	names := make([]string, len(p.Aligned))
	for i, a := range p.Aligned {
		names[i] = a.Name
	}
	return names
}

// Find is the aligned model of that name; "" is the default.
// Any other is NotFound.
func (p *Pair) Find(name string) (Aligned, error) {
	if name == "" {
		return p.Aligned[0], nil
	}
	for _, a := range p.Aligned {
		if a.Name == name {
			return a, nil
		}
	}
	return Aligned{}, fault.New(fault.NotFound, "pair %s has no aligned model %.80q", p.Name, name)
}

// Label is the title, or the name where there is none.
func (p *Pair) Label() string {
	if p.Title != "" {
		return p.Title
	}
	return p.Name
}

// path resolves a file named in the manifest.
func (p *Pair) path(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(p.Dir, filepath.FromSlash(file))
}
