// Package llamacpp runs pairs of GGUF models with llama.cpp. It and the packages below it are the only ones that use cgo and
// import github.com/ollama/ollama: that module's llama package brings llama.cpp
// along and is used for backends, loading weights and tokenising. What it does not bind (contexts with a
// unified cache and their release, logits without a copy, LoRA adapters by context, chat templates) is
// in bridge.c.
//
// llama.cpp ends the process on many errors. Files are therefore checked before it sees them (package
// gguf), and rows of a pass before they are decoded; still, a program that must not die runs this package
// in a child process. What ends the process says so in one line on its standard error and exits with Aborted.
package llamacpp

/*
#include <stdlib.h>

#include "bridge.h"
*/
import "C"

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/cgo"
	"sync"
	"unsafe"

	"github.com/ollama/ollama/llama"

	_ "realign/internal/decode/llamacpp/attention" // in the place of ggml's on the CPU
	_ "realign/internal/decode/llamacpp/products"  // likewise
	"realign/internal/fault"
	"realign/internal/gpu"
)

// Aborted is the exit code of a process that llama.cpp ended.
const Aborted = C.REALIGN_ABORTED

// start prepares llama.cpp. GPU backends are looked for in the folders of OLLAMA_LIBRARY_PATH; why some cannot be used is
// the error.
var start = sync.OnceValue(func() (err error) {
	C.realign_set_log()
	C.realign_guard()
	for _, folder := range filepath.SplitList(os.Getenv("OLLAMA_LIBRARY_PATH")) {
		err = errors.Join(err, openLibraries(folder))
	}
	llama.BackendInit()
	return err
})

// loading is held while a model or an adapter is loaded, so that an error that llama.cpp logs meanwhile
// is known to be about that file.
var loading sync.Mutex

// weights is a model's weights in memory. Any number of contexts may use them at once.
// They belong to one pair, which closes them after all contexts on them.
type weights struct {
	model *llama.Model

	source int     // tokens of the longest source that an encoder–decoder model's encoder reads; 0 for other models
	scale  float32 // that the logits of a graph are multiplied by: see logitScale
}

// loadWeights loads a model with its last layers on devices, if any.
func loadWeights(path string, on gpu.Model, progress func(float32)) (*weights, error) {
	_ = start() // what cannot be used is told by Devices
	loading.Lock()
	defer loading.Unlock()
	log.forget()
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	// One more than there are, so that there is a first.
	devices, split := make([]*C.char, len(on.Devices)+1), make([]C.float, len(on.Devices)+1)
	var pinned runtime.Pinner
	defer pinned.Unpin()
	for i, d := range on.Devices {
		devices[i], split[i] = C.CString(d.Name), C.float(on.Split[i])
		defer C.free(unsafe.Pointer(devices[i]))
	}
	pinned.Pin(&devices[0])
	var handle cgo.Handle
	if progress != nil {
		handle = cgo.NewHandle(progress)
		defer handle.Delete()
	}
	pointer := C.realign_load(name, &devices[0], C.int32_t(len(on.Devices)), C.int32_t(on.Count), &split[0], C.uintptr_t(handle))
	if pointer == nil {
		return nil, fault.New(fault.Invalid, "%s: llama.cpp cannot load it%s", path, log.reason())
	}
	model := new(llama.Model)
	*(*unsafe.Pointer)(unsafe.Pointer(modelField(model).UnsafeAddr())) = unsafe.Pointer(pointer)
	w := &weights{model: model, scale: 1}
	if !bool(C.llama_model_has_decoder(w.pointer())) || bool(C.llama_model_is_diffusion(w.pointer())) {
		w.Close()
		return nil, fault.New(fault.Invalid, "%s: this kind of model does not continue a text token by token", path)
	}
	if bool(C.llama_model_has_encoder(w.pointer())) {
		if err := w.findEncoder(path); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

// pointer is the model as the C functions know it.
func (w *weights) pointer() *C.struct_llama_model {
	return (*C.struct_llama_model)(modelField(w.model).UnsafePointer())
}

// makeRoom makes room for so many adapters at once in contexts that are opened later. It is called once.
func (w *weights) makeRoom(adapters int) { C.realign_make_room(w.pointer(), C.int32_t(adapters)) }

// modelField is where the llama package keeps the pointer to a model: in a field of its own.
func modelField(m *llama.Model) reflect.Value { return reflect.ValueOf(m).Elem().FieldByName("c") }

// realignProgress is called by llama.cpp while it loads a model. handle is of the function that loadWeights was
// given.
//
//export realignProgress
func realignProgress(fraction C.float, handle C.uintptr_t) {
	cgo.Handle(handle).Value().(func(float32))(float32(fraction))
}

// vocabulary is the model's vocabulary as the C functions know it. It ends with the weights.
func (w *weights) vocabulary() *C.struct_llama_vocab {
	return C.llama_model_get_vocab(w.pointer())
}

// metadata is a value of the file's head as llama.cpp writes it, "" where there is none.
func (w *weights) metadata(key string) string {
	name := C.CString(key)
	defer C.free(unsafe.Pointer(name))
	var value [64]C.char
	if C.llama_model_meta_val_str(w.pointer(), name, &value[0], C.size_t(len(value))) < 0 {
		return ""
	}
	return C.GoString(&value[0])
}

// Close frees the weights. Every context on them is closed before.
func (w *weights) Close() {
	if w.model != nil {
		llama.FreeModel(w.model)
		w.model = nil
	}
}

// adapter is a LoRA adapter in memory, for contexts on one model's weights.
// One aligned model owns it and closes it, after the contexts that use it and before the weights.
type adapter struct {
	pointer *C.struct_llama_adapter_lora // nil once closed
	scale   float64                      // multiplies its strength
	place   int                          // of its model in the pair: what adapters add to a product is summed in this order
}

// loadAdapter loads an adapter's file for weights that it was trained on. The error is Invalid and names the file.
func loadAdapter(base *weights, path string) (*adapter, error) {
	loading.Lock()
	defer loading.Unlock()
	log.forget()
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	a := C.realign_load_adapter(base.pointer(), name)
	runtime.KeepAlive(base)
	if a == nil {
		return nil, fault.New(fault.Invalid, "%s: llama.cpp cannot load it%s", path, log.reason())
	}
	return &adapter{pointer: a, scale: 1}, nil
}

// Close frees the adapter, before the weights it was loaded for.
func (a *adapter) Close() {
	if a.pointer != nil {
		C.llama_adapter_lora_free(a.pointer)
		a.pointer = nil
	}
}
