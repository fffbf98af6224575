// Package run decodes runs and records them. A run is one conversation decoded on a set of lanes with one seed and one set of
// sampling parameters. Its Spec says what was asked, its log of events what came of it, and a Transcript is what the log
// adds up to.
//
// The Hub starts runs: it hands them to a decoder, numbers the events that come back, saves them, and then shows them to
// any number of watchers. The package has no SQL and no HTTP, and it does not know how a decoder reaches its models.
//
// The life of a run:
//
//	Hub.Start      checked, taken by a decoder, stored as Running      activeRun, with a request
//	  Hub.sink       events come, are numbered and queued              the decoder waits while the queue is full
//	  Hub.save       the writer saves what is queued, watchers see it
//	  Hub.AddLanes   further lanes: another request of the same run    also after its end: Running again
//	  Hub.abort      ends with an error what is decoded of it          the store is too slow, or the hub is closed
//	Hub.finalize   nothing decodes for it any more: Ended or Failed
//	Hub.forget     everything is saved: the hub keeps nothing of it
//
// If the store refuses events, the run ends with an error at once, and its end is saved later (Hub.retryUnsaved). If the server
// dies, it ends the run when it starts again (Hub.Tidy), or another server does once it takes that one for dead (Hub.Inherit).
package run
