"""A real Kubernetes of one node on this machine, for the tests: `make cluster-up`, `make cluster-down`.

place       where one cluster has its name, its folder and its addresses
machine     whether this machine allows it, and the packages it needs
binaries    the programs, built from the Go module proxy into a cache
settings    the files that its programs read, as pure functions
node        the first process of its namespaces: starts its programs and reaps them
lifecycle   up and down
archives    image archives made without a builder (busybox, CoreDNS), and loading any archive
policies    what NetworkPolicies allow, as nftables rules
volumes     folders for volume claims
watching    the process that applies policies and volumes

The cluster lives in namespaces of its own (network, mount, process), whose first process is `node`: when that one
ends, however it ends, the kernel ends every process in it and takes mounts, links and addresses along. What it
can't take along are control groups and files; `down`, and the next `up`, remove those.
"""
