package web

import (
	"github.com/prometheus/client_golang/prometheus"

	"realign/internal/pair"
	"realign/internal/run"
)

// gauges shows what the hub and the workers count themselves, read when somebody asks.
type gauges struct {
	hub   *run.Hub
	pairs Pairs
}

// describe is a metric with its labels.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// The metrics of the hub and the workers.
var (
	runsTotal     = describe("realign_runs_total", "Runs started.")
	refusedTotal  = describe("realign_runs_refused_total", "Runs refused as busy.")
	runsLive      = describe("realign_runs", "Runs being decoded.")
	eventsTotal   = describe("realign_events_saved_total", "Events saved.")
	bytesTotal    = describe("realign_event_bytes_saved_total", "Bytes of events saved.")
	commitsTotal  = describe("realign_commits_total", "Transactions that saved events.")
	commitSeconds = describe("realign_commit_seconds_total", "Time spent saving events.")
	failuresTotal = describe("realign_save_failures_total", "Runs cut off because their events could not be saved.")
	stallsTotal   = describe("realign_decoder_stalls_total", "Calls of decoders that waited for the store.")
	queueEvents   = describe("realign_queue_events", "Events waiting to be saved.")
	queueBytes    = describe("realign_queue_bytes", "Bytes of events waiting to be saved.")
	watchers      = describe("realign_watchers", "Watchers of runs.")
	pairReady     = describe("realign_pair_ready", "Whether a pair's worker can decode.", "pair")
	tokensTotal   = describe("realign_tokens_total", "Tokens decoded, all lanes.", "pair")
	rowsTotal     = describe("realign_rows_total", "Rows decoded, prompts included.", "pair", "model")
	passesTotal   = describe("realign_passes_total", "Forward passes.", "pair", "model")
	decodeSeconds = describe("realign_decode_seconds_total", "Time spent decoding: with the tokens, the speed while busy.", "pair")
	lanesNow      = describe("realign_lanes", "Lanes being decoded.", "pair")
	queueNow      = describe("realign_queue_requests", "Requests that wait for room in a worker.", "pair")
	pairRestarts  = describe("realign_worker_restarts_total", "Times a pair's worker was started again.", "pair")
)

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{runsTotal, refusedTotal, runsLive, eventsTotal, bytesTotal, commitsTotal,
		commitSeconds, failuresTotal, stallsTotal, queueEvents, queueBytes, watchers, pairReady, pairRestarts,
		tokensTotal, rowsTotal, passesTotal, decodeSeconds, lanesNow, queueNow} {
		ch <- d
	}
}

// Collect implements prometheus.Collector: it asks the hub and the workers for their counters.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, x float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, x, labels...)
	}
	now := func(d *prometheus.Desc, x float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, x, labels...)
	}
	c := g.hub.Counters()
	count(runsTotal, float64(c.Runs))
	count(refusedTotal, float64(c.Refused))
	count(eventsTotal, float64(c.Events))
	count(bytesTotal, float64(c.Bytes))
	count(commitsTotal, float64(c.Commits))
	count(commitSeconds, c.CommitSeconds)
	count(failuresTotal, float64(c.SaveFailures))
	count(stallsTotal, float64(c.Stalls))
	now(runsLive, float64(c.ActiveRuns))
	now(queueEvents, float64(c.Queue))
	now(queueBytes, float64(c.QueueBytes))
	now(watchers, float64(c.Watchers))
	status, _ := g.pairs.Status()
	for _, p := range status {
		ready := 0.0
		if p.State == pair.Ready {
			ready = 1
		}
		now(pairReady, ready, p.Name)
		count(pairRestarts, float64(p.Restarts), p.Name)
	}
	for name, c := range g.pairs.Counters() {
		count(tokensTotal, float64(c.Tokens), name)
		count(decodeSeconds, c.Seconds, name)
		now(lanesNow, float64(c.Lanes), name)
		now(queueNow, float64(c.Queue), name)
		for model, n := range c.Rows {
			count(rowsTotal, float64(n), name, model)
		}
		for model, n := range c.Passes {
			count(passesTotal, float64(n), name, model)
		}
	}
}
