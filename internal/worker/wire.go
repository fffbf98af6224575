package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"realign/internal/decode"
	"realign/internal/fault"
	"realign/internal/gpu"
	"realign/internal/pair"
)

// Subjects. The version, which is protocol, changes when a message does, so that programs of different age do not
// misunderstand each other on one NATS cluster.
const (
	prefix       = "realign.v3."
	workerBeats  = prefix + "beat.worker.*.*" // by pair and worker
	poolBeats    = prefix + "beat.pool"
	orderPrefix  = prefix + "decode." // then the pair: orders to decode
	queueGroup   = "workers"          // of the workers of a pair: one of them gets an order
	maxBatch     = 512 << 10          // bytes of one message of events
	maxOrder     = 7 << 20            // bytes of one request to our own server
	maxPayload   = 8 << 20            // of our own server
	beatInterval = 500 * time.Millisecond
	beatTimeout  = 3 * time.Second  // a remote worker, or a pool, silent for this long is gone
	runTimeout   = 5 * time.Second  // a run that no pool names for this long is stopped
	hangTimeout  = 20 * time.Second // our own child is killed: its exit would be seen at once, so silence means it hangs
)

// orders is where requests for a pair go, and controls where those for one worker's runs do.
func orders(pair string) string     { return orderPrefix + escape(pair) }
func controls(worker string) string { return prefix + "control." + worker }

// beatOf is where a worker of a pair (escaped) sends its heartbeats, and events where it sends those of a run that it took. The
// worker is part of both because the server lets it send under its own ID only.
func beatOf(pair, worker string) string { return prefix + "beat.worker." + pair + "." + worker }
func events(pool, worker, run string) string {
	return prefix + "events." + pool + "." + worker + "." + run
}

// mark names a run to those who have it: its ID is a secret between the pool and the worker that took it.
func mark(run string) string {
	sum := sha256.Sum256([]byte(run))
	return hex.EncodeToString(sum[:16])
}

// escape makes a pair's name one token of a subject.
func escape(name string) string { return strings.ReplaceAll(name, ".", "%2E") }

// order asks a worker to decode.
type order struct {
	Run     string         `json:"run"`  // id of the request, random
	Pool    string         `json:"pool"` // ID of the pool that gets the events
	Request decode.Request `json:"request"`
}

// receipt answers an order at once: who took it. Whether the engine admits it comes with the first batch.
type receipt struct {
	Worker string `json:"worker"` // its ID
}

// batch is a message of a run: its admission or refusal, then events. First is the number of the first
// event; they are counted from 1.
type batch struct {
	Fault  *fault.Error   `json:"fault,omitempty"` // why the run was not admitted, or is broken off; then there is nothing else
	First  int            `json:"first"`
	Events []decode.Event `json:"events"` // none in the first message, which says that the run was admitted
}

// control steers a run. Lane is -1 for all lanes.
type control struct {
	Run    string        `json:"run"`              // id of the request
	Lane   int           `json:"lane"`             // −1 for all lanes
	Lambda decode.Vector `json:"lambda,omitempty"` // absent: stop
}

// reply answers a control.
type reply struct {
	Fault *fault.Error `json:"fault,omitempty"` // nil where it was done
}

// workerBeat is the heartbeat of a worker.
type workerBeat struct {
	Worker   string          `json:"worker"`            // its ID
	Pair     string          `json:"pair"`              // name of the pair that it has
	Host     string          `json:"host"`              // name of its machine
	PID      int             `json:"pid"`               // on that machine
	State    pair.State      `json:"state"`             // loading, ready or failed
	Leaving  bool            `json:"leaving,omitempty"` // it takes nothing new
	Progress float64         `json:"progress"`          // of loading, from 0 to 1
	Message  string          `json:"message,omitempty"` // why it has failed
	Counters decode.Counters `json:"counters"`          // of its engine

	// Placement is where its models are, or will be; none where they do not tell.
	Placement []gpu.Placement `json:"placement,omitempty"`
}

// poolBeat is the heartbeat of a pool, with the runs that it still wants.
type poolBeat struct {
	Pool string   `json:"pool"` // its ID
	Runs []string `json:"runs"` // their marks
}

// The check of each message says what is wrong with its fields. read calls it, since whoever may use the NATS server can
// send anything.

func (o *order) check() error {
	if !token(o.Run) || !token(o.Pool) {
		return fmt.Errorf("order without run or pool")
	}
	return nil
}

func (b *batch) check() error {
	if b.Fault == nil && b.First < 1 {
		return fmt.Errorf("batch begins at event %d", b.First)
	}
	if b.Fault != nil && b.Fault.Kind == "" {
		return fmt.Errorf("fault without a kind")
	}
	return nil
}

func (c *control) check() error {
	if !token(c.Run) || c.Lane < -1 {
		return fmt.Errorf("control without run or lane")
	}
	return nil
}

func (r *receipt) check() error {
	if !token(r.Worker) {
		return fmt.Errorf("receipt without worker")
	}
	return nil
}

func (r *reply) check() error { return nil }

func (b *workerBeat) check() error {
	if !token(b.Worker) || pair.CheckName("pair", b.Pair) != nil {
		return fmt.Errorf("beat without worker or pair")
	}
	switch b.State {
	case pair.Loading, pair.Ready, pair.Failed:
	default:
		return fmt.Errorf("beat with state %.40q", b.State)
	}
	if !(b.Progress >= 0 && b.Progress <= 1) {
		return fmt.Errorf("beat with progress %v", b.Progress)
	}
	return nil
}

func (b *poolBeat) check() error {
	if !token(b.Pool) {
		return fmt.Errorf("beat without pool")
	}
	return nil
}

// token reports whether s can be one token of a subject.
func token(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsAny(s, " .*>\t\r\n\x00")
}

// read decodes one message from the wire.
func read(data []byte, m interface{ check() error }) error {
	if err := json.Unmarshal(data, m); err != nil {
		return fmt.Errorf("message is not the JSON that was expected: %w", err)
	}
	return m.check()
}

// encoded is a message whose type is ours and always encodes.
func encoded(m any) []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("worker: encode %T: %v", m, err))
	}
	return data
}
