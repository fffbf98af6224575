package fetch

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"realign/internal/fault"
	"realign/internal/pair/modelstore"
)

// Hub is Hugging Face's hub, or one that speaks its protocol, with a folder for what it has: the cache that
// Hugging Face's own tools use, in its layout. It has no state of its own; several goroutines may use it.
type Hub struct {
	Endpoint string // https://huggingface.co where HF_ENDPOINT names no other
	Token    string // HF_TOKEN, for repositories that are private or gated
	Cache    string // models--ORG--NAME/{blobs,refs,snapshots}
	Options
}

// HubFromEnvironment reads HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE and HF_HOME as Hugging Face's tools do. home is the user's
// folder. A token that its login command left is read from there.
func HubFromEnvironment(getenv func(string) string, home string) Hub {
	caches := cmp.Or(getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache"))
	base := cmp.Or(getenv("HF_HOME"), filepath.Join(caches, "huggingface"))
	h := Hub{
		Endpoint: cmp.Or(getenv("HF_ENDPOINT"), "https://huggingface.co"),
		Token:    getenv("HF_TOKEN"),
		Cache:    cmp.Or(getenv("HF_HUB_CACHE"), filepath.Join(base, "hub")),
	}
	if h.Token == "" { // as left by its login command
		if data, err := os.ReadFile(cmp.Or(getenv("HF_TOKEN_PATH"), filepath.Join(base, "token"))); err == nil {
			h.Token = strings.TrimSpace(string(data))
		}
	}
	return h
}

// sibling is a file of a repository.
type sibling struct {
	Name string    `json:"rfilename"` // path in the repository, with slashes
	Size int64     `json:"size"`      // bytes
	ID   string    `json:"blobId"`    // git's SHA-1
	LFS  *struct { // of a large file: its own sum and size instead of git's
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

const maxListing = 16 << 20 // bytes of a repository's list of files

var (
	commitName  = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
	hexadecimal = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
)

// Pull fetches a model of a repository ORG/NAME. want is a file, a word such as Q8_0, or "": the only model there is. What
// is there already is not fetched again. It returns the name under which the model store finds it. Errors are Invalid or
// NotFound with the field repository where nothing or several files fit, Forbidden for a gated repository, a Conflict while
// another program fetches the same, and Unavailable for the network and the disk.
func (h Hub) Pull(ctx context.Context, repository, want string) (name string, err error) {
	if !modelstore.Repository.MatchString(repository) || strings.Contains(repository, "..") {
		return "", fault.Field("repository", "%.200q is not ORG/NAME", repository)
	}
	r := &remote{
		Options: h.Options.fill(), name: "the hub", token: h.Token,
		denied: "the repository " + repository + " is private or gated; accept its terms on its page and set HF_TOKEN to a token of your account",
	}
	base, err := under(h.Endpoint)
	if err != nil {
		return "", err
	}
	if u, err := url.Parse(base); err == nil {
		r.host = u.Host
	}
	// All files are of this commit, also if the branch moves meanwhile.
	commit, files, err := h.list(ctx, r, repository)
	if err != nil {
		return "", err
	}
	chosen, err := choose(repository, files, want)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(h.Cache, "models--"+strings.ReplaceAll(repository, "/", "--"))
	var blobs []blob
	for _, f := range chosen {
		address, err := under(h.Endpoint, append([]string{repository, "resolve", commit}, strings.Split(f.Name, "/")...)...)
		if err != nil {
			return "", err
		}
		b := blob{name: f.Name, address: address, size: f.Size, gitSHA1: f.ID}
		if f.LFS != nil {
			b.size, b.sha256, b.gitSHA1 = f.LFS.Size, f.LFS.SHA256, ""
		}
		sum := b.sha256 + b.gitSHA1
		if !hexadecimal.MatchString(sum) || b.size < 0 {
			return "", fault.New(fault.Unavailable, "the hub states no sum for %.200q", f.Name)
		}
		b.path = filepath.Join(dir, "blobs", sum)
		blobs = append(blobs, b)
	}
	if err := r.fetch(ctx, blobs); err != nil {
		return "", err
	}
	for i, f := range chosen {
		if err := place(dir, commit, f.Name, filepath.Base(blobs[i].path)); err != nil {
			return "", fault.Wrap(err, fault.Unavailable, "%s cannot be put in place", f.Name)
		}
	}
	// The reference to the commit comes last: what it leads to is whole then.
	if err := writeRef(dir, commit); err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "the cache at %s cannot be written", dir)
	}
	name = "hf:" + repository
	if strings.HasSuffix(chosen[0].Name, ".gguf") {
		name += ":" + chosen[0].Name
	}
	return name, nil
}

// list is the newest commit of a repository and its files.
// Files whose path leaves the repository are left out.
func (h Hub) list(ctx context.Context, r *remote, repository string) (commit string, files []sibling, err error) {
	address, err := under(h.Endpoint, "api", "models", repository, "revision", "main")
	if err != nil {
		return "", nil, err
	}
	data, _, err := r.document(ctx, address+"?blobs=true", maxListing, nil)
	if err != nil {
		return "", nil, err
	}
	var listing struct {
		SHA      string    `json:"sha"`
		Siblings []sibling `json:"siblings"`
	}
	if err := json.Unmarshal(data, &listing); err != nil || !commitName.MatchString(listing.SHA) {
		return "", nil, fault.New(fault.Unavailable, "the hub's list of the files of %s cannot be read", repository)
	}
	for _, f := range listing.Siblings {
		if filepath.IsLocal(filepath.FromSlash(f.Name)) && path.Clean(f.Name) == f.Name {
			files = append(files, f)
		}
	}
	return listing.SHA, files, nil
}

// choose picks the files of one model: a GGUF file with all of its parts, or a folder of safetensors, with what
// describes it, or of a PEFT adapter.
func choose(repository string, files []sibling, want string) ([]sibling, error) {
	models := map[string][]sibling{} // by the first part's name
	var names []string
	tensors := false
	for _, f := range files {
		first, ok := modelstore.FirstPart(f.Name)
		if !ok {
			tensors = tensors || strings.HasSuffix(f.Name, ".safetensors") && !strings.Contains(f.Name, "/")
			continue
		}
		if strings.HasPrefix(path.Base(f.Name), "mmproj") {
			continue // a vision projector
		}
		if want == "" || f.Name == want || first == want || strings.EqualFold(modelstore.Quantisation(f.Name), want) {
			if models[first] == nil {
				names = append(names, first)
			}
			models[first] = append(models[first], f)
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 1:
		chosen := models[names[0]]
		slices.SortFunc(chosen, func(a, b sibling) int { return cmp.Compare(a.Name, b.Name) })
		return chosen, nil
	case len(names) > 1:
		return nil, fault.Field("repository", "%s has several models, %s: name one, as in hf:%s:%s", repository, strings.Join(names[:min(len(names), 12)], ", "), repository, cmp.Or(modelstore.Quantisation(names[0]), names[0]))
	case want != "":
		return nil, &fault.Error{Kind: fault.NotFound, Field: "repository", Message: repository + " has no GGUF file that fits " + want}
	case !tensors:
		return nil, &fault.Error{Kind: fault.NotFound, Field: "repository", Message: repository + " has neither GGUF files nor safetensors"}
	}
	var chosen []sibling
	for _, f := range files {
		ending := path.Ext(f.Name)
		if !strings.Contains(f.Name, "/") && slices.Contains([]string{".safetensors", ".json", ".model", ".jinja", ".txt"}, ending) {
			chosen = append(chosen, f)
		}
	}
	return chosen, nil
}

// place makes the link by which the cache finds a file of a commit.
func place(dir, commit, name, blob string) error {
	link := filepath.Join(dir, "snapshots", commit, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	target := filepath.Join(strings.Repeat(".."+string(filepath.Separator), 2+strings.Count(name, "/")), "blobs", blob)
	if exists(link) {
		if there, err := os.Readlink(link); err == nil && there == target {
			return nil
		}
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	return os.Symlink(target, link)
}

// writeRef says which commit main is.
func writeRef(dir, commit string) error {
	refs := filepath.Join(dir, "refs")
	if err := os.MkdirAll(refs, 0o755); err != nil {
		return err
	}
	temp := filepath.Join(refs, ".main.new")
	if err := os.WriteFile(temp, []byte(commit), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(refs, "main"))
}
