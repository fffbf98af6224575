package main

import (
	"bytes"
	"context"
	"os"

	"realign/internal/pair"
	"realign/internal/pair/fetch"
	"realign/internal/pair/manage"
	"realign/internal/pair/modelstore"
)

// manager is what the page of pairs works with, nil where it only shows them.
func (c *serveCommand) manager(models pair.Resolver, finder *pair.Finder, removed func(name string), h env) *manage.Manager {
	if c.ManagePairs == "no" || c.ManagePairs == "auto" && c.Auth != "none" {
		return nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	registry := fetch.RegistryFromEnvironment(os.Getenv, home)
	registry.Endpoint = os.Getenv("REALIGN_OLLAMA_REGISTRY")
	return manage.New(manage.Config{
		Finder: finder, Removed: removed, Library: models.Library, Folder: c.registered(), Sums: models.Sums, Heads: c.heads(),
		Stores: func() []modelstore.Store { return modelStores() },
		Hub:    fetch.HubFromEnvironment(os.Getenv, home), Registry: registry,
		Check: func(ctx context.Context, name string) (string, error) {
			var lines bytes.Buffer
			quiet := h
			quiet.stdout = &lines
			err := (&pairsCheck{pairFlags: c.pairFlags, modelFlags: c.modelFlags, Name: name}).Run(ctx, quiet)
			return lines.String(), err
		},
	})
}
