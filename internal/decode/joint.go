package decode

import "sync"

// Joint is a Model that shares one context with others on the same weights, as a reference and its LoRA
// adapters can. The rows of all of them may be read in one pass, which reads the weights once. It has one cache
// for all of them.
type Joint interface {
	Model

	// Context is equal for the models of one context.
	Context() any

	// ForwardJoint runs one pass over rows of several models of one context, rows[i] being those of models[i]. All of them or
	// none enter the cache. Logits are valid until the next pass of any of the context's models.
	ForwardJoint(models []Model, rows [][]Row) error
}

// context is what a slot's passes have in common with those of other models, or nil.
func (s *modelState) context() any {
	if j, ok := s.model.(Joint); ok {
		return j.Context()
	}
	return nil
}

// passes are the models that have rows, those of one context together: each list is read in one pass.
func (e *Engine) passes() (list [][]*modelState) {
	at := map[any]int{}
	for _, s := range e.models {
		if len(s.rows) == 0 {
			continue
		}
		c := s.context()
		if i, there := at[c]; there && c != nil {
			list[i] = append(list[i], s)
			continue
		}
		at[c] = len(list)
		list = append(list, []*modelState{s})
	}
	return list
}

// pass decodes the planned rows of models of one context and sums up the traced ones.
func (e *Engine) pass(slots []*modelState) {
	if len(slots) == 1 {
		slots[0].pass(e.config.Kernel, e.vocab)
		return
	}
	models, rows := make([]Model, len(slots)), make([][]Row, len(slots))
	for i, s := range slots {
		models[i], rows[i] = s.model, s.rows
	}
	err := slots[0].model.(Joint).ForwardJoint(models, rows)
	var wait sync.WaitGroup
	for _, s := range slots {
		switch s.err = err; {
		case err != nil:
		case e.config.Serial:
			s.sum(e.config.Kernel, e.vocab)
		default:
			wait.Go(func() { s.sum(e.config.Kernel, e.vocab) })
		}
	}
	wait.Wait()
}
