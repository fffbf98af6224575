package llamacpp

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"realign/internal/decode"
	"realign/internal/gguf/gguftest"
	"realign/internal/gpu"
)

// TestMain is also the process that llama.cpp ends.
func TestMain(m *testing.M) {
	if path := os.Getenv("LLAMACPP_TEST_ENDS"); path != "" {
		slog.SetLogLoggerLevel(slog.LevelError)
		fmt.Println("still alive:", ends(path))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// ends loads a file that was not checked before, makes it empty, and reads a token.
func ends(path string) error {
	w, err := loadWeights(path, gpu.Model{}, nil)
	if err != nil {
		return err
	}
	options, err := small.withDefaults()
	if err != nil {
		return err
	}
	m, err := newModel(w, nil, options)
	if err != nil {
		return err
	}
	return errors.Join(os.Truncate(path, 0), m.Forward([]decode.Row{{Token: 5, Want: true}}))
}

// What ends the process inside llama.cpp is one line and an exit code of its own.
func TestAbort(t *testing.T) {
	for name, change := range map[string]func(*gguftest.File){
		"a file that became shorter": func(*gguftest.File) {},

		"experts":   func(f *gguftest.File) { f.Set("llama.expert_count", uint32(1000)) },
		"alignment": func(f *gguftest.File) { f.Set("general.alignment", uint32(8)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := gguftest.Model(1)
			change(f)
			c := exec.Command(os.Args[0])
			c.Env = append(os.Environ(), "LLAMACPP_TEST_ENDS="+f.Write(t, "model.gguf"))
			var words strings.Builder
			c.Stderr = &words
			_, err := c.Output()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != Aborted {
				t.Errorf("it ended with %v", err)
			}
			if s := words.String(); strings.Count(s, "\n") != 1 || !strings.HasPrefix(s, "realign: llama.cpp ended the process: ") || strings.Contains(s, "/") {
				t.Errorf("it said %q", s)
			}
		})
	}
}
