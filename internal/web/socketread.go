package web

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/gorilla/websocket"

	"realign/internal/fault"
	"realign/internal/run"
)

// read is the reader: it acts on the client's frames, one after the other, until the socket ends. What λ is moved to, and
// stops, wait for none of the others.
func (k *socket) read() {
	k.conn.SetReadLimit(maxFrameBytes)
	alive := func() error { return k.conn.SetReadDeadline(time.Now().Add(pongWait)) }
	k.conn.SetPongHandler(func(string) error { return alive() })
	if alive() != nil {
		return
	}
	for {
		kind, r, err := k.conn.NextReader()
		if err != nil || alive() != nil {
			return
		}
		k.server.metrics.frames.WithLabelValues("in").Inc()
		if k.reads.Wait(k.ctx) != nil {
			return
		}
		data, release, err := k.receive(r)
		if fault.KindOf(err) == fault.Busy {
			k.refuse(clientFrame{}, err)
			continue // the next reader passes over what is left
		}
		if err != nil || alive() != nil {
			release()
			return
		}
		if kind != websocket.TextMessage {
			release()
			k.refuse(clientFrame{}, fault.New(fault.Invalid, "a frame is text, not binary"))
			continue
		}
		f, err := parseFrame(data)
		f.release = release
		if err == nil && f.Type != "lambda" && f.Type != "stop" && k.pace.Wait(k.ctx) != nil {
			return
		}
		if err == nil {
			err = k.act(&f)
		}
		f.done()
		if err != nil {
			k.refuse(f, err)
		}
	}
}

// Frames up to smallFrame bytes are read as they come. What a larger one unfolds to, frameCost times its bytes at most, is
// taken from a budget that all sockets share, until it has been acted on.
const (
	smallFrame = 16 << 10
	frameCost  = 4
)

// receive reads a frame. The caller owes release, whatever the error.
func (k *socket) receive(r io.Reader) (data []byte, release func(), err error) {
	small := make([]byte, smallFrame+1)
	n, err := io.ReadFull(r, small)
	if n <= smallFrame {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return small[:n], func() {}, err
	}
	if release, err = k.server.budgets.frames.Take(k.ctx, frameCost*maxFrameBytes, uploadWait); err != nil {
		return nil, func() {}, err
	}
	// It must come at once: while it does, others may wait for its share.
	if err := k.conn.SetReadDeadline(time.Now().Add(k.server.writeTimeout)); err != nil {
		return nil, release, err
	}
	all := make([]byte, n, maxFrameBytes+1)
	copy(all, small)
	for {
		m, err := r.Read(all[len(all):cap(all)])
		all = all[:len(all)+m]
		if errors.Is(err, io.EOF) {
			return all, release, nil
		}
		if err != nil || len(all) == cap(all) {
			return nil, release, cmp.Or(err, error(websocket.ErrReadLimit))
		}
	}
}

// act does what a frame asks for.
func (k *socket) act(f *clientFrame) error {
	switch f.Type {
	case "start":
		return k.later(f, k.start)
	case "watch":
		return k.watch(f.Run, f.After)
	case "unwatch":
		k.unwatch(f.Run)
		return nil
	case "lanes":
		return k.later(f, k.addLanes)
	case "lambda":
		return k.move(*f)
	case "stop":
		return k.halt(k.ctx, *f)
	case "":
		return fault.Field("type", "is missing")
	}
	return fault.Field("type", "%.40q is not a type of frame", f.Type)
}

// later does what may take long, up to loading a pair, beside the reader.
func (k *socket) later(frame *clientFrame, do func(clientFrame) error) error {
	f := *frame
	select {
	case k.slots <- struct{}{}:
	default:
		return fault.New(fault.Busy, "%d requests of this socket are waiting already", maxStarts)
	}
	release := frame.keep()
	k.tasks.Go(func() {
		defer func() { <-k.slots }()
		defer release()
		if err := do(f); err != nil {
			k.refuse(f, err)
		}
	})
	return nil
}

// starting is what a start goes on under. It is made even if the socket closes meanwhile: whoever pressed the button finds it
// saved. A guest's ends with the socket, since nobody could find it.
func (k *socket) starting() context.Context {
	ctx := k.ctx
	if !k.client.Guest {
		ctx = context.WithoutCancel(ctx)
	}
	return run.WithClient(ctx, k.client)
}

// start starts a run and watches it.
func (k *socket) start(f clientFrame) error {
	if f.Spec == nil {
		return fault.Field("spec", "is missing")
	}
	if err := k.server.mayStart(k.seat); err != nil {
		return err
	}
	run, err := k.server.hub.Start(k.starting(), k.owner, f.Session, *f.Spec)
	if err != nil {
		return err
	}
	k.log.Info("run started", "run", run.ID, "pair", run.Spec.Pair, "lanes", len(run.Spec.Lanes))
	k.answer(startedFrame{Type: "started", Ref: f.Ref, Session: run.Session, Run: run.ID})
	return k.watch(run.ID, 0)
}

// addLanes adds lanes to a run that is being decoded.
func (k *socket) addLanes(f clientFrame) error {
	if err := k.server.mayStart(k.seat); err != nil {
		return err
	}
	lanes, err := k.server.hub.AddLanes(k.starting(), k.owner, f.Run, f.Lanes)
	if err != nil {
		return err
	}
	k.answer(lanesAddedFrame{Type: "lanes_added", Ref: f.Ref, Run: f.Run, Lanes: lanes})
	return nil
}
