package web

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are the server's own counters, in a registry of their own so that tests can run side by side.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec   // by method, route and status
	seconds  *prometheus.HistogramVec // by route, sockets left out
	sockets  prometheus.Gauge         // that are open
	watches  prometheus.Gauge         // runs that are watched, counted once for each socket
	frames   *prometheus.CounterVec   // by direction: in or out
	slow     prometheus.Counter       // sockets that were closed because the client did not read
}

// newMetrics are counters at zero, with those of the process.
func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realign_http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "realign_http_request_seconds", Help: "Time to answer a request, sockets left out.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"route"}),
		sockets: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "realign_sockets", Help: "Open sockets.",
		}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "realign_socket_watches", Help: "Runs being watched, counted once per socket.",
		}),
		frames: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realign_socket_frames_total", Help: "Frames on sockets.",
		}, []string{"direction"}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "realign_sockets_dropped_total", Help: "Sockets closed because the client did not take a frame in time.",
		}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.sockets, m.watches, m.frames, m.slow,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}
