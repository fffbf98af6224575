package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"time"

	"github.com/nats-io/nuid"

	"realign/internal/pair"
)

// How long children may take, and how often they may fail.
const (
	stopTimeout = 3 * time.Second  // a child may take to end by itself
	healthy     = 30 * time.Second // a child that was ready for this long had nothing wrong with it
	slowest     = time.Second      // longest wait before a restart of a pair that has loaded before
	maxFailures = 5                // deaths in a row while loading, before we give up
)

// child is the process of one pair, over all its restarts. Its goroutine is supervise; the fields after id
// are guarded by the pool's mutex.
// Pool.Start makes it; it ends with the pool or when the pair is unloaded.
type child struct {
	pool  *Pool
	pair  string // its name
	log   *slog.Logger
	ctx   context.Context // ends with the pool, or when the pair is unloaded
	stop  context.CancelFunc
	retry chan struct{} // has room for one: somebody wants a pair that failed

	id       string    // of the worker now
	past     []string  // IDs of the last eight dead ones: late heartbeats of them are ignored
	cmd      *exec.Cmd // nil while none runs
	killed   string    // why we killed it
	state    pair.State
	progress float64   // of loading, from 0 to 1
	message  string    // why it is in this state, for people
	restarts int       // of the process so far
	readyAt  time.Time // zero until ready
	refused  string    // why the models cannot be loaded, in the worker's words
}

// supervise starts the process again whenever it ends, until the pool is closed or the pair is unloaded.
func (c *child) supervise() {
	defer c.stop()
	deaths, failures := 0, 0
	for {
		started := time.Now()
		why := c.live(failures >= 2)
		p := c.pool
		if p.ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		if c.ctx.Err() != nil {
			p.lose(c.id, "its pair was removed")
			p.change()
			p.mu.Unlock()
			return
		}
		loaded, refused := !c.readyAt.IsZero(), c.refused
		if loaded && time.Since(c.readyAt) > healthy {
			deaths = 0
		}
		if loaded {
			failures = 0
		} else {
			failures++
		}
		deaths++
		c.message = why
		c.state = pair.Restarting
		if refused != "" {
			c.message = refused
		}
		giveUp := refused != "" || failures >= maxFailures
		if giveUp {
			c.state = pair.Failed
		}
		p.lose(c.id, why)
		c.past = append(c.past, c.id)
		c.past = c.past[max(0, len(c.past)-8):]
		c.id = "" // messages of the old process that still arrive are ignored
		p.change()
		message := c.message
		p.mu.Unlock()
		c.log.Error("worker ended", "why", message, "after", time.Since(started), "given up", giveUp)

		wait := backOff(deaths, loaded)
		if giveUp {
			wait = 1 << 62 // until somebody asks for it
			failures = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.retry:
		case <-c.ctx.Done():
		}
		timer.Stop()
		if c.ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		c.restarts++
		p.mu.Unlock()
	}
}

// backOff is the wait before the restart after the nth death in a row: none after the first, then
// doubling, and never long for a pair that is known to load.
func backOff(n int, loaded bool) time.Duration {
	if n <= 1 {
		return 0
	}
	wait := 100 * time.Millisecond << min(n-2, 8)
	if loaded {
		wait = min(wait, slowest)
	}
	return wait
}

// live runs one process to its end and returns why it ended.
func (c *child) live(cautious bool) string {
	p := c.pool
	id := nuid.Next()
	command := p.config.Command
	if cautious && p.config.Cautious != nil {
		command = p.config.Cautious
	}
	cmd := command(c.pair, p.url, id)
	last := &crashLine{to: p.config.Stderr}
	cmd.Stderr = last
	cmd.WaitDelay = time.Second
	detach(cmd)
	parent, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Sprintf("its process cannot be made: %v", err)
	}
	p.mu.Lock()
	c.id, c.cmd, c.killed, c.readyAt, c.refused = id, cmd, "", time.Time{}, ""
	c.state, c.progress = pair.Starting, 0
	if err = cmd.Start(); err == nil {
		// Known from now on, so that a death before the first beat is noticed like any other.
		p.peers[id] = &peer{beat: workerBeat{Worker: id, Pair: c.pair, State: pair.Loading}, seen: time.Now(), own: true, gone: make(chan struct{})}
	}
	p.change()
	p.mu.Unlock()
	if err != nil {
		return fmt.Sprintf("its process cannot be started: %v", err)
	}
	c.log.Info("worker started", "worker", id, "pid", cmd.Process.Pid)
	ended := make(chan struct{})
	p.wait.Go(func() { c.end(parent, ended) })
	err = cmd.Wait()
	close(ended)
	return c.why(err, last)
}

// end asks the process to end when the pool is closed or the pair is unloaded, by closing its standard input, and kills it if it
// does not.
func (c *child) end(parent io.Closer, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-c.ctx.Done():
	}
	parent.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		c.pool.mu.Lock()
		c.kill("it did not stop")
		c.pool.mu.Unlock()
	}
}

// kill ends the process at once; the pool's mutex is held.
func (c *child) kill(why string) {
	if c.killed == "" {
		c.killed = why
	}
	_ = c.cmd.Process.Kill() // fails if it has ended, which is what we want
}

// why is how the process ended, in a few words.
func (c *child) why(err error, last *crashLine) string {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	how := "it ended"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		how = exit.String()
	} else if err != nil {
		how = err.Error()
	}
	if c.killed != "" {
		how = c.killed
	}
	if words := last.String(); words != "" {
		how += ": " + words
	}
	return how
}

// onHeartbeat takes a beat of the process and reports whether a status changed; the pool's mutex is held. That the
// models cannot be loaded is only noted: the pair has failed when the process has ended, so that who asks
// for it again gets a new process and not the old one's words.
func (c *child) onHeartbeat(b workerBeat) bool {
	if b.State == pair.Failed {
		c.refused = b.Message
		return false
	}
	before := c.state
	c.state, c.progress = b.State, b.Progress
	if b.State == pair.Ready && c.readyAt.IsZero() {
		c.readyAt = time.Now()
		c.message = ""
	}
	return before != c.state
}
