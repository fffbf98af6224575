package llamacpp

/*
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>

#include "bridge.h"
*/
import "C"

import (
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"realign/internal/gpu"
)

// Devices lists the GPUs that the backends in the folders of OLLAMA_LIBRARY_PATH find. The error says why some of these
// cannot be used. A backend that is broken may end the process.
func Devices() ([]gpu.Device, error) {
	unusable := start()
	raw := make([]C.realign_device, 64)
	n := min(int(C.realign_devices(&raw[0], C.int32_t(len(raw)))), len(raw))
	devices := make([]gpu.Device, n)
	for i, d := range raw[:n] {
		devices[i] = gpu.Device{
			Name: C.GoString(d.name), Description: C.GoString(d.description), Backend: C.GoString(d.backend), ID: C.GoString(d.id),
			Integrated: bool(d.integrated), Total: int64(d.total), Free: int64(d.free),
		}
	}
	return devices, unusable
}

// measured is where the layers of a model are now, by the memory that its tensors lie in.
func measured(planned gpu.Placement, w *weights) gpu.Placement {
	raw := make([]C.realign_tensor, 1)
	raw = make([]C.realign_tensor, int(C.realign_tensors(w.pointer(), &raw[0], 0))+1)
	n := int(C.realign_tensors(w.pointer(), &raw[0], C.int32_t(len(raw))))
	const main = "" // the main memory
	bytes := map[string]int64{}
	layers := map[int]map[string]int64{}
	for _, t := range raw[:min(n, len(raw))] {
		name, device := C.GoString(t.name), C.GoString(t.device)
		bytes[device] += int64(t.bytes)
		layer := planned.Layers - 1 // the output layer
		if rest, block := strings.CutPrefix(name, "blk."); block {
			number, _, _ := strings.Cut(rest, ".")
			layer, _ = strconv.Atoi(number)
		} else if !strings.HasPrefix(name, "output") && (name != "token_embd.weight" || device == main) {
			continue // the input layer is always in the main memory; on a device it is a copy, for the output layer
		}
		if layers[layer] == nil {
			layers[layer] = map[string]int64{}
		}
		layers[layer][device] += int64(t.bytes)
	}
	// A layer is where all of it is.
	counts := map[string]int{}
	for _, where := range layers {
		if devices := slices.Collect(maps.Keys(where)); len(devices) == 1 && devices[0] != main {
			counts[devices[0]]++
		}
	}
	p := planned
	p.On, p.Loaded = nil, true
	for _, device := range slices.Sorted(maps.Keys(counts)) {
		p.On = append(p.On, gpu.Share{Device: device, Layers: counts[device], Bytes: bytes[device]})
	}
	return p
}

// openLibraries opens a folder's GPU backends, and before them the libraries they need and that lie in the folder or the
// one above, as in Ollama's, where the system would not look. The error says what cannot be opened: loading
// backends itself says nothing.
func openLibraries(folder string) (err error) {
	if path, err := filepath.Abs(folder); err != nil || !strings.Contains(path, filepath.FromSlash("lib/ollama")) {
		return fmt.Errorf("%s is passed over: there is no lib/ollama in its path", folder)
	}
	backends, _ := filepath.Glob(filepath.Join(folder, "libggml-*.so"))
	for _, path := range backends {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "libggml-base") || strings.HasPrefix(name, "libggml-cpu") {
			continue
		}
		if why := openLibrary(path, []string{folder, filepath.Dir(folder)}, map[string]bool{}); why != "" {
			err = errors.Join(err, errors.New(why)) // which names the library
		}
	}
	return err
}

// openLibrary opens a library and, before it, those that it needs and that lie in one of the folders. seen are the
// names of those that were tried. It returns why the library cannot be opened, or "".
func openLibrary(path string, folders []string, seen map[string]bool) string {
	seen[filepath.Base(path)] = true
	if file, err := elf.Open(path); err == nil {
		needed, _ := file.ImportedLibraries() // what cannot be read is left to the system's loader
		file.Close()
		for _, name := range needed {
			for _, folder := range folders {
				if beside := filepath.Join(folder, name); !seen[name] && exists(beside) {
					openLibrary(beside, folders, seen) // its user's failure says why
				}
			}
		}
	}
	c := C.CString(path)
	defer C.free(unsafe.Pointer(c))
	return C.GoString(C.realign_open_library(c))
}

// exists reports whether there is a file that can be asked about.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
