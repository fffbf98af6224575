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
	info    Info             // of the registry
	task    task             // what is asked each time, without texts
	process *sandbox.Process // is started when it is asked, and ends by itself when it was not asked for a while

	mu     sync.Mutex // guards what follows
	broken int        // times in a row
	gaveUp error      // why, nil as long as it works
}

// task is what the process is asked.
type task struct {
	Reward     string          // its name in the registry
	Parameters json.RawMessage // as the configuration has them
	Texts      []string        // of answers; none only reads the parameters
}

// The child process makes a reward when it is first asked for, and again when its parameters are others.
func init() {
	var last task // the process serves one reward
	var made Reward
	sandbox.Serve("reward", func(q task) ([]sweep.Value, error) {
		if made == nil || last.Reward != q.Reward || string(last.Parameters) != string(q.Parameters) {
			inside := insideOf(q.Reward)
			if inside == nil {
				return nil, fault.New(fault.Internal, "the reward %q does not run confined", q.Reward)
			}
			var err error
			if made, err = inside(q.Parameters, Environment{}); err != nil {
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

// insideOf makes the reward of a name in the process that it is confined to; nil for one that is not confined.
func insideOf(name string) func(parameters []byte, e Environment) (Reward, error) {
	for _, m := range registry() {
		if m.info.Name == name {
			return m.inside
		}
	}
	return nil
}

// confine returns m with its rewards run in a process of their own. They may look at texts only.
func confine(m maker) maker {
	m.inside = m.make
	m.make = func(parameters []byte, _ Environment) (Reward, error) {
		if len(parameters) > maxProgram {
			return nil, fault.Field("", "the parameters are %d bytes long, at most %d", len(parameters), maxProgram)
		}
		if !json.Valid(parameters) {
			return nil, fault.Field("", "the parameters are no JSON, or nested too deep")
		}
		r := &confined{
			info: m.info, task: task{Reward: m.info.Name, Parameters: parameters},
			process: sandbox.New("reward", "the reward "+m.info.Name, sandbox.Limits{Time: maxTime, Memory: maxMemory}),
		}
		return r, nil
	}
	return m
}

// Info implements Reward.
func (r *confined) Info() Info { return r.info }

// read implements reader: the process reads the parameters.
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

// sampleTexts are answers that a reward has to be able to judge.
var sampleTexts = []string{"", "{}", "[]", "0", `"text"`, `{"a":{"b":[{"c":1}]},"x":"y"}`, `[[{"a":1},2,"3",null,true]]`, "A sentence of a few words."}

// Check implements Checker: it tries the reward on a few answers.
func (r *confined) Check(ctx context.Context) error {
	_, err := r.ask(ctx, sampleTexts)
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

// errStopped is why values are missing when a context has ended.
var errStopped = fault.New(fault.Unavailable, "stopped before it was judged")

// note counts calls that broke a limit: the sandbox answers Invalid when one was broken or the process died.
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

// GaveUp implements quitter.
func (r *confined) GaveUp() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gaveUp
}

// quitter is a reward that may give up, because what it runs breaks its limits again and again.
type quitter interface {
	// GaveUp is why, nil as long as it works.
	GaveUp() error
}

// AllGaveUp is why all rewards gave up, nil as long as one of them works.
func AllGaveUp(rewards []Named) error {
	var all error
	for _, r := range rewards {
		q, ok := r.Reward.(quitter)
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
