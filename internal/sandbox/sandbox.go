// Package sandbox runs computations that somebody else wrote, such as chat templates and JSON Schemas, in a process of
// their own: this program once more, started under another name. A computation that takes too long, too much memory or
// too deep a stack ends that process and nothing else. It is no protection against native code: what runs is an
// interpreter of ours.
package sandbox

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"realign/internal/fault"
)

// Limits bound a computation. A zero is no limit.
type Limits struct {
	Time   time.Duration // of the processor, for one call; by the clock it may take patience times as long
	Memory int64         // bytes of the process

	// Environment gives the process the program's environment, which it has none of otherwise: for code of the program's own
	// that may end its process, and not for what somebody else wrote.
	Environment bool
}

// Death is the error of a call whose process ended by itself. It unwraps to an Invalid error with the same words.
type Death struct {
	Code int          // exit code, or -1 after a signal
	why  *fault.Error // Invalid
}

// Error is why the process ended, in words.
func (d *Death) Error() string { return d.why.Error() }
func (d *Death) Unwrap() error { return d.why }

// maxFrame bounds a question and an answer, in bytes.
const maxFrame = 64 << 20

// idle is how long a process waits for another call before it is ended.
const idle = 30 * time.Second

// Process answers calls, one at a time, in a process that is started when it is needed and again after it had to be
// ended. Its methods may be called from any goroutine.
type Process struct {
	name   string // of the computation, as Serve has it
	about  string // what is computed, as errors call it
	limits Limits

	turn chan struct{} // holds one value while nobody uses what follows

	mu      sync.Mutex  // guards what follows
	running *running    // nil when there is no process
	timer   *time.Timer // ends the process after a while in which nothing is asked; nil before the first call
	calls   int         // so far
}

// running is a started process.
type running struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	words *crashLine    // what it writes to its standard error
	ended chan struct{} // closed once it has ended and words is whole
}

// New prepares calls of the computation that is registered by that name (see Serve). about is what errors call it, such
// as "the chat template".
func New(name, about string, limits Limits) *Process {
	p := &Process{name: name, about: about, limits: limits, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// Call asks a question and reads the answer to it. The error is Invalid for a computation that broke a limit or failed,
// and the context's when that ended first: the process is ended then, whatever it was doing.
func (p *Process) Call(ctx context.Context, question, answer any) error {
	data, err := json.Marshal(question)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the question about %s cannot be written", p.about)
	}
	if len(data) > maxFrame {
		return fault.New(fault.Invalid, "%s and its input take %d bytes, at most %d", p.about, len(data), maxFrame)
	}
	if err := p.await(ctx); err != nil {
		return err
	}
	defer func() { p.turn <- struct{}{} }()
	r, err := p.start()
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be computed: no process can be started", p.about)
	}
	got := make(chan result, 1)
	go func() { got <- r.ask(data) }()
	late, stop := p.clock()
	defer stop()
	select {
	case reply := <-got:
		if reply.err != nil {
			return p.died(r)
		}
		p.rest()
		return reply.into(answer, p.about)
	case <-late:
		p.end(r)
		return fault.New(fault.Invalid, "%s took longer than %g s", p.about, (patience * p.limits.Time).Seconds())
	case <-ctx.Done():
		p.end(r)
		return ctx.Err()
	}
}

// await waits until no other call is made, no longer than a call may take.
func (p *Process) await(ctx context.Context) error {
	late, stop := p.clock()
	defer stop()
	select {
	case <-p.turn:
		return nil
	case <-late:
		return fault.New(fault.Busy, "%s is computed for others: try again soon", p.about)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clock runs out when a call has taken too long; it never does without a limit.
func (p *Process) clock() (late <-chan time.Time, stop func() bool) {
	if p.limits.Time <= 0 {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(patience * p.limits.Time)
	return timer.C, timer.Stop
}

// Close ends the process, if there is one. Calls made later start another.
func (p *Process) Close() error {
	p.mu.Lock()
	r := p.running
	p.mu.Unlock()
	if r != nil {
		p.end(r)
	}
	return nil
}

// start finds the process or makes one.
func (p *Process) start() (*running, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	p.calls++
	if p.running != nil {
		return p.running, nil
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &running{cmd: exec.Command(program), words: &crashLine{}, ended: make(chan struct{})}
	r.cmd.Args = arguments(p.name, p.limits)
	if !p.limits.Environment {
		r.cmd.Env = environment()
	}
	r.cmd.Stderr = r.words
	r.cmd.WaitDelay = time.Second
	detach(r.cmd)
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if r.out, err = r.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	p.running = r
	return r, nil
}

// rest ends the process after a while in which nothing is asked.
func (p *Process) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, calls := p.running, p.calls
	p.timer = time.AfterFunc(idle, func() { p.endIf(r, func() bool { return p.calls == calls }) })
}

// end kills a process, unless somebody else does, and waits for its end.
func (p *Process) end(r *running) {
	p.endIf(r, func() bool { return true })
	<-r.ended
}

// endIf ends a process if it is the one that runs and, under the mutex, the condition holds.
func (p *Process) endIf(r *running, condition func() bool) {
	p.mu.Lock()
	if r == nil || p.running != r || !condition() {
		p.mu.Unlock()
		return
	}
	p.running = nil
	p.mu.Unlock()
	_ = r.cmd.Process.Kill() // fails if it has ended, which is what we want
	r.in.Close()
	_ = r.cmd.Wait() // how it ended is known
	close(r.ended)
}

// died says why a process ended by itself: a fatal error of the runtime, which a limit of memory or stack leads to.
func (p *Process) died(r *running) error {
	p.end(r)
	d := &Death{Code: -1, why: fault.New(fault.Invalid, "%s %s", p.about, r.words.reason(p.limits))}
	if r.cmd.ProcessState != nil {
		d.Code = r.cmd.ProcessState.ExitCode()
	}
	return d
}

// result is what came back of a question.
type result struct {
	reply
	err error // the process gave no answer
}

// reply is an answer on its way between the processes.
type reply struct {
	Answer json.RawMessage `json:"answer,omitempty"`
	Fault  *fault.Error    `json:"fault,omitempty"`
}

// ask writes a question and waits for the answer. It is called by one goroutine at a time.
func (r *running) ask(question []byte) (answer result) {
	if answer.err = writeFrame(r.in, question); answer.err != nil {
		return answer
	}
	data, err := readFrame(r.out)
	if err == nil {
		err = json.Unmarshal(data, &answer.reply)
	}
	answer.err = err
	return answer
}

// into reads an answer into answer, or returns the fault that came instead.
func (r result) into(answer any, about string) error {
	if r.Fault != nil {
		return r.Fault
	}
	if err := json.Unmarshal(r.Answer, answer); err != nil {
		return fault.Wrap(err, fault.Internal, "the answer about %s cannot be read", about)
	}
	return nil
}
