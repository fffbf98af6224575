package llamacpp

import (
	"runtime"
	"sync"
)

// callers are the operating system threads that call passes on several threads. OpenMP keeps a team of threads for every
// thread that calls it, and when it has more of them than there are processors, they no longer wait in place at the many
// barriers of a pass, but sleep: a pass of one row by a model of 135 million parameters then takes about twice as long.
// Go runs a goroutine on one thread now and on another later; so such passes are given to as few threads as run at once.
var callers struct {
	sync.Mutex
	idle []chan func() // the one that was used last at the end
}

// call runs f on a caller and waits for it.
func call(f func()) {
	callers.Lock()
	var c chan func()
	if n := len(callers.idle); n > 0 {
		c, callers.idle = callers.idle[n-1], callers.idle[:n-1]
	}
	callers.Unlock()
	if c == nil {
		c = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range c {
				f()
			}
		}()
	}
	done := make(chan struct{})
	c <- func() { f(); close(done) }
	<-done
	callers.Lock()
	callers.idle = append(callers.idle, c)
	callers.Unlock()
}
