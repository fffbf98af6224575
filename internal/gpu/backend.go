package gpu

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// BackendVariable is the environment variable that says in which folders llama.cpp looks for backends.
const BackendVariable = "OLLAMA_LIBRARY_PATH"

// backendFolder is part of the path of every folder that llama.cpp as packaged looks into.
var backendFolder = filepath.Join("lib", "ollama")

// backendKinds are the kinds of backends by how their folders' names begin, those to be preferred first: a card that several know is best
// used by its maker's. Of one kind, one folder is used.
var backendKinds = []string{"cuda", "rocm", "hip", "vulkan"}

// BackendFolders lists the folders that hold GPU backends. Those that the environment names come alone; otherwise those that
// `make gpu-backend` built beside the program, then those of an installed Ollama, by kind.
func BackendFolders(program string) []string {
	if named, ok := os.LookupEnv(BackendVariable); ok {
		return filepath.SplitList(named)
	}
	var roots []string
	if program != "" {
		beside := filepath.Dir(program)
		roots = append(roots, filepath.Join(beside, "..", "build"), filepath.Join(beside, ".."), beside)
	}
	if ollama := installed(); ollama != "" {
		roots = append(roots, filepath.Join(filepath.Dir(ollama), ".."))
	}
	roots = append(roots, "/usr/local", "/usr")
	return searchRoots(roots)
}

// searchRoots lists the folders of backends below roots, by kind, then in the order of roots, newer versions first.
func searchRoots(roots []string) (folders []string) {
	for _, kind := range backendKinds {
		for _, root := range roots {
			found, _ := filepath.Glob(filepath.Join(root, backendFolder, kind+"*"))
			slices.Reverse(found) // cuda_v13 before cuda_v12
			for _, folder := range found {
				libraries, _ := filepath.Glob(filepath.Join(folder, "libggml-*.so"))
				if len(libraries) > 0 && !slices.Contains(folders, folder) {
					folders = append(folders, folder)
				}
			}
		}
	}
	return folders
}

// installed is the program of an installed Ollama, "" if there is none.
func installed() string {
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		if path, err := filepath.EvalSymlinks(filepath.Join(folder, "ollama")); err == nil && filepath.IsAbs(path) {
			return path
		}
	}
	return ""
}

// UnusableBackend is the error of a probe that ended well and says why there is no device, such as a driver that is not
// installed.
type UnusableBackend string

// Error is why.
func (u UnusableBackend) Error() string { return string(u) }

// ChooseBackend tries folders with probe, which lists the devices of a folder's backend in a process of its own, and returns
// those to load from and their devices. A folder that fails is logged and left out; so are those without devices, and
// those of a kind that was found before.
func ChooseBackend(ctx context.Context, folders []string, log *slog.Logger, probe func(ctx context.Context, folder string) ([]Device, error)) (use []string, devices []Device) {
	found := map[string]bool{}
	for _, folder := range folders {
		kind := kindOf(folder)
		if kind != "" && found[kind] {
			continue
		}
		there, err := probe(ctx, folder)
		switch {
		case errors.As(err, new(UnusableBackend)):
			log.Info("a GPU backend cannot be used here", "folder", folder, "reason", err)
		case err != nil:
			log.Warn("a GPU backend does not work: without it, decoding is on the CPU", "folder", folder, "error", err)
		case len(there) == 0:
			log.Info("a GPU backend finds no device", "folder", folder)
		default:
			use, devices = append(use, folder), append(devices, there...)
			found[kind] = true
		}
	}
	return use, devices
}

// kindOf is which of backendKinds a folder is, "" if none.
func kindOf(folder string) string {
	for _, kind := range backendKinds {
		if strings.HasPrefix(filepath.Base(folder), kind) {
			return kind
		}
	}
	return ""
}
