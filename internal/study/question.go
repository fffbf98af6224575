package study

import (
	"context"
	"slices"

	"realign/internal/fault"
	"realign/internal/id"
	"realign/internal/preference"
)

// Invite makes the link that annotators join by, instead of any earlier one, and returns its token: shown here once
// and kept only as a hash.
func (d *Service) Invite(ctx context.Context, owner, studyID string) (string, error) {
	token := id.NewToken()
	return token, d.Store.SetStudyInvite(ctx, owner, studyID, id.Digest([]byte(token)))
}

// Revoke closes the link: nobody can join by it any more, and it opens nothing for those who have joined. A new
// link lets them in again.
func (d *Service) Revoke(ctx context.Context, owner, id string) error {
	return d.Store.SetStudyInvite(ctx, owner, id, "")
}

// errNoInvite is the one answer to a wrong token and to a revoked one.
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
	Assignment Assignment // what was asked; empty where there is nothing to ask
	Kind       Kind       // which question it is
	Prompt     Prompt     // that the outputs answer
	Outputs    []Output   // in the order shown
	Progress   Progress   // of the annotator
	Number     int        // of this question, from 1: those answered and skipped come before it
	Most       int        // at most so many there will be, as far as others leave them; see bound
	Undo       bool       // there is an answer to take back
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

// fill reads the texts of a question about an item.
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
