package web

import (
	"context"
	"time"

	"github.com/gorilla/websocket"

	"realign/internal/fault"
	"realign/internal/session"
)

// read is the reader: it acts on the client's frames, one after the other, until the socket ends. What λ is moved to, and
// stops, wait for none of the others.
func (k *socket) read() {
	k.conn.SetReadLimit(mostFrameBytes)
	alive := func() error { return k.conn.SetReadDeadline(time.Now().Add(pongWait)) }
	k.conn.SetPongHandler(func(string) error { return alive() })
	if alive() != nil {
		return
	}
	for {
		kind, data, err := k.conn.ReadMessage()
		if err != nil || alive() != nil {
			return
		}
		k.server.metrics.frames.WithLabelValues("in").Inc()
		if k.reads.Wait(k.ctx) != nil {
			return
		}
		if kind != websocket.TextMessage {
			k.refuse(clientFrame{}, fault.New(fault.Invalid, "a frame is text, not binary"))
			continue
		}
		f, err := parseFrame(data)
		if err == nil && f.Type != "lambda" && f.Type != "stop" && k.pace.Wait(k.ctx) != nil {
			return
		}
		if err == nil {
			err = k.act(f)
		}
		if err != nil {
			k.refuse(f, err)
		}
	}
}

// act does what a frame asks for.
func (k *socket) act(f clientFrame) error {
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
		return k.move(f)
	case "stop":
		return k.halt(k.ctx, f)
	case "":
		return fault.Field("type", "is missing")
	}
	return fault.Field("type", "%.40q is not a type of frame", f.Type)
}

// later does what may take long, up to loading a pair, beside the reader.
func (k *socket) later(f clientFrame, do func(clientFrame) error) error {
	select {
	case k.slots <- struct{}{}:
	default:
		return fault.New(fault.Busy, "%d requests of this socket are waiting already", mostStarts)
	}
	k.tasks.Go(func() {
		defer func() { <-k.slots }()
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
	return session.WithClient(ctx, k.client)
}

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
