// Package gpu knows the graphics processors of a machine: which layers of a pair's models are held on which devices, from the
// memory that is free there and the sizes of the tensors, and in which folders the libraries lie with which llama.cpp uses
// them. Each library is tried in a process of its own before this one opens it, since a broken driver ends the process
// that loads it.
//
// The package loads no model and opens no library itself: devices are told to it, and internal/decode/llamacpp does the rest.
package gpu
