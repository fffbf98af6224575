package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"realign/internal/fault"
	"realign/internal/run"
)

// Times and bounds of a socket, as docs/protocol.md states them.
const (
	writeWait           = 10 * time.Second
	pingEvery           = 20 * time.Second
	pongWait            = 60 * time.Second
	framesPerSecond     = 50   // of a client, over time; a faster one is read more slowly
	framesBurst         = 200  // and at once
	movesPerSecond      = 400  // of λ, over all lanes of a socket; of faster ones the last of each lane counts
	readsPerSecond      = 2000 // frames of any kind
	guestReadsPerSecond = 200  // and of all sockets without cookies from one address
	maxMoves            = 1024 // lanes whose λ is being moved at once
	maxRunBytes         = 64   // of a run's id
	maxWatches          = 256  // runs watched on one socket
	maxSockets          = 64   // of one owner
	maxStarts           = 16   // runs and lanes of one socket that are being admitted
)

// socket is one connection. Its reader (read) acts on the client's frames, its writer (write) alone sends.
// Each run it watches has a feeder (feed) that waits for events; feeders take turns to read some and to
// offer them to the writer over an unbuffered channel. What waits for a slow client is thus one batch of
// events, never a queue. What may have to wait for a pair to load (start, lanes) has a goroutine of its own
// meanwhile.
type socket struct {
	server *Server // whose it is
	conn   *websocket.Conn
	owner  string     // under whom its runs are kept; of a guest it is the socket's own
	login  string     // of auth; "" where nobody has to log in, and for programs that sent the password
	client run.Client // whom the hub counts its runs for
	seat   string     // what its place among the sockets, and its starts, count for: the owner, or the guests of an address
	log    *slog.Logger
	pace   *rate.Limiter // of frames that start or watch something
	moves  *rate.Limiter // of λ
	reads  *rate.Limiter // of all frames; the guests of an address share one

	steering steering // λ that runs have not taken yet

	ctx     context.Context         // ends with the socket
	cancel  context.CancelCauseFunc // ends ctx, with why
	answers chan any                // from the reader
	frames  chan []byte             // from the feeders, encoded

	turn chan struct{} // held by the feeder that has read events

	tasks sync.WaitGroup // feeders, starters and movers of λ
	slots chan struct{}  // places for starters

	mu      sync.Mutex        // held while a watch begins or ends; guards watches
	watches map[string]*watch // by run: those that it follows, or followed until they ended
}

// Why a socket ends.
var (
	errShutdown = errors.New("the server is stopping")
	errGone     = errors.New("the client has gone")
	errSlow     = errors.New("the client did not take a frame in time")

	errLoggedOut = errors.New("the login has ended")
)

// serveSocket is GET /ws. It returns when the socket has ended.
func (s *Server) serveSocket(c echo.Context) error {
	r := c.Request()
	if !websocket.IsWebSocketUpgrade(r) {
		return fault.New(fault.Invalid, "this address speaks WebSocket only")
	}
	// Browsers always send Origin. Without one, a cookie would act for somebody who did not ask.
	if r.Header.Get("Origin") == "" {
		if len(r.Cookies()) > 0 {
			return fault.New(fault.Forbidden, "a socket with cookies needs an Origin")
		}
	} else if !s.ownOrigin(r) {
		return fault.New(fault.Forbidden, "the socket was opened by another site")
	}
	id, client := owner(c), run.Client{Key: c.RealIP()}
	seat := id
	if client.Guest = id == ""; client.Guest {
		id = "socket:" + requestID(c) // a program: owns what it makes until the socket closes
		seat = "guest " + client.Key  // those of one address count as one
	}
	pace, err := s.enter(seat, client.Guest)
	if err != nil {
		return err
	}
	defer s.leave(seat)

	upgrader := websocket.Upgrader{
		HandshakeTimeout: writeWait,
		ReadBufferSize:   4 << 10,
		WriteBufferSize:  16 << 10,
		CheckOrigin:      func(*http.Request) bool { return true }, // checked above, with a better answer
		Error:            func(http.ResponseWriter, *http.Request, int, error) {},
	}
	conn, err := upgrader.Upgrade(c.Response(), r, nil)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the handshake is not a WebSocket's")
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	login, _ := c.Get(loginCookie).(string)
	defer s.auth.follow(login, cancel)()
	k := &socket{
		server: s, conn: conn, owner: id, login: login, client: client, seat: seat,
		log:   s.log.With(requestKey, requestID(c)),
		pace:  rate.NewLimiter(framesPerSecond, framesBurst),
		moves: rate.NewLimiter(movesPerSecond, movesPerSecond), reads: pace,
		steering: steering{wanted: map[laneKey]*clientFrame{}},
		ctx:      ctx, cancel: cancel,
		answers: make(chan any), frames: make(chan []byte), turn: make(chan struct{}, 1),
		slots:   make(chan struct{}, maxStarts),
		watches: map[string]*watch{},
	}
	k.serve()
	return nil
}

// serve runs the socket until it ends, and returns when all of its goroutines have.
func (k *socket) serve() {
	start := k.server.now()
	k.server.metrics.sockets.Inc()
	k.log.Info("socket opened")
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.write()
	}()
	// A write that hangs must not hold up the end.
	stop := context.AfterFunc(k.ctx, func() { _ = k.conn.NetConn().SetWriteDeadline(time.Now().Add(time.Second)) })
	defer stop()
	k.read()
	k.cancel(errGone)
	<-done
	k.tasks.Wait()
	if k.client.Guest { // nobody can see its runs any more
		k.server.hub.StopOwner(k.owner)
	}
	k.server.metrics.sockets.Dec()
	k.log.Info("socket closed", "cause", context.Cause(k.ctx), "took", k.server.now().Sub(start).Round(time.Millisecond))
}

// write is the writer: it alone sends. When it returns, the connection is closed, which ends the reader.
func (k *socket) write() {
	defer k.conn.Close()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	err := k.send(helloFrame{"hello", protocolVersion, k.server.build, k.server.limits()})
	var changed <-chan struct{}
	if err == nil {
		changed, err = k.sendPairs()
	}
	for err == nil {
		select {
		case <-k.ctx.Done():
			k.sayGoodbye()
			return
		case answer := <-k.answers:
			err = k.send(answer)
		case frame := <-k.frames:
			err = k.sendText(frame)
		case <-changed:
			changed, err = k.sendPairs()
		case <-ping.C:
			if !k.server.auth.still(k.ctx, k.login) { // another server may have been told
				k.cancel(errLoggedOut)
				continue
			}
			err = k.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait))
		}
	}
	var slow interface{ Timeout() bool }
	if errors.As(err, &slow) && slow.Timeout() {
		k.server.metrics.slow.Inc()
		err = errSlow
		k.closeWith(websocket.CloseTryAgainLater, "too slow: resume after the last event")
	}
	k.cancel(err)
}

// sendPairs sends the state of the pairs and returns what tells of the next change.
func (k *socket) sendPairs() (<-chan struct{}, error) {
	status, changed := k.server.pairs.Status()
	return changed, k.send(pairsFrame{"pairs", status})
}

// send writes a frame. Only the writer calls it.
func (k *socket) send(frame any) error {
	data, err := marshal(frame)
	if err != nil {
		return err
	}
	return k.sendText(data)
}

// sendText writes an encoded frame within the client's time.
func (k *socket) sendText(data []byte) error {
	k.server.metrics.frames.WithLabelValues("out").Inc()
	if err := k.conn.SetWriteDeadline(time.Now().Add(k.server.writeTimeout)); err != nil {
		return err
	}
	return k.conn.WriteMessage(websocket.TextMessage, data)
}

// sayGoodbye tells the client why the socket ends, unless the client has gone.
func (k *socket) sayGoodbye() {
	switch cause := context.Cause(k.ctx); {
	case errors.Is(cause, errShutdown):
		k.closeWith(websocket.CloseGoingAway, "the server is stopping")
	case errors.Is(cause, errLoggedOut):
		k.closeWith(websocket.ClosePolicyViolation, "logged out")
	case !errors.Is(cause, errGone):
		k.closeWith(websocket.CloseNormalClosure, "")
	}
}

// closeWith tries to say why; the connection is closed anyway.
func (k *socket) closeWith(code int, text string) {
	_ = k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(time.Second))
}

// answer hands a frame to the writer; it is dropped when the socket ends first.
func (k *socket) answer(frame any) {
	select {
	case k.answers <- frame:
	case <-k.ctx.Done():
	}
}

// refuse answers a frame with an error. What only the log may know is logged.
func (k *socket) refuse(f clientFrame, err error) {
	out := fault.Of(err)
	if out.Kind == fault.Internal {
		k.log.Error("socket request failed", "type", f.Type, "run", f.Run, "error", err)
	}
	k.answer(errorFrame{Type: "error", Ref: f.Ref, Run: f.Run, wireError: errorBody(out)})
}

// seats are the open sockets of an owner, or of the guests of an address.
type seats struct {
	taken int           // open sockets
	reads *rate.Limiter // of what guests send, together
}

// enter counts a socket in, up to a limit per seat, unless the server is stopping. It returns what limits the reading of its frames.
func (s *Server) enter(seat string, guest bool) (*rate.Limiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, fault.New(fault.Unavailable, "the server is stopping")
	}
	x := s.sockets[seat]
	if x == nil {
		x = &seats{reads: rate.NewLimiter(guestReadsPerSecond, guestReadsPerSecond)}
		s.sockets[seat] = x
	}
	if x.taken >= maxSockets {
		return nil, fault.New(fault.Busy, "%d sockets are open already", maxSockets)
	}
	x.taken++
	s.open.Add(1)
	if guest {
		return x.reads, nil
	}
	return rate.NewLimiter(readsPerSecond, readsPerSecond), nil
}

// leave counts a socket out.
func (s *Server) leave(seat string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets[seat].taken--; s.sockets[seat].taken == 0 {
		delete(s.sockets, seat)
	}
	s.open.Done()
}
