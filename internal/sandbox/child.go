package sandbox

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"realign/internal/fault"
)

// prefix is how the name begins that a sandbox's process is started under; the name of its computation follows.
const prefix = "realign-sandbox:"

// maxStack is the size of a goroutine's stack in a sandbox's process, in bytes: the interpreters' recursion ends there.
const maxStack = 64 << 20

// Serve registers a computation. It is called from a function named init of the package that computes, so that every
// program that links the package, a test's too, can be its own sandbox. In a process that was started for this
// computation it answers calls until the other end is gone, and then ends the process; elsewhere it returns at once.
// An error that answer returns is told as it is.
func Serve[Question, Answer any](name string, answer func(Question) (Answer, error)) {
	if len(os.Args) == 0 || os.Args[0] != prefix+name {
		return
	}
	os.Exit(serve(os.Stdin, os.Stdout, func(data []byte) (any, error) {
		var q Question
		if err := json.Unmarshal(data, &q); err != nil {
			return nil, err
		}
		return answer(q)
	}))
}

// serve answers the questions that come in. They are read beside the work, so that the process ends with its parent.
func serve(in io.Reader, out io.Writer, answer func([]byte) (any, error)) int {
	limit()
	questions := make(chan []byte)
	go func() {
		for {
			data, err := readFrame(in)
			if err != nil {
				os.Exit(0) // the parent is gone
			}
			questions <- data
		}
	}()
	for data := range questions {
		stop := limitTime()
		reply := answered(data, answer)
		stop()
		if err := writeFrame(out, reply); err != nil {
			return 1
		}
	}
	return 0
}

// answered is the frame that answers a question: what answer returns, or the fault.
func answered(question []byte, answer func([]byte) (any, error)) []byte {
	var r reply
	value, err := guarded(question, answer)
	if err == nil {
		r.Answer, err = json.Marshal(value)
	}
	if err != nil {
		r = reply{Fault: told(err)}
	}
	data, err := json.Marshal(r)
	if err != nil || len(data) > maxFrame {
		data, _ = json.Marshal(reply{Fault: fault.New(fault.Invalid, "the result is larger than %d bytes", maxFrame)}) // two texts
	}
	return data
}

// told is an error with all that it says: the message of a fault leaves out its cause.
func told(err error) *fault.Error {
	f := *fault.Of(err)
	if f.Kind == fault.Internal {
		return fault.New(fault.Invalid, "%.1000s", err.Error())
	}
	f.Message = strings.TrimPrefix(fmt.Sprintf("%.1000s", f.Error()), f.Field+": ")
	return &f
}

// guarded turns a panic of an interpreter into an error.
func guarded(question []byte, answer func([]byte) (any, error)) (value any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.New(fault.Invalid, "%.1000s", fmt.Sprint(r))
		}
	}()
	return answer(question)
}

// arguments of a process name the computation and its limits.
func arguments(name string, l Limits) []string {
	return []string{prefix + name, strconv.FormatInt(l.Memory, 10), l.Time.String()}
}

// environment is that of a process: nothing of what the program was given, secrets above all, but what finds
// libraries and folders, and that its threads need not wait for each other, so that it does not begin anew to say how long.
func environment() []string {
	env := []string{"GOTRACEBACK=none", "GOMAXPROCS=2", "OMP_NUM_THREADS=1", "OMP_WAIT_POLICY=passive"}
	for _, key := range []string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "SystemRoot", "TZ"} {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// limitTime ends the process when it has computed for longer than it may, until stop is called.
func limitTime() (stop func()) {
	if len(os.Args) < 3 {
		return func() {}
	}
	most, err := time.ParseDuration(os.Args[2])
	if err != nil || most <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	go watchTime(most, done)
	return func() { close(done) }
}

// limit applies the limits that hold for all calls of the process.
func limit() {
	debug.SetMaxStack(maxStack)
	if len(os.Args) < 2 {
		return
	}
	if memory, err := strconv.ParseInt(os.Args[1], 10, 64); err == nil && memory > 0 {
		debug.SetMemoryLimit(memory / 2)
		limitMemory(memory)
	}
}

// crashLine keeps the line of what a process writes to its standard error that tells why it ended: the first that only a
// dying program writes, since traces follow it, or else the last.
type crashLine struct {
	line []byte // unfinished, cut at maxLine
	why  string // the first of those lines; "" without one
	last string // the last line that is not empty
}

// maxLine is how many bytes of a line are kept.
const maxLine = 1 << 10

// outOfTime is what a process says that ends because it has computed for too long.
const outOfTime = "out of time"

// dying are beginnings of lines that only a dying program writes.
var dying = []string{outOfTime, "realign: ", "fatal error: ", "panic: ", "runtime: goroutine stack", "runtime: out of memory", "runtime: cannot allocate", "SIG"}

// Write takes what the process writes. It never fails.
func (l *crashLine) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		part, after, whole := bytes.Cut(rest, []byte("\n"))
		l.line = append(l.line, part[:min(len(part), maxLine-len(l.line))]...)
		if rest = after; whole {
			l.keepIfFatal()
		}
	}
	return len(b), nil
}

// keepIfFatal ends the unfinished line, and keeps it where it is the first of a dying program.
func (l *crashLine) keepIfFatal() {
	line := strings.TrimSpace(strings.ToValidUTF8(string(l.line), "?"))
	l.line = l.line[:0]
	if line == "" {
		return
	}
	l.last = line
	for _, start := range dying {
		if l.why == "" && strings.HasPrefix(line, start) {
			l.why = line
		}
	}
}

// reason is why a process ended, in words. It is called when the process has ended.
func (l *crashLine) reason(limits Limits) string {
	l.keepIfFatal()
	line := strings.TrimPrefix(cmp.Or(l.why, l.last), "realign: ")
	has := func(word string) bool { return strings.Contains(line, word) }
	switch {
	case line == outOfTime:
		return fmt.Sprintf("took longer than %g s", limits.Time.Seconds())
	case has("stack exceeds"), has("stack overflow"):
		return "goes too deep: a call that calls itself without an end, or too many levels"
	case has("out of memory"), has("cannot allocate"), has("failed to create new OS thread"), line == "" && limits.Memory > 0:
		return fmt.Sprintf("needs more than %d MB of memory", limits.Memory>>20)
	case line == "":
		return "ended its process without a word"
	}
	if rest, ok := strings.CutPrefix(line, "llama.cpp ended the process: "); ok {
		return "was ended by llama.cpp: " + rest
	}
	return fmt.Sprintf("ended its process: %.300s", strings.Join(strings.Fields(line), " "))
}

// writeFrame writes the length of data in 4 bytes, little-endian, and data.
func writeFrame(w io.Writer, data []byte) error {
	_, err := w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

// readFrame reads what writeFrame has written. More than maxFrame bytes are an error.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	data := make([]byte, n)
	_, err := io.ReadFull(r, data)
	return data, err
}
