package reward

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"realign/internal/fault"
	"realign/internal/sandbox"
	"realign/internal/sweep"
)

// Limits of what people write for the rewards that run it.
const (
	maxProgram = 256 << 10       // bytes of parameters: a schema, patterns
	maxTime    = 5 * time.Second // for the answers to one prompt
	maxMemory  = 512 << 20       // bytes
	maxBroken  = 3               // times in a row that a limit is broken, before the reward is given up
)

// confined is a reward that runs what somebody wrote, such as a schema: in a process of its own, with limits of time,
// memory and depth. When the limits were broken a few times in a row it gives up: what it was asked and is asked from then
// on is missing, with the reason.
type confined struct {
	info    Info
	task    task
	process *sandbox.Process

	mu     sync.Mutex // guards what follows
	broken int        // times in a row
	gaveUp error
}

// task is what the process is asked.
type task struct {
	Reward     string
	Parameters json.RawMessage
	Texts      []string // of answers; none only reads the parameters
}

// computations are the rewards that run confined, by name.
func computations() map[string]maker { return map[string]maker{"json": schema(), "pattern": pattern()} }

func init() {
	var last task // the process serves one reward
	var made Reward
	sandbox.Serve("reward", func(q task) ([]sweep.Value, error) {
		if made == nil || last.Reward != q.Reward || string(last.Parameters) != string(q.Parameters) {
			var err error
			if made, err = computations()[q.Reward].make(q.Parameters, Environment{}); err != nil {
				made = nil
				return nil, err
			}
			last = q
		}
		outputs := make([]sweep.Output, len(q.Texts))
		for i, text := range q.Texts {
			outputs[i].Text = text
		}
		return made.Score(context.Background(), make([]sweep.Row, len(outputs)), outputs), nil
	})
}

// confine makes a reward that looks at texts only run confined.
func confine(m maker) maker {
	inner := m
	m.make = func(parameters []byte, _ Environment) (Reward, error) {
		if len(parameters) > maxProgram {
			return nil, fault.Field("", "the parameters are %d bytes long, at most %d", len(parameters), maxProgram)
		}
		if !json.Valid(parameters) {
			return nil, fault.Field("", "the parameters are no JSON, or nested too deep")
		}
		r := &confined{
			info: inner.info, task: task{Reward: inner.info.Name, Parameters: parameters},
			process: sandbox.New("reward", "the reward "+inner.info.Name, sandbox.Limits{Time: maxTime, Memory: maxMemory}),
		}
		return r, nil
	}
	return m
}

func (r *confined) Info() Info { return r.info }

// read has the process read the parameters.
func (r *confined) read(ctx context.Context) error {
	_, err := r.ask(ctx, nil)
	return err
}

// ask judges texts in the process.
func (r *confined) ask(ctx context.Context, texts []string) (values []sweep.Value, err error) {
	q := r.task
	q.Texts = texts
	err = r.process.Call(ctx, q, &values)
	return values, err
}

// trials are answers that a reward has to be able to judge.
var trials = []string{"", "{}", "[]", "0", `"text"`, `{"a":{"b":[{"c":1}]},"x":"y"}`, `[[{"a":1},2,"3",null,true]]`, "A sentence of a few words."}

// Check implements Checker: it tries the reward on a few answers.
func (r *confined) Check(ctx context.Context) error {
	_, err := r.ask(ctx, trials)
	return err
}

// Score implements Reward.
func (r *confined) Score(ctx context.Context, _ []sweep.Row, outputs []sweep.Output) []sweep.Value {
	missing := func(err error) []sweep.Value {
		values := make([]sweep.Value, len(outputs))
		for i := range values {
			values[i] = sweep.Missing("%s", fault.Of(err).Message)
		}
		return values
	}
	if err := r.GaveUp(); err != nil {
		return missing(err)
	}
	texts := make([]string, len(outputs))
	for i := range outputs {
		texts[i] = outputs[i].Text
	}
	values, err := r.ask(ctx, texts)
	switch {
	case ctx.Err() != nil:
		return missing(errStopped)
	case err != nil:
		r.note(err)
		return missing(err)
	}
	r.note(nil)
	return values
}

var errStopped = fault.New(fault.Unavailable, "stopped before it was judged")

// note counts calls that broke a limit.
func (r *confined) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || fault.KindOf(err) != fault.Invalid {
		r.broken = 0
		return
	}
	if r.broken++; r.broken >= maxBroken && r.gaveUp == nil {
		r.gaveUp = fault.New(fault.Invalid, "given up after %d tries: %s", r.broken, fault.Of(err).Message)
	}
}

// GaveUp implements Quitter.
func (r *confined) GaveUp() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gaveUp
}

// Quitter is a reward that may give up, because what it runs breaks its limits again and again.
type Quitter interface {
	// GaveUp is why, nil as long as it works.
	GaveUp() error
}

// GaveUp is why all rewards gave up, nil as long as one of them works.
func GaveUp(rewards []Named) error {
	var all error
	for _, r := range rewards {
		q, ok := r.Reward.(Quitter)
		if !ok || q.GaveUp() == nil {
			return nil
		}
		all = errors.Join(all, within("rewards."+r.Name, q.GaveUp()))
	}
	if all == nil {
		return nil
	}
	return fault.New(fault.Invalid, "no reward works any more: %v", all)
}
