package gpu

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root makes folders of libraries below lib/ollama.
func root(t *testing.T, folders ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range folders {
		path := filepath.Join(dir, "lib", "ollama", folder)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.WriteFile(filepath.Join(path, "libggml-x.so"), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFolders(t *testing.T) {
	built, ollama := root(t, "vulkan"), root(t, "cuda_v12", "cuda_v13", "vulkan", "mlx")
	if err := os.Mkdir(filepath.Join(built, "lib", "ollama", "cuda"), 0o755); err != nil { // nothing in it
		t.Fatal(err)
	}
	var got []string
	for _, folder := range searchRoots([]string{built, ollama, built}) {
		got = append(got, strings.NewReplacer(built, "built", ollama, "ollama").Replace(folder))
	}
	want := []string{"ollama/lib/ollama/cuda_v13", "ollama/lib/ollama/cuda_v12", "built/lib/ollama/vulkan", "ollama/lib/ollama/vulkan"}
	if !slices.Equal(got, want) {
		t.Errorf("folders are %v, want %v", got, want)
	}

	// Beside the program.
	t.Setenv(BackendVariable, "") // so that it is put back
	os.Unsetenv(BackendVariable)
	if got := BackendFolders(filepath.Join(built, "bin", "realign")); len(got) == 0 || got[0] != filepath.Join(built, "lib", "ollama", "vulkan") {
		t.Errorf("beside the program are %v", got)
	}
	// What is named comes alone, and nothing is a name too.
	for _, named := range []string{"/x/lib/ollama/a:/y", ""} {
		t.Setenv(BackendVariable, named)
		if got := BackendFolders(filepath.Join(built, "bin", "realign")); !slices.Equal(got, filepath.SplitList(named)) {
			t.Errorf("named %q are %v", named, got)
		}
	}
}

func TestChoose(t *testing.T) {
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	var tried []string
	use, devices := ChooseBackend(context.Background(), []string{"/a/cuda_v13", "/a/cuda_v12", "/a/cuda", "/a/rocm", "/a/vulkan", "/b/vulkan", "/c/own"}, log,
		func(_ context.Context, folder string) ([]Device, error) {
			tried = append(tried, folder)
			switch folder {
			case "/a/cuda_v13":
				return nil, errors.New("signal: aborted")
			case "/a/rocm":
				return nil, nil
			case "/a/vulkan":
				return nil, UnusableBackend("no libvulkan.so.1")
			}
			return []Device{{Name: folder}}, nil
		})
	if want := []string{"/a/cuda_v12", "/b/vulkan", "/c/own"}; !slices.Equal(use, want) {
		t.Errorf("used are %v, want %v", use, want)
	}
	if want := []string{"/a/cuda_v13", "/a/cuda_v12", "/a/rocm", "/a/vulkan", "/b/vulkan", "/c/own"}; !slices.Equal(tried, want) {
		t.Errorf("tried were %v, want %v", tried, want)
	}
	if len(devices) != 3 || devices[2].Name != "/c/own" {
		t.Errorf("devices are %v", devices)
	}
	for _, want := range []string{"level=WARN", "/a/cuda_v13", "aborted", "CPU", "no libvulkan.so.1"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log %q does not say %q", logged.String(), want)
		}
	}
}
