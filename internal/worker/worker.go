// Package worker keeps models out of the server's process: Serve runs an engine in a child process or on
// another machine, and Pool starts such workers, watches over them and sends them runs over NATS. It
// knows neither model files' contents, nor storage, nor HTTP.
//
// A run is a request to the queue group of its pair, answered by one worker, which then sends the run's
// events in numbered batches. Workers and pools tell that they are alive by beats: a pool ends the lanes
// of a worker it hears no more of, and a worker stops the runs that no pool names any more.
//
// Work that nobody waits for is queued in JetStream instead: see Queue.
package worker
