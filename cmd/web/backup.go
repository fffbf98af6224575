package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"realign/internal/fault"
	"realign/internal/store"
)

// backupCommand copies what a server keeps, while it runs.
type backupCommand struct {
	Data  string `default:"${data}" placeholder:"DIR" help:"Data folder of the server (default ${data})."`
	DB    string `name:"db" placeholder:"DSN" help:"Database: postgres://… or sqlite:PATH. Default: realign.db in the data folder."`
	Files bool   `help:"Copy the models in the data folder, too, and not only what pairs say of them."`
	To    string `arg:"" placeholder:"FOLDER" help:"Folder to make. A server can be started on it with --data."`
}

// Run makes the folder under another name first, so that what has its name is complete.
func (c *backupCommand) Run(ctx context.Context, h env) (err error) {
	to := filepath.Clean(c.To)
	if _, err := os.Lstat(to); err == nil {
		return fault.Field("folder", "%s is there already: name one that is not", c.To)
	}
	part, err := os.MkdirTemp(filepath.Dir(to), filepath.Base(to)+".part-")
	if err != nil {
		return fault.Field("folder", "%v", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(part)) }()
	name, err := store.Backup(ctx, store.Config{Data: c.Data, DSN: c.DB}, part)
	if err != nil {
		return asFlagError(err)
	}
	copied, err := c.copyPairs(part)
	if err != nil {
		return err
	}
	if err := os.Rename(part, to); err != nil {
		return fault.Field("folder", "%v", err)
	}
	_, err = fmt.Fprintf(h.stdout, "%s: %s and %d files of pairs\n", to, name, copied)
	return err
}

// copyPairs copies the pairs that were added: what says what they are, and with --files their models.
func (c *backupCommand) copyPairs(to string) (copied int, err error) {
	from := filepath.Join(c.Data, "pairs")
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		if filepath.Ext(path) != ".json" && !c.Files {
			return nil
		}
		name, err := filepath.Rel(c.Data, path)
		if err != nil {
			return err
		}
		copied++
		return copyFile(path, filepath.Join(to, name))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return copied, err
}

// copyFile copies a file to where none is, with the folders above it, for its user alone, and waits until it is on
// disk.
func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
