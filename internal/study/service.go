package study

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"realign/internal/experiment"
	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/instance"
	"realign/internal/preference"
	"realign/internal/run"
)

// MaxAnnotators is how many may join a study.
const MaxAnnotators = 1000

// Plans keeps studies, their prompts, outputs and items. What does not exist or is somebody else's is NotFound.
type Plans interface {
	// CreateStudy keeps a new study with its prompts, numbered by their place.
	CreateStudy(ctx context.Context, s Study, prompts []Prompt) error
	// ReviseStudy saves the setup and prompts of a draft: Conflict when it is none any more.
	ReviseStudy(ctx context.Context, s Study, prompts []Prompt) error
	// Study is one of an owner's studies.
	Study(ctx context.Context, owner, id string) (Study, error)
	// StudyPrompts are in the order of their places; they have no problem before decoding has ended.
	StudyPrompts(ctx context.Context, id string) ([]Prompt, error)
	// StudyItems are a study's items with how many answers each has; Taken is 0.
	StudyItems(ctx context.Context, id string) ([]ItemProgress, error)
	// StudyTexts are the prompt at a place and outputs with their texts, in the order of ids. One that is not there
	// is Internal.
	StudyTexts(ctx context.Context, id string, place int, outputs []string) (Prompt, []Output, error)
	// SetStudyStatus moves a study on: Conflict where Status.Become does not allow it.
	SetStudyStatus(ctx context.Context, owner, id string, status Status, at time.Time) error

	// BeginStudy fixes the outputs of a draft, and makes the study's experiment unless own is nil: then it was there.
	BeginStudy(ctx context.Context, s Study, own *experiment.Setup, outputs []Output) error
	// StudiesDecoding are the studies, of any owner, that an instance of the server is decoding.
	StudiesDecoding(ctx context.Context, instance string) ([]Study, error)

	// ClaimStudy makes a study, in a status, another instance's; it is a Conflict where it is not in that status, or not from's.
	ClaimStudy(ctx context.Context, id string, status Status, from, to string) error
	// StudyOutputs are a study's outputs by prompt, sample and λ, spoilt ones last.
	StudyOutputs(ctx context.Context, id string) ([]Output, error)

	// FinishStudy adds spoilt outputs and questions, and notes why prompts are left out, by their places.
	FinishStudy(ctx context.Context, owner, id string, problems map[int]string, broken []Output, items []Item, at time.Time) error
	// Experiment is one of an owner's experiments.
	Experiment(ctx context.Context, owner, id string) (experiment.Experiment, error)
	// DeleteStudy removes a study with all that belongs to it; its experiment, too, unless something else is about
	// it.
	DeleteStudy(ctx context.Context, owner, id string) error
}

// Invites keeps the links that annotators join by.
type Invites interface {
	// SetStudyInvite makes the token with this hash the study's link instead of any other; "" revokes it.
	SetStudyInvite(ctx context.Context, owner, id, tokenHash string) error
	// StudyByInvite is the study, of any owner, whose link has the token with this hash.
	StudyByInvite(ctx context.Context, tokenHash string) (Study, error)
	// AddAnnotator keeps an annotator under the hash of their secret: Conflict when the name is taken, or when most
	// have joined already.
	AddAnnotator(ctx context.Context, a Annotator, secretHash string, most int) error
	// AnnotatorBySecret finds an annotator of a study by the hash of their secret.
	AnnotatorBySecret(ctx context.Context, id, secretHash string) (Annotator, error)
}

// Assignments keeps what annotators are asked and what they answer.
type Assignments interface {
	// Had are the items that an annotator has had, with how far each is, and the assignment they have before them.
	Had(ctx context.Context, annotator string) (map[string]State, *Assignment, error)

	// ItemCounts are, of the items that have any, the answers and the places that are taken.
	ItemCounts(ctx context.Context, id string, now time.Time) (map[string]Count, error)

	// AssignedItem is the item of an annotator's assignment.
	AssignedItem(ctx context.Context, annotator, assignment string) (Item, error)
	// Reserve gives an item to an annotator; the assignment gets its place. Conflict when the study is not open,
	// the item's places are taken, or the annotator has a question, or had this one.
	Reserve(ctx context.Context, a Assignment, overlap int) (Assignment, error)
	// Settle saves what an annotator said of an assignment, whose state is Answered or Skipped. Saying the same
	// again changes nothing; something else is a Conflict, as is an assignment that was taken back, and one that
	// ran out when others have taken its place.
	Settle(ctx context.Context, a Assignment, overlap int) error
	// Undo takes back an annotator's last answer, the assignment before asked, which is given back, and asks it
	// again as again. Conflict when there is none, no answer, or it was taken back already.
	Undo(ctx context.Context, annotator, asked string, again Assignment, overlap int) (Assignment, error)
	// Ratings are all answers and skips of a study in the order in which they were given.
	Ratings(ctx context.Context, id string) ([]Rating, error)
}

// Store is what a Service saves to.
type Store interface {
	Plans
	Invites
	Assignments
}

// ServiceConfig is what a Service is made of.
type ServiceConfig struct {
	Store     Store                 // of studies and what belongs to them
	Pairs     run.Pairs             // which models there are
	Generator *experiment.Generator // decodes the outputs, which are kept in the same store
	Now       func() time.Time      // the clock; must be set
	Logger    *slog.Logger          // for what goes on in the background; must be set
	Server    instance.Server       // nil: it has no name
	Build     string                // recorded with studies that it decodes
}

// Service is where owners run their studies and annotators are handed questions. All methods may be called by any
// goroutine. Errors are of the kinds of package fault.
// One server has one; other servers may have theirs over the same store.
type Service struct {
	ServiceConfig
	active *activeDesign // which pairs of λ are asked next
	items  *itemCache    // of studies that are rated
}

// NewService makes a service. Close ends what it does in the background.
func NewService(c ServiceConfig) *Service {
	c.Server = instance.Or(c.Server)
	return &Service{ServiceConfig: c, active: newActiveDesign(c.Store, c.Logger), items: newItemCache(c.Store)}
}

// generate has decoded what a study lacks. It goes on in the background.
func (d *Service) generate(ctx context.Context, s *Study) error {
	e, err := d.Store.Experiment(ctx, s.Owner, s.Experiment)
	if err != nil {
		return err
	}
	outputs, err := d.Store.StudyOutputs(ctx, s.ID)
	if err != nil {
		return err
	}
	g := &experimentClient{service: d, study: *s}
	for i := range outputs {
		if !outputs[i].Broken {
			g.wanted = append(g.wanted, outputs[i].Cell())
		}
	}
	slices.SortFunc(g.wanted, experiment.Cell.Compare)
	return d.Generator.Start(experiment.Job{ID: s.ID, Experiment: s.Experiment, Setup: &e.Setup, Client: g})
}

// Progress is how far the decoding of a study is; false while it is not decoded here.
func (d *Service) Progress(id string) (experiment.Progress, bool) {
	p, _, runs := d.Generator.Watch(id)
	return p, runs
}

// Pace is how many tokens a second answers of a pair were decoded at last; 0 is unknown.
func (d *Service) Pace(pair string) float64 { return d.Generator.Pace(pair) }

// Close waits for what is going on in the background. It is safe to call twice.
func (d *Service) Close() error {
	d.active.close()
	return nil
}

// CreateOver keeps a new draft of a study of an experiment that exists: only what the study asks for and the experiment lacks
// will be decoded. "" is an experiment of its own. beta is the β of the aligned model, if it is known.
func (d *Service) CreateOver(ctx context.Context, owner, over string, setup Setup, prompts []Prompt, beta float64) (Study, error) {
	now := d.now()
	s := Study{
		ID: id.New(), Owner: owner, Experiment: over, Setup: setup, Status: Draft, Beta: beta, CreatedAt: now, UpdatedAt: now,
	}
	if err := d.check(ctx, &s, prompts); err != nil {
		return Study{}, err
	}
	return s, d.Store.CreateStudy(ctx, s, prompts)
}

// Revise replaces a draft's setup and prompts.
func (d *Service) Revise(ctx context.Context, owner, id string, setup Setup, prompts []Prompt, beta float64) error {
	s, err := d.Store.Study(ctx, owner, id)
	if err != nil {
		return err
	}
	if s.Status != Draft {
		return fault.New(fault.Conflict, "the study is %s: its setup is fixed", s.Status)
	}
	s.Setup, s.Beta, s.UpdatedAt = setup, beta, d.now()
	if err := d.check(ctx, &s, prompts); err != nil {
		return err
	}
	return d.Store.ReviseStudy(ctx, s, prompts)
}

// check completes and checks a study before it is saved: names of models, files and build are filled in.
func (d *Service) check(ctx context.Context, s *Study, prompts []Prompt) error {
	if err := s.Setup.Validate(); err != nil {
		return err
	}
	var aligned []string
	if s.Setup.Aligned != "" {
		aligned = []string{s.Setup.Aligned}
	}
	names, files, err := d.Pairs.Models(ctx, s.Setup.Pair, aligned)
	if err != nil {
		return err
	}
	s.Setup.Aligned, s.Files, s.Build = names[0], files, d.Build
	if err := s.Setup.CheckPrompts(prompts); err != nil || s.Experiment == "" {
		return err
	}
	_, err = d.outputs(ctx, s, prompts)
	return err
}

// outputs are those that a study asks for of an experiment that exists.
func (d *Service) outputs(ctx context.Context, s *Study, prompts []Prompt) ([]Output, error) {
	e, err := d.Store.Experiment(ctx, s.Owner, s.Experiment)
	if err != nil {
		return nil, err
	}
	return s.Setup.OutputsOf(&e.Setup, prompts)
}

// Begin begins to decode a draft.
func (d *Service) Begin(ctx context.Context, owner, id string) error {
	s, err := d.Store.Study(ctx, owner, id)
	if err != nil {
		return err
	}
	if err := s.Status.Become(Decoding); err != nil {
		return err
	}
	if s.Status == Draft {
		prompts, err := d.Store.StudyPrompts(ctx, id)
		if err != nil {
			return err
		}
		if err := d.check(ctx, &s, prompts); err != nil {
			return err
		}
		if err := d.begin(ctx, &s, prompts); err != nil {
			return err
		}
	} else {
		if err := d.claim(ctx, &s); err != nil {
			return err
		}
		if err := d.Store.SetStudyStatus(ctx, owner, id, Decoding, d.now()); err != nil {
			return err
		}
	}
	return d.generate(ctx, &s)
}

// begin fixes what a draft has decoded.
func (d *Service) begin(ctx context.Context, s *Study, prompts []Prompt) error {
	s.Instance, s.UpdatedAt, s.Setup.Secret = d.Server.Name(), d.now(), NewSecret()
	if s.Experiment != "" {
		outputs, err := d.outputs(ctx, s, prompts)
		if err != nil {
			return err
		}
		return d.Store.BeginStudy(ctx, *s, nil, outputs)
	}
	s.Experiment = s.ID
	own := s.Setup.Experiment(prompts)
	own.Rendering = own.Rendering.At(d.now())
	return d.Store.BeginStudy(ctx, *s, &own, s.Setup.Outputs(prompts))
}

// Move changes the status of a study: it halts its decoding, opens it for annotators, pauses or closes it.
func (d *Service) Move(ctx context.Context, owner, id string, to Status) error {
	switch to {
	case Decoding:
		return d.Begin(ctx, owner, id)
	case Halted, Open, Paused, Closed:
	default:
		return fault.Field("status", "%.20q is none that a study can be moved to", string(to))
	}
	if to == Open {
		if err := d.askable(ctx, owner, id); err != nil {
			return err
		}
	}
	if err := d.Store.SetStudyStatus(ctx, owner, id, to, d.now()); err != nil {
		return err
	}
	if to == Halted {
		return d.Generator.Pause(ctx, id)
	}
	return nil
}

// askable is Conflict when there is nothing to ask.
func (d *Service) askable(ctx context.Context, owner, id string) error {
	s, err := d.Store.Study(ctx, owner, id)
	if err != nil {
		return err
	}
	if err := s.Status.Become(Open); err != nil {
		return err
	}
	items, err := d.Store.StudyItems(ctx, id)
	if err != nil {
		return err
	}
	for _, it := range items {
		if it.Catch == preference.NoCatch {
			return nil
		}
	}
	return fault.New(fault.Conflict, "there is nothing to ask: every prompt failed, or said the same at every λ")
}

// Delete removes a study with all its ratings.
func (d *Service) Delete(ctx context.Context, owner, id string) error {
	if err := d.Store.DeleteStudy(ctx, owner, id); err != nil {
		return err
	}
	return d.Generator.Cancel(ctx, id)
}

// now is the time as stores keep it, in microseconds.
func (d *Service) now() time.Time { return d.Now().UTC().Truncate(time.Microsecond) }

// gone reports whether an error says that the study or its row is not there any more.
func gone(err error) bool {
	var known *fault.Error
	return errors.As(err, &known) && known.Kind == fault.NotFound
}
