// Command realign lets people see, choose and justify how strongly a language model is aligned, by decoding
// with a reference and an aligned model at once. This package holds flags and wiring only.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	program, err := os.Executable()
	if err != nil {
		program = "" // converts in this process
	}
	code := Run(ctx, os.Args[1:], env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: isTerminal(os.Stdout), open: openModels, try: tryApart(), checkVocabularies: checkVocabulariesApart(), engine: engineVersion, gpu: gpus(), kernel: kernel(), cpuKernels: cpuKernels(),
		program: program, quantize: quantize(),
	})
	stop()
	os.Exit(code)
}

// isTerminal reports whether a file is a terminal.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
