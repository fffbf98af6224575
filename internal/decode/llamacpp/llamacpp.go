// Package llamacpp runs pairs of GGUF models with llama.cpp. It is the only package that uses cgo, and
// the only one that imports github.com/ollama/ollama: that module's llama package brings llama.cpp
// along and is used for backends, loading weights and tokenising. What it does not bind (contexts with a
// unified cache and their release, logits without a copy, LoRA adapters by context, chat templates) is
// in bridge.c.
//
// llama.cpp ends the process on many errors. Files are therefore checked before it sees them (package
// gguf), and rows of a pass before they are decoded; still, a program that must not die runs this package
// in a child process. With more than one thread for a context, the goroutine that uses it should be
// locked to its operating system thread: OpenMP keeps a team of threads for each thread that calls it.
package llamacpp

/*
#include <stdlib.h>

#include "bridge.h"
*/
import "C"

import (
	"reflect"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ollama/ollama/llama"

	"realign/internal/fault"
)

// start prepares llama.cpp. Backends are looked for in the folders of OLLAMA_LIBRARY_PATH.
var start = sync.OnceFunc(func() {
	C.realign_set_log()
	llama.BackendInit()
})

// loading is held while a model or an adapter is loaded, so that an error that llama.cpp logs meanwhile
// is known to be about that file.
var loading sync.Mutex

// weights is a model's weights in memory. Any number of contexts may use them at once.
type weights struct {
	model *llama.Model
}

func loadWeights(path string, layers int, progress func(float32)) (*weights, error) {
	start()
	loading.Lock()
	defer loading.Unlock()
	log.forget()
	model, err := llama.LoadModelFromFile(path, llama.ModelParams{NumGpuLayers: layers, UseMmap: true, Progress: progress})
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s: llama.cpp cannot load it%s", path, log.reason())
	}
	w := &weights{model: model}
	if !bool(C.llama_model_has_decoder(w.pointer())) || bool(C.llama_model_has_encoder(w.pointer())) || bool(C.llama_model_is_diffusion(w.pointer())) {
		w.Close()
		return nil, fault.New(fault.Invalid, "%s: this kind of model does not continue a text token by token", path)
	}
	return w, nil
}

// pointer is the model as the C functions know it. The llama package keeps it in a field of its own.
func (w *weights) pointer() *C.struct_llama_model {
	return (*C.struct_llama_model)(reflect.ValueOf(w.model).Elem().FieldByName("c").UnsafePointer())
}

func (w *weights) vocabulary() *C.struct_llama_vocab {
	return C.llama_model_get_vocab(w.pointer())
}

// Close frees the weights. Every context on them is closed before.
func (w *weights) Close() {
	if w.model != nil {
		llama.FreeModel(w.model)
		w.model = nil
	}
}

// adapter is a LoRA adapter in memory, for contexts on one model's weights.
type adapter struct {
	pointer *C.struct_llama_adapter_lora
}

func loadAdapter(base *weights, path string) (*adapter, error) {
	loading.Lock()
	defer loading.Unlock()
	log.forget()
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	a := C.llama_adapter_lora_init(base.pointer(), name)
	runtime.KeepAlive(base)
	if a == nil {
		return nil, fault.New(fault.Invalid, "%s: llama.cpp cannot load it%s", path, log.reason())
	}
	return &adapter{a}, nil
}

// Close frees the adapter, before the weights it was loaded for.
func (a *adapter) Close() {
	if a.pointer != nil {
		C.llama_adapter_lora_free(a.pointer)
		a.pointer = nil
	}
}
