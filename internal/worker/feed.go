package worker

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
)

// feed takes a run's events from the engine, which must not wait, and publishes them in numbered batches
// from a goroutine of its own. A batch waits for gathering, so that the lanes of one pass travel together, and while one is on
// its way the next one gathers: a fast run sends large batches and a slow one small ones.
type feed struct {
	publish func(data []byte) error // sends one message
	quit    <-chan struct{}         // closed when the worker leaves

	mu      sync.Mutex // guards pending
	pending []decode.Event
	wake    chan struct{} // has room for one
}

// gathering is how long a batch waits for more after its first event. Sent one by one, the events of eight lanes take a tenth of
// the processors from decoding.
const gathering = 2 * time.Millisecond

// newFeed is for one run. run has to be called, by one goroutine.
func newFeed(publish func([]byte) error, quit <-chan struct{}) *feed {
	return &feed{publish: publish, quit: quit, wake: make(chan struct{}, 1)}
}

// emit adds an event. It never blocks. What is pending is bounded by the lanes and tokens of one run.
func (f *feed) emit(e decode.Event) {
	f.mu.Lock()
	f.pending = append(f.pending, e)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run publishes until it has published the last event, or fails: as Unavailable when the worker leaves.
// It announces the admission first.
func (f *feed) run() error {
	next := 1
	if err := f.publish(encoded(batch{First: next})); err != nil {
		return err
	}
	for {
		select {
		case <-f.wake:
			time.Sleep(gathering)
		case <-f.quit:
		}
		select {
		case <-f.quit: // what came since are lanes that were cancelled for leaving, not by a person
			return fault.New(fault.Unavailable, "the worker was stopped")
		default:
		}
		f.mu.Lock()
		events := f.pending
		f.pending = nil
		f.mu.Unlock()
		if err := f.send(events, next); err != nil {
			return err
		}
		next += len(events)
		if n := len(events); n > 0 && events[n-1].Type == decode.EventStats {
			return nil
		}
	}
}

// send publishes events in as few messages as fit.
func (f *feed) send(events []decode.Event, first int) error {
	var data []byte
	open := func() { data = append(strconv.AppendInt([]byte(`{"first":`), int64(first), 10), `,"events":[`...) }
	open()
	count := 0
	flush := func() error {
		if count == 0 {
			return nil
		}
		err := f.publish(append(data, "]}"...))
		first += count
		count = 0
		open()
		return err
	}
	for _, e := range events {
		text, err := json.Marshal(e)
		if err != nil {
			// A number that JSON cannot hold has got through: the lane's own events show where.
			return fmt.Errorf("encode event %d (%s of lane %d): %w", first+count, e.Type, e.Lane, err)
		}
		if len(data)+len(text)+3 > maxBatch {
			if err := flush(); err != nil {
				return err
			}
		}
		if count > 0 {
			data = append(data, ',')
		}
		data = append(data, text...)
		count++
	}
	return flush()
}

// refuse is the only message of a run that was not admitted.
func refuse(publish func([]byte) error, err error) error {
	f := *fault.Of(err)
	return publish(encoded(batch{Fault: &f}))
}
