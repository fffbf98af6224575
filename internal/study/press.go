package study

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/session"
)

// Outputs keeps what a Press decodes.
type Outputs interface {
	StudiesDecoding(ctx context.Context, instance string) ([]Study, error)
	Study(ctx context.Context, owner, id string) (Study, error)
	StudyPrompts(ctx context.Context, id string) ([]Prompt, error)
	StudyOutputs(ctx context.Context, id string) ([]Output, error)
	SaveStudyOutputs(ctx context.Context, id string, outputs []Output) error
	SetPromptProblem(ctx context.Context, id string, place int, problem string) error
	FinishStudy(ctx context.Context, owner, id string, broken []Output, items []Item, at time.Time) error
}

// PressConfig is what a Press is made of. Zero numbers stand for the defaults.
type PressConfig struct {
	Store    Outputs
	Decoder  session.Decoder
	Instance string
	Now      func() time.Time
	Logger   *slog.Logger

	// Others is how many runs people wait for now. While there are any, the press rests after each request for
	// Yield times as long as it took.
	Others func() int
	Yield  int           // 3: a quarter of the time
	Lanes  int           // of one request; 8
	Tries  int           // of a prompt whose decoding fails, before it is left out; 3
	Wait   time.Duration // before trying again when nothing can be decoded; 5 s
}

// Press decodes the outputs of studies in the background: one request at a time, the λ of one prompt and
// sample as its lanes, so that they share what their histories have in common. What was decoded is saved request
// by request, and a press that starts goes on where another was stopped.
type Press struct {
	PressConfig
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // one place
	done   chan struct{} // closed when the loop has ended
	start  sync.Once

	mu      sync.Mutex // guards what follows
	study   string     // whose outputs are being decoded
	job     session.Job
	trouble map[string]string // by study: why it waits
}

// NewPress makes a press; Start starts it.
func NewPress(c PressConfig) *Press {
	for p, n := range map[*int]int{&c.Yield: 3, &c.Lanes: 8, &c.Tries: 3} {
		if *p == 0 {
			*p = n
		}
	}
	if c.Wait == 0 {
		c.Wait = 5 * time.Second
	}
	if c.Others == nil {
		c.Others = func() int { return 0 }
	}
	p := &Press{PressConfig: c, wake: make(chan struct{}, 1), done: make(chan struct{}), trouble: map[string]string{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Start begins to decode whatever studies are Decoding.
func (p *Press) Start() { p.start.Do(func() { go p.loop() }) }

// Close stops a request in flight, which is decoded again after a start, and waits. It is safe to call twice, and
// before Start.
func (p *Press) Close() error {
	p.cancel()
	p.start.Do(func() { close(p.done) })
	p.Stop("")
	<-p.done
	return nil
}

// Wake tells that a study has become Decoding.
func (p *Press) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Stop ends the request in flight if it is of this study, or of any for "".
func (p *Press) Stop(id string) {
	p.mu.Lock()
	job := p.job
	if id != "" && p.study != id {
		job = nil
	}
	p.mu.Unlock()
	if job != nil {
		_ = job.Stop(-1) // a job that cannot be stopped is over
	}
}

// Trouble is why a study's decoding waits; "" while it goes on.
func (p *Press) Trouble(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trouble[id]
}

func (p *Press) loop() {
	defer close(p.done)
	for p.ctx.Err() == nil {
		studies, err := p.Store.StudiesDecoding(p.ctx, p.Instance)
		if err != nil {
			p.complain("", err)
		}
		stuck := err != nil
		for i := range studies {
			if err := p.print(&studies[i]); err != nil {
				stuck = true
				p.complain(studies[i].ID, err)
			}
		}
		var again <-chan time.Time
		if stuck {
			again = time.After(p.Wait)
		} else if len(studies) > 0 {
			continue // others may have come meanwhile
		}
		select {
		case <-p.ctx.Done():
		case <-p.wake:
		case <-again:
		}
	}
}

func (p *Press) complain(id string, err error) {
	if p.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	told := fault.Of(err).Message
	news := p.trouble[id] != told
	p.trouble[id] = told
	p.mu.Unlock()
	if news {
		p.Logger.Warn("the outputs of a study wait", "study", id, "error", err)
	}
}

// batch is some outputs of one prompt and sample.
type batch struct {
	prompt  *Prompt
	outputs []Output
}

// print decodes what a study lacks. It returns nil when the study is ready, or no longer to be decoded, and
// an error when it has to wait.
func (p *Press) print(s *Study) error {
	prompts, err := p.Store.StudyPrompts(p.ctx, s.ID)
	if err != nil {
		return err
	}
	outputs, err := p.Store.StudyOutputs(p.ctx, s.ID)
	if err != nil {
		return err
	}
	for _, b := range p.batches(prompts, outputs) {
		if b.prompt.Problem != "" {
			continue // since an earlier batch
		}
		now, err := p.Store.Study(p.ctx, s.Owner, s.ID)
		if gone(err) || err == nil && now.Status != Decoding {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.batch(s, b); err != nil {
			return err
		}
		p.mu.Lock()
		delete(p.trouble, s.ID)
		p.mu.Unlock()
	}
	// Anew, since what this has read may have been decoded in part by an earlier request.
	if prompts, err = p.Store.StudyPrompts(p.ctx, s.ID); err != nil {
		return err
	}
	if outputs, err = p.Store.StudyOutputs(p.ctx, s.ID); err != nil {
		return err
	}
	if len(p.batches(prompts, outputs)) > 0 {
		return nil // it was halted, and goes on again
	}
	items, broken := s.Setup.Items(prompts, outputs)
	err = p.Store.FinishStudy(p.ctx, s.Owner, s.ID, broken, items, p.Now().UTC().Truncate(time.Microsecond))
	if gone(err) || fault.KindOf(err) == fault.Conflict {
		return nil // it was halted or deleted at the last moment
	}
	return err
}

// batches are the requests that a study lacks.
func (p *Press) batches(prompts []Prompt, outputs []Output) []batch {
	type key struct{ prompt, sample int }
	var batches []batch
	last := map[key]int{}
	for _, o := range outputs {
		if o.Done || o.Broken || prompts[o.Prompt-1].Problem != "" {
			continue
		}
		k := key{o.Prompt, o.Sample}
		i, ok := last[k]
		if !ok || len(batches[i].outputs) == p.Lanes {
			i = len(batches)
			last[k] = i
			batches = append(batches, batch{prompt: &prompts[o.Prompt-1]})
		}
		batches[i].outputs = append(batches[i].outputs, o)
	}
	return batches
}

// batch decodes and saves one batch, and rests. A prompt that cannot be decoded gets its problem noted; other
// errors mean that nothing can be now.
func (p *Press) batch(s *Study, b batch) error {
	began := time.Now()
	for try := 1; ; try++ {
		lanes, err := p.decode(s, b)
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		switch f := fault.Of(err); {
		case err == nil:
			for i := range b.outputs {
				o, lane := &b.outputs[i], &lanes[i]
				o.Done, o.Text, o.Tokens, o.Reason = true, lane.Text, len(lane.Tokens), lane.Reason
			}
			if err := p.Store.SaveStudyOutputs(p.ctx, s.ID, b.outputs); err != nil {
				return err
			}
		case err == errCancelled:
			return nil // the study is looked at again
		case f.Kind == fault.Invalid && f.Field == "prompt":
			return p.giveUp(s, b.prompt, f.Message)
		case f.Kind == fault.Internal && try < p.Tries:
			continue
		case f.Kind == fault.Internal:
			return p.giveUp(s, b.prompt, "it could not be decoded: "+f.Message)
		default:
			return err
		}
		break
	}
	if p.Others() > 0 {
		p.rest(time.Duration(p.Yield) * time.Since(began))
	}
	return nil
}

func (p *Press) giveUp(s *Study, prompt *Prompt, problem string) error {
	prompt.Problem = problem
	err := p.Store.SetPromptProblem(p.ctx, s.ID, prompt.Place, problem)
	if gone(err) {
		return nil
	}
	return err
}

func (p *Press) rest(d time.Duration) {
	select {
	case <-p.ctx.Done():
	case <-time.After(min(d, time.Minute)):
	}
}

var errCancelled = fault.New(fault.Conflict, "it was stopped")

// decode decodes a batch. Its lanes are in the order of its outputs.
func (p *Press) decode(s *Study, b batch) ([]session.Lane, error) {
	spec := s.Setup.spec(b.prompt)
	for i, o := range b.outputs {
		spec.Lanes = append(spec.Lanes, decode.Lane{Index: i, Lambda: decode.Vector{o.Lambda}, Sample: o.Sample})
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	request := spec.Request("study-"+s.ID, spec.Lanes)
	request.Owner, request.Trace = s.Owner, decode.Trace{Off: true}
	t := session.NewTranscript(&spec)
	var mu sync.Mutex // guards t; the sink is called by the decoder
	job, err := p.Decoder.Decode(p.ctx, s.Setup.Pair, request, func(e decode.Event) {
		mu.Lock()
		defer mu.Unlock()
		t.Apply(e)
	})
	if err != nil {
		return nil, err
	}
	p.hold(s.ID, job)
	defer p.hold("", nil)
	select {
	case <-job.Done():
	case <-p.ctx.Done():
		_ = job.Stop(-1)
		<-job.Done()
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range t.Lanes {
		switch lane := &t.Lanes[i]; {
		case lane.Error != nil:
			return nil, &fault.Error{Kind: fault.Kind(lane.Error.Code), Message: lane.Error.Message, Field: field(lane.Error.Code)}
		case lane.Reason == decode.EndCancelled:
			return nil, errCancelled
		case !lane.Ended():
			return nil, fault.New(fault.Unavailable, "the decoder stopped before the end")
		}
	}
	return t.Lanes, nil
}

// field is what a lane that ended as invalid is about: once it was taken, only the prompt can be.
func field(code string) string {
	if fault.Kind(code) == fault.Invalid {
		return "prompt"
	}
	return ""
}

func (p *Press) hold(study string, job session.Job) {
	p.mu.Lock()
	p.study, p.job = study, job
	p.mu.Unlock()
}
