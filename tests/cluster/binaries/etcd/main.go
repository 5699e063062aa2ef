// Etcd, the store of the test cluster's API server. Debian's is too old for Spark's watches (requests for progress).
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
