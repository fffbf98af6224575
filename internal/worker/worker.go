// Package worker keeps models out of the server's process: Serve runs an engine in a child process or on
// another machine, and Pool starts such workers, watches over them and sends them runs over NATS. It
// knows neither model files' contents, nor storage, nor HTTP.
//
// A run is a request to the queue group of its pair, answered by one worker, which then sends the run's
// events in numbered batches. Workers and pools send heartbeats: a pool ends the lanes of a worker whose
// heartbeats no longer come, and a worker stops the runs that no pool names in its heartbeats any more.
//
// Work that nobody waits for is queued in JetStream instead: see Queue.
//
// The life of a worker:
//
//	started     by the pool, as a child process, or by a person on another machine: that one asks to join first (joinRequest)
//	loading     it opens the pair's models; heartbeats tell how far it is
//	ready       it takes runs from the queue group, and asks for work when it has time
//	leaving     it was told to stop: it takes nothing new, and ends what it has
//	gone        it ended, or sent no heartbeat for too long; the lanes of its runs end with an error, its work goes to another worker
//
// A child that dies is started again after a pause that grows with every death (backOff). The line of its error output that tells
// why it died becomes the message of its pair (crashLine).
package worker
