package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"time"

	"realign/internal/fault"
	"realign/internal/sweep"
)

// commandParameters are those of the shell command, as its Schema describes them.
type commandParameters struct {
	Command   string          `json:"command"`   // for sh -c
	Timeout   float64         `json:"timeout"`   // seconds for the answers to one prompt
	Direction sweep.Direction `json:"direction"` // which values are better
}

// byCommand is the Reward that runs a shell command.
type byCommand struct {
	info Info
	commandParameters
}

// command runs a program of the user's for the answers of a prompt: a JSON object a line to its standard input, as the
// HTTP reward posts them, and as many lines from its standard output, each what that takes for an answer.
func command() maker {
	info := Info{
		Name: "command", Title: "Shell command", Direction: sweep.Higher, Headless: true,
		About: "Runs a command in the shell with one JSON object a line on its standard input, and takes a number, {\"value\": number} " +
			"or {\"missing\": reason} for each, a line each.",
		Schema: []Parameter{{"command", "for sh -c", ""}, {"timeout", "seconds for the answers to one prompt", "60"}, directionParameter()},
	}
	return maker{info: info, make: func(parameters []byte, e Environment) (Reward, error) {
		p := commandParameters{Timeout: 60, Direction: sweep.Higher}
		if err := sweep.Strict("", parameters, &p); err != nil {
			return nil, err
		}
		if strings.TrimSpace(p.Command) == "" {
			return nil, fault.Field("command", "is needed")
		}
		if !(p.Timeout > 0) || p.Timeout > 3600 {
			return nil, fault.Field("timeout", "%g is not above 0 and up to 3600 seconds", p.Timeout)
		}
		if err := oneOf("direction", string(p.Direction), string(sweep.Higher), string(sweep.Lower)); err != nil {
			return nil, err
		}
		info := info
		info.Direction = p.Direction
		return &byCommand{info, p}, nil
	}}
}

// Info implements Reward.
func (r *byCommand) Info() Info { return r.info }

// Score implements Reward: one process for all outputs. Where it fails, or writes another number of lines, all
// values are missing.
func (r *byCommand) Score(ctx context.Context, rows []sweep.Row, outputs []sweep.Output) []sweep.Value {
	var input, out, errors bytes.Buffer
	for i := range outputs {
		line, err := json.Marshal(question(&rows[i], &outputs[i]))
		if err != nil {
			line = []byte("null")
		}
		input.Write(append(line, '\n'))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.Timeout*float64(time.Second)))
	defer cancel()
	command := exec.CommandContext(ctx, "sh", "-c", r.Command)
	command.Stdin, command.Stdout, command.Stderr = &input, &limited{&out}, &limited{&errors}
	command.WaitDelay = time.Second // for children that keep the pipes
	grouped(command)
	err := command.Run()
	var lines []string
	for line := range strings.Lines(out.String()) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	reason := ""
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		reason = "the command did not end in time"
	case ctx.Err() != nil:
		reason = "stopped before it was judged"
	case err != nil:
		reason = "the command failed: " + err.Error() + tail(errors.Bytes())
	case len(lines) != len(outputs):
		reason = "the command wrote another number of lines than it was given"
	}
	values := make([]sweep.Value, len(outputs))
	for i := range values {
		if reason != "" {
			values[i] = sweep.Missing("%s", reason)
		} else if values[i], err = answered([]byte(lines[i])); err != nil {
			values[i] = sweep.Missing("%v", err)
		}
	}
	return values
}

// limited drops what goes beyond maxAnswer.
type limited struct{ b *bytes.Buffer }

// Write implements io.Writer. It never fails, so that the program is not ended by a pipe that nobody reads.
func (l *limited) Write(p []byte) (int, error) {
	if room := maxAnswer - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
