package web

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"realign/internal/decode"
	"realign/internal/session"
)

// Meter counts what passes through a decoder. It stands between the hub and the decoder it is made of, and
// the server shows what it counted at /metrics.
type Meter struct {
	session.Decoder
	now func() time.Time

	tokens   prometheus.Counter
	lanes    prometheus.Gauge
	rows     *prometheus.CounterVec
	passes   *prometheus.CounterVec
	accepted prometheus.Counter
	ended    *prometheus.CounterVec
	speed    prometheus.GaugeFunc

	mu      sync.Mutex // guards seconds and latest
	seconds [speedWindow]int
	latest  int64 // unix time that seconds[latest % speedWindow] counts
}

// speedWindow is how many seconds the tokens/s gauge averages over.
const speedWindow = 10

// NewMeter wraps a decoder. now nil is time.Now.
func NewMeter(d session.Decoder, now func() time.Time) *Meter {
	if now == nil {
		now = time.Now
	}
	m := &Meter{
		Decoder: d, now: now,
		tokens: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "realign_tokens_total", Help: "Tokens decoded, all lanes.",
		}),
		lanes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "realign_lanes", Help: "Lanes being decoded or waiting for it.",
		}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realign_rows_total", Help: "Rows decoded, prompts included.",
		}, []string{"model"}),
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realign_passes_total", Help: "Forward passes, counted once for each run with rows in them.",
		}, []string{"model"}),
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "realign_rows_accepted_total", Help: "Rows reused from speculation.",
		}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realign_lanes_ended_total", Help: "Lanes that ended.",
		}, []string{"reason"}),
	}
	m.speed = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "realign_tokens_per_second", Help: "Tokens decoded per second, over the last 10 s.",
	}, m.rate)
	return m
}

// Describe and Collect make a Meter a prometheus.Collector.
func (m *Meter) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *Meter) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.tokens, m.lanes, m.rows, m.passes, m.accepted, m.ended, m.speed} {
		c.Collect(ch)
	}
}

// Decode implements session.Decoder.
func (m *Meter) Decode(ctx context.Context, pair string, r decode.Request, sink func(decode.Event)) (session.Job, error) {
	open := float64(len(r.Lanes)) // sink is called by one goroutine at a time
	m.lanes.Add(open)
	job, err := m.Decoder.Decode(ctx, pair, r, func(e decode.Event) {
		m.count(e)
		if e.Type == decode.EventEnd {
			m.lanes.Dec()
		}
		sink(e)
	})
	if err != nil {
		m.lanes.Sub(open)
	}
	return job, err
}

func (m *Meter) count(e decode.Event) {
	switch e.Type {
	case decode.EventToken:
		m.tokens.Inc()
		m.mu.Lock()
		m.advance()
		m.seconds[m.latest%speedWindow]++
		m.mu.Unlock()
	case decode.EventEnd:
		m.ended.WithLabelValues(e.Reason).Inc()
	case decode.EventStats:
		if e.Stats == nil {
			return
		}
		for model, n := range e.Stats.Rows {
			m.rows.WithLabelValues(model).Add(float64(max(n, 0)))
		}
		for model, n := range e.Stats.Passes {
			m.passes.WithLabelValues(model).Add(float64(max(n, 0)))
		}
		m.accepted.Add(float64(max(e.Stats.Accepted, 0)))
	}
}

// advance empties the seconds that have gone by. The caller holds mu.
func (m *Meter) advance() {
	now := m.now().Unix()
	for t := max(m.latest+1, now-speedWindow+1); t <= now; t++ {
		m.seconds[t%speedWindow] = 0
	}
	m.latest = max(m.latest, now)
}

func (m *Meter) rate() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	sum := 0
	for _, n := range m.seconds {
		sum += n
	}
	return float64(sum) / speedWindow
}
