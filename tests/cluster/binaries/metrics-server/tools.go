//go:build tools

// Package tools pins metrics-server, which measures what pods use.
package tools

import (
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
