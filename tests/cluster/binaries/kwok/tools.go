//go:build tools

// Package tools pins kwok, which plays hundreds of nodes for the measurements.
package tools

import (
	_ "sigs.k8s.io/kwok/cmd/kwok"
)
