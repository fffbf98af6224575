// Package studytest has whole studies in memory, for tests of what imports and exports them.
package studytest

import "realign/internal/study"

// Archive is a whole study; it is a study.Importing, which collects.
type Archive struct {
	Of          study.Study
	Prompts     []study.Prompt
	Outputs     []study.Output
	Items       []study.Item
	Annotators  []study.Annotator
	Assignments []study.Assignment
}

// Fill puts the archive into a store.
func (a *Archive) Fill(to study.Importing) error {
	if err := to.Study(a.Of); err != nil {
		return err
	}
	for _, part := range []func() error{
		func() error { return each(a.Prompts, to.Prompt) }, func() error { return each(a.Outputs, to.Output) },
		func() error { return each(a.Items, to.Item) }, func() error { return each(a.Annotators, to.Annotator) },
		func() error { return each(a.Assignments, to.Assignment) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// each puts all of a list, until an error.
func each[T any](list []T, put func(T) error) error {
	for _, one := range list {
		if err := put(one); err != nil {
			return err
		}
	}
	return nil
}

// Study implements study.Importing.
func (a *Archive) Study(s study.Study) error { a.Of = s; return nil }

// Prompt implements study.Importing.
func (a *Archive) Prompt(p study.Prompt) error { a.Prompts = append(a.Prompts, p); return nil }

// Output implements study.Importing.
func (a *Archive) Output(o study.Output) error { a.Outputs = append(a.Outputs, o); return nil }

// Item implements study.Importing.
func (a *Archive) Item(i study.Item) error { a.Items = append(a.Items, i); return nil }

// Annotator implements study.Importing.
func (a *Archive) Annotator(n study.Annotator) error {
	a.Annotators = append(a.Annotators, n)
	return nil
}

// Assignment implements study.Importing.
func (a *Archive) Assignment(n study.Assignment) error {
	a.Assignments = append(a.Assignments, n)
	return nil
}
