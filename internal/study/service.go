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
	"realign/internal/preference"
	"realign/internal/run"
)

// MaxAnnotators is how many may join a study.
const MaxAnnotators = 1000

// Plans keeps studies, their prompts, outputs and items. What does not exist or is somebody else's is NotFound.
type Plans interface {
	CreateStudy(ctx context.Context, s Study, prompts []Prompt) error
	ReviseStudy(ctx context.Context, s Study, prompts []Prompt) error
	Study(ctx context.Context, owner, id string) (Study, error)
	StudyPrompts(ctx context.Context, id string) ([]Prompt, error)
	StudyItems(ctx context.Context, id string) ([]ItemProgress, error)
	StudyTexts(ctx context.Context, id string, place int, outputs []string) (Prompt, []Output, error)
	SetStudyStatus(ctx context.Context, owner, id string, status Status, at time.Time) error

	// BeginStudy fixes the outputs of a draft, and makes the study's experiment unless own is nil: then it was there.
	BeginStudy(ctx context.Context, s Study, own *experiment.Setup, outputs []Output) error
	StudiesDecoding(ctx context.Context, instance string) ([]Study, error)
	StudyOutputs(ctx context.Context, id string) ([]Output, error)

	// FinishStudy adds spoilt outputs and questions, and notes why prompts are left out, by their places.
	FinishStudy(ctx context.Context, owner, id string, problems map[int]string, broken []Output, items []Item, at time.Time) error
	Experiment(ctx context.Context, owner, id string) (experiment.Experiment, error)
	DeleteStudy(ctx context.Context, owner, id string) error
}

// Invites keeps the links that annotators join by.
type Invites interface {
	SetStudyInvite(ctx context.Context, owner, id, tokenHash string) error
	StudyByInvite(ctx context.Context, tokenHash string) (Study, error)
	AddAnnotator(ctx context.Context, a Annotator, secretHash string, most int) error
	AnnotatorBySecret(ctx context.Context, id, secretHash string) (Annotator, error)
}

// Assignments keeps what annotators are asked and what they answer.
type Assignments interface {
	// Had are the items that an annotator has had, with how far each is, and the assignment they have before them.
	Had(ctx context.Context, annotator string) (map[string]State, *Assignment, error)

	// ItemCounts are, of the items that have any, the answers and the places that are taken.
	ItemCounts(ctx context.Context, id string, now time.Time) (map[string]Count, error)

	AssignedItem(ctx context.Context, annotator, assignment string) (Item, error)
	Reserve(ctx context.Context, a Assignment, overlap int) (Assignment, error)
	Settle(ctx context.Context, a Assignment, overlap int) error
	Undo(ctx context.Context, annotator, asked string, again Assignment, overlap int) (Assignment, error)
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
	Store     Store
	Pairs     run.Pairs
	Generator *experiment.Generator // decodes the outputs, which are kept in the same store
	Now       func() time.Time
	Logger    *slog.Logger
	Instance  string // name of this server among those that share the store
	Build     string
}

// Service is where owners run their studies and annotators are handed questions. All methods may be called by any
// goroutine. Errors are of the kinds of package fault.
type Service struct {
	ServiceConfig
	active *activeDesign
	items  *itemCache
}

// NewService makes a service. Close ends what it does in the background.
func NewService(c ServiceConfig) *Service {
	return &Service{ServiceConfig: c, active: newActiveDesign(c.Store, c.Logger), items: newItemCache(c.Store)}
}

// Start goes on with the studies that were being decoded when the server was stopped.
func (d *Service) Start(ctx context.Context) error {
	studies, err := d.Store.StudiesDecoding(ctx, d.Instance)
	if err != nil {
		return err
	}
	for i := range studies {
		if err := d.generate(ctx, &studies[i]); err != nil {
			d.Logger.Error("the outputs of a study cannot be decoded", "study", studies[i].ID, "error", err)
		}
	}
	return nil
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

// Close waits for what is going on in the background. It is safe to call twice.
func (d *Service) Close() error {
	d.active.close()
	return nil
}

// Create keeps a new draft. beta is the β of the aligned model, if it is known.
func (d *Service) Create(ctx context.Context, owner string, setup Setup, prompts []Prompt, beta float64) (Study, error) {
	now := d.now()
	s := Study{ID: id.New(), Owner: owner, Setup: setup, Status: Draft, Beta: beta, CreatedAt: now, UpdatedAt: now}
	if err := d.check(ctx, &s, prompts); err != nil {
		return Study{}, err
	}
	return s, d.Store.CreateStudy(ctx, s, prompts)
}

// CreateOver is Create for a study of an experiment that exists: only what the study asks for and the experiment lacks will
// be decoded.
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
	} else if err := d.Store.SetStudyStatus(ctx, owner, id, Decoding, d.now()); err != nil {
		return err
	}
	return d.generate(ctx, &s)
}

// begin fixes what a draft has decoded.
func (d *Service) begin(ctx context.Context, s *Study, prompts []Prompt) error {
	s.Instance, s.UpdatedAt, s.Setup.Secret = d.Instance, d.now(), NewSecret()
	if s.Experiment != "" {
		outputs, err := d.outputs(ctx, s, prompts)
		if err != nil {
			return err
		}
		return d.Store.BeginStudy(ctx, *s, nil, outputs)
	}
	s.Experiment = s.ID
	own := s.Setup.Experiment(prompts)
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

// Invite makes the link that annotators join by, instead of any earlier one, and returns its token: shown here once
// and kept only as a hash.
func (d *Service) Invite(ctx context.Context, owner, studyID string) (string, error) {
	token := id.NewToken()
	return token, d.Store.SetStudyInvite(ctx, owner, studyID, id.Digest([]byte(token)))
}

// Revoke closes the link: it opens nothing any more, for those who have joined neither. A new link lets them in
// again.
func (d *Service) Revoke(ctx context.Context, owner, id string) error {
	return d.Store.SetStudyInvite(ctx, owner, id, "")
}

var errNoInvite = fault.New(fault.NotFound, "there is no study at this address; the invitation may have been withdrawn")

// Enter is the study that an invite's token opens. A wrong token and a revoked one get the same error.
func (d *Service) Enter(ctx context.Context, token string) (Study, error) {
	if len(token) != id.TokenLength {
		return Study{}, errNoInvite
	}
	s, err := d.Store.StudyByInvite(ctx, id.Digest([]byte(token)))
	if fault.KindOf(err) == fault.NotFound {
		return Study{}, errNoInvite
	}
	return s, err
}

// Join adds an annotator and returns the secret by which they are known from then on.
func (d *Service) Join(ctx context.Context, s *Study, name string) (Annotator, string, error) {
	name, err := CleanName(name)
	if err != nil {
		return Annotator{}, "", err
	}
	if s.Status == Closed {
		return Annotator{}, "", s.Status.Rateable()
	}
	a := Annotator{ID: id.New(), Study: s.ID, Name: name, JoinedAt: d.now()}
	secret := id.NewToken()
	return a, secret, d.Store.AddAnnotator(ctx, a, id.Digest([]byte(secret)), MaxAnnotators)
}

// Known is the annotator of a secret; NotFound when it is nobody's.
func (d *Service) Known(ctx context.Context, s *Study, secret string) (Annotator, error) {
	return d.Store.AnnotatorBySecret(ctx, s.ID, id.Digest([]byte(secret)))
}

// Question is what an annotator has before them. Nothing of it but the texts and the assignment's id may reach them.
type Question struct {
	Assignment Assignment
	Kind       Kind
	Prompt     Prompt
	Outputs    []Output // in the order shown
	Progress   Progress
	Number     int  // of this question, from 1: those answered and skipped come before it
	Most       int  // at most so many there will be, as far as others leave them; see bound
	Undo       bool // there is an answer to take back
}

// Finished is a Question without an assignment: there is nothing to ask.
func (q *Question) Finished() bool { return q.Assignment.ID == "" }

// Question is the question that an annotator has before them, or a new one. It is Finished when they have had
// all there is for them. Conflict unless the study is open.
func (d *Service) Question(ctx context.Context, s *Study, annotator string) (Question, error) {
	if err := s.Status.Rateable(); err != nil {
		return Question{}, err
	}
	now := d.now()
	had, asked, err := d.Store.Had(ctx, annotator)
	if err != nil {
		return Question{}, err
	}
	items, err := d.items.of(ctx, s.ID)
	if err != nil {
		return Question{}, err
	}
	counts, err := d.Store.ItemCounts(ctx, s.ID, now)
	if err != nil {
		return Question{}, err
	}
	var q Question
	var candidates []ItemProgress
	pairs := map[preference.Pair]int{}
	scored := map[decodedAt]bool{} // by the annotator
	ordinary, same, broken := 0, 0, 0
	for i := range items {
		if it := &items[i]; it.Kind == AskLikert && it.Catch == preference.NoCatch && had[it.ID] == Answered {
			scored[decodedAt{prompt: it.Prompt, lambda: it.Low}] = true
		}
	}
	for i := range items {
		it, count := &items[i], counts[items[i].ID]
		regular := it.Catch == preference.NoCatch
		switch had[it.ID] {
		case "":
			// A second score of one λ needs the first.
			apart := it.Kind == AskLikert && it.Catch == preference.SameLambda && !scored[decodedAt{prompt: it.Prompt, lambda: it.Low}]
			if !regular && !apart || regular && count.Taken < s.Setup.Overlap {
				candidates = append(candidates, ItemProgress{*it, count})
			}
		case Answered:
			q.Progress.Answered++
		case Skipped:
			q.Progress.Skipped++
		}
		switch {
		case regular && (had[it.ID] != "" || count.Taken < s.Setup.Overlap):
			ordinary++
		case it.Catch == preference.SameLambda:
			same++
		case it.Catch.Spoils():
			broken++
		}
		if had[it.ID] != "" && it.Catch == preference.SameLambda {
			q.Progress.Same++
		}
		if had[it.ID] != "" && it.Catch.Spoils() {
			q.Progress.Broken++
		}
		if regular && it.Kind == AskPairwise {
			pairs[preference.Pair{Low: it.Low, High: it.High}] += count.Answers
		}
		if asked != nil && asked.Item == it.ID {
			q.Assignment = *asked
			if err := d.fill(ctx, s, &q, it); err != nil {
				return q, err
			}
		}
	}
	q.Undo = q.Progress.Answered+q.Progress.Skipped > 0
	q.Number = q.Progress.Answered + q.Progress.Skipped + 1
	q.Most = max(q.Number, s.Setup.bound(ordinary, same, broken, q.Progress.Skipped))
	if !q.Finished() || s.Setup.Cap > 0 && q.Progress.Answered >= s.Setup.Cap {
		return q, nil
	}
	wanted := d.active.wanted(s, pairs)
	for {
		next := s.Setup.Next(annotator, q.Progress, candidates, pairs, wanted)
		if next == nil {
			return q, nil
		}
		q.Assignment, err = d.Store.Reserve(ctx, Assignment{
			ID: id.New(), Study: s.ID, Item: next.ID, Annotator: annotator, Shown: s.Setup.Shown(annotator, &next.Item),
			State: Asked, AskedAt: now, Expires: now.Add(ReserveFor),
		}, s.Setup.Overlap)
		if err == nil {
			err = d.fill(ctx, s, &q, &next.Item)
			return q, err
		}
		q.Assignment = Assignment{}
		if fault.KindOf(err) != fault.Conflict {
			return q, err
		}
		// The study was paused, the same annotator has asked twice at once, or somebody else was faster.
		if err := d.stillOpen(ctx, s); err != nil {
			return q, err
		}
		if had, asked, err = d.Store.Had(ctx, annotator); err != nil || asked != nil {
			if err != nil {
				return q, err
			}
			return d.Question(ctx, s, annotator)
		}
		candidates = slices.DeleteFunc(candidates, func(c ItemProgress) bool { return c.ID == next.ID || had[c.ID] != "" })
	}
}

// bound is how many questions an annotator may get: ordinary ones, had or still to be had, with the catch trials that can
// come among so many. It does not change when one is answered or skipped, whatever it is, so that it tells no catch trial
// from others; it falls when others take places.
func (s *Setup) bound(ordinary, same, broken, skipped int) int {
	most := ordinary
	for range 20 { // each trial may make place for another: at most half as many come each time
		more := ordinary
		for _, trial := range [][2]int{{same, s.SameEvery}, {broken, s.BrokenEvery}} {
			if there, every := trial[0], trial[1]; every > 0 {
				more += min(there, (most+every-1)/every)
			}
		}
		if more == most {
			break
		}
		most = more
	}
	if s.Cap > 0 {
		most = min(most, s.Cap+skipped)
	}
	return most
}

// stillOpen is Conflict when a study that was open is so no more.
func (d *Service) stillOpen(ctx context.Context, s *Study) error {
	now, err := d.Store.Study(ctx, s.Owner, s.ID)
	if err != nil {
		return err
	}
	return now.Status.Rateable()
}

func (d *Service) fill(ctx context.Context, s *Study, q *Question, it *Item) (err error) {
	q.Kind = it.Kind
	q.Prompt, q.Outputs, err = d.Store.StudyTexts(ctx, s.ID, it.Prompt, q.Assignment.Shown)
	return err
}

// Answer saves what an annotator said of an assignment; a reason in answer.Skip skips it. Once it has returned
// without an error the answer is on the disk. Saying the same again is no error and changes nothing.
func (d *Service) Answer(ctx context.Context, s *Study, annotator, assignment string, answer Answer) error {
	it, err := d.Store.AssignedItem(ctx, annotator, assignment)
	if err != nil {
		return err
	}
	if err := answer.Check(&s.Setup, &it); err != nil {
		return err
	}
	a := Assignment{ID: assignment, Annotator: annotator, State: Answered, At: d.now(), Answer: answer}
	if answer.Skip != "" {
		a.State, a.Answer = Skipped, Answer{Skip: answer.Skip, Comment: answer.Comment}
	}
	return d.Store.Settle(ctx, a, s.Setup.Overlap)
}

// Undo takes back an annotator's last answer, given before the assignment asked ("" when there was none to
// come), so that it is the question again. Conflict when there is no such answer, or when others have taken the places of
// a question that was skipped.
func (d *Service) Undo(ctx context.Context, s *Study, annotator, asked string) error {
	now := d.now()
	_, err := d.Store.Undo(ctx, annotator, asked, Assignment{ID: id.New(), AskedAt: now, Expires: now.Add(ReserveFor)}, s.Setup.Overlap)
	return err
}

// Preview is the n-th question of a study as its owner may try it, from 0, with how many there are; nothing is saved.
// It wraps around. Conflict before there are any.
func (d *Service) Preview(ctx context.Context, owner, id string, n int) (Question, Study, int, error) {
	s, err := d.Store.Study(ctx, owner, id)
	if err != nil {
		return Question{}, s, 0, err
	}
	items, err := d.Store.StudyItems(ctx, id)
	if err != nil {
		return Question{}, s, 0, err
	}
	if len(items) == 0 {
		return Question{}, s, 0, fault.New(fault.Conflict, "there is nothing to see before the answers are decoded")
	}
	// Kinds and prompts mixed, as an annotator would see them.
	order := s.Setup.random(streamTurn, "preview").Perm(len(items))
	it := items[order[((n%len(items))+len(items))%len(items)]].Item
	q := Question{Assignment: Assignment{ID: "preview", Item: it.ID, Shown: s.Setup.Shown("preview", &it)}, Undo: n > 0, Number: n + 1, Most: len(items), Progress: Progress{Answered: n}}
	return q, s, len(items), d.fill(ctx, &s, &q, &it)
}

func (d *Service) now() time.Time { return d.Now().UTC().Truncate(time.Microsecond) }

// gone reports whether an error says that the study or its row is not there any more.
func gone(err error) bool {
	var known *fault.Error
	return errors.As(err, &known) && known.Kind == fault.NotFound
}
