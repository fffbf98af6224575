package llamacpp

// #include "bridge.h"
import "C"

import (
	"runtime"
	"slices"
	"sync"
)

// callers are the operating system threads that call passes on several threads. OpenMP keeps a team of threads for every
// thread that calls it, and when they are more than there are processors, they no longer wait in place at the many
// barriers of a pass, but sleep: a pass of one row by a model of 135 million parameters then takes about twice as long.
// Go runs a goroutine on one thread now and on another later; so such passes are given to as few threads as run at once,
// and those that are not at work end, with their teams, when the processors are needed.
var callers struct {
	sync.Mutex
	all  []*caller
	idle []*caller // the one that was used last at the end
}

// caller is one of those threads. It ends when work is closed.
type caller struct {
	work chan func() // unbuffered: what is sent runs at once
	team int         // threads of its pass, itself included
}

// call makes a pass on so many threads on a caller.
func call(threads int, pass func()) {
	c := take(threads)
	c.run(pass)
	callers.Lock()
	callers.idle = append(callers.idle, c)
	callers.Unlock()
}

// take finds an idle caller, or makes one, and room for its team.
func take(threads int) *caller {
	callers.Lock()
	defer callers.Unlock()
	var c *caller
	if n := len(callers.idle); n > 0 {
		c, callers.idle = callers.idle[n-1], callers.idle[:n-1]
	} else {
		c = &caller{work: make(chan func())}
		go c.loop()
		callers.all = append(callers.all, c)
	}
	c.team = threads
	if members() >= runtime.NumCPU() {
		dismiss()
	}
	return c
}

// rest dismisses teams that wait for a pass, in place for milliseconds: the processors are for passes on one thread now,
// or for nothing.
func rest() {
	callers.Lock()
	defer callers.Unlock()
	dismiss()
}

// dismiss ends idle callers and their teams.
func dismiss() {
	for _, c := range callers.idle {
		c.run(func() { C.realign_dissolve() })
		close(c.work)
	}
	callers.all = slices.DeleteFunc(callers.all, func(c *caller) bool { return slices.Contains(callers.idle, c) })
	callers.idle = nil
}

// members counts the threads that the callers' teams have beside the callers.
func members() (n int) {
	for _, c := range callers.all {
		n += c.team - 1
	}
	return n
}

// loop runs on one operating system thread of its own.
func (c *caller) loop() {
	runtime.LockOSThread() // which ends with this goroutine
	for f := range c.work {
		f()
	}
}

// run waits for f on the caller.
func (c *caller) run(f func()) {
	done := make(chan struct{})
	c.work <- func() { f(); close(done) }
	<-done
}
