//go:build tools

// Package tools pins Helm, which installs the chart on the test cluster.
package tools

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
