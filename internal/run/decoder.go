package run

import (
	"context"
	"time"

	"realign/internal/decode"
)

// Decoder runs decode requests somewhere.
type Decoder interface {
	// Decode hands a request to a pair's worker and returns once it was taken or refused. sink gets the
	// request's events in order, one call at a time, ending with one `end` per lane and then `stats`,
	// also when the worker dies: unfinished lanes then end with reason error and code unavailable. A map has an `end`, of
	// lane 0, only then. sink returns within Config.Patience. It may be called before Decode returns, and is not called
	// after a refusal. ctx ends when the hub is closed, when it was waited too long, or when whoever asked for it gave it
	// up.
	Decode(ctx context.Context, pair string, request decode.Request, sink func(decode.Event)) (Job, error)
}

// Job is a request that was taken.
type Job interface {
	// SetLambda moves λ of a lane from its next token on: see decode.Job.SetLambda for its errors.
	SetLambda(lane int, v decode.Vector) error

	// Stop ends a lane, or every lane for -1. It does not wait for it.
	Stop(lane int) error

	// Done is closed after the last call of sink has returned.
	Done() <-chan struct{}
}

// Pairs knows the models.
type Pairs interface {
	// Models resolves the aligned models (none: the pair's default) and identifies the reference's file
	// and theirs. It is Invalid with field "pair" or "aligned" for unknown names, and Unavailable when a
	// file is missing.
	Models(ctx context.Context, pair string, aligned []string) (names []string, files []File, err error)
}

// Log keeps the events of runs.
type Log interface {
	// Append saves a batch, all of it or nothing, before it returns. The events of a run must follow the
	// last saved one without a gap: Conflict otherwise. A store that cannot save is Unavailable.
	Append(ctx context.Context, batch Batch) error

	// Events reads up to limit events of a run with numbers above after, in order.
	Events(ctx context.Context, owner, run string, after, limit int) ([]Event, error)
}

// Batch is what one group commit saves.
type Batch struct {
	Events  []Event        // of any runs, in order within each
	Changes []StatusChange // made in the same transaction
}

// StatusChange is a run that begins (again) or is over.
type StatusChange struct {
	Run    string    // id of the run
	Status Status    // from now on
	At     time.Time // of the end, when it is over
	Lanes  int       // how many the run has by then

	Instance string // the server that decodes it now; "" leaves it as it is
}

// Runs keeps the runs themselves. What does not exist, is deleted, or is somebody else's is NotFound.
type Runs interface {
	// CreateRun adds a run to its session. With a title, that session does not exist yet and is created, too.
	CreateRun(ctx context.Context, run Run, title string) error
	// Run is an owner's run as it is stored.
	Run(ctx context.Context, owner, id string) (Run, error)

	// HasSession is NotFound unless the owner has that session.
	HasSession(ctx context.Context, owner, id string) error

	// Running lists the runs that an instance of the server had not finished.
	Running(ctx context.Context, instance string) ([]Run, error)

	// RunStates are how far runs of any owner are, by their ids; those that do not exist are left out.
	RunStates(ctx context.Context, ids []string) (map[string]RunState, error)
}

// Store is what a Hub saves to.
type Store interface {
	Log
	Runs
}
