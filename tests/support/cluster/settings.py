"""The files that the cluster's programs read and the lines that start them: pure functions of a place."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from support.cluster.place import Addresses, Place

NODE = "node-1"
PORT = 6443
PAUSE_IMAGE = "localhost/busybox:1"
COREDNS_IMAGE = "localhost/coredns:1"
# A token each: who presents it, and the group that gives it its rights.
USERS = {
    "admin": ("admin", "system:masters"),
    "node": (f"system:node:{NODE}", "system:nodes"),
    "scheduler": ("system:kube-scheduler", ""),
    "controllers": ("system:kube-controller-manager", ""),
    "proxy": ("system:kube-proxy", ""),
    "support": ("sparkyard:cluster-support", "system:masters"),
}


@dataclasses.dataclass(frozen=True)
class Programs:
    """Where the programs are."""

    etcd: Path
    kubernetes: Path
    python: Path


def token_file(tokens: dict[str, str]) -> str:
    """What the API server believes."""
    return "".join(f'{tokens[key]},{user},{key},"{group}"\n' for key, (user, group) in USERS.items())


def kubeconfig(address: str, authority: str, token: str) -> str:
    """A kubeconfig, as JSON, which YAML is; the authority is the API server's certificate, encoded."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "sparkyard",
                    "cluster": {"server": f"https://{address}:{PORT}", "certificate-authority-data": authority},
                }
            ],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "sparkyard", "context": {"cluster": "sparkyard", "user": "user"}}],
            "current-context": "sparkyard",
        },
        indent=1,
    )


def kubelet(addresses: Addresses, folder: Path) -> dict[str, Any]:
    """The kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},  # of logs and exec: only the cluster's own namespace reaches it
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [addresses.dns],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "evictionPressureTransitionPeriod": "10s",
        "failCgroupV1": False,
        "failSwapOn": False,
        "featureGates": {"KubeletInUserNamespace": True},  # CAP_SYS_RESOURCE may be missing
        "imageGCHighThresholdPercent": 100,  # images are loaded by hand and have nowhere to come from again
        "maxPods": 250,
        "nodeStatusUpdateFrequency": "4s",
        "registerNode": True,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "resolvConf": f"{folder}/resolv.conf",
        "serializeImagePulls": False,
        "syncFrequency": "10s",
    }


def scheduler(folder: Path) -> dict[str, Any]:
    """The scheduler's configuration: without its default limit, which bounds simulations at 52 pods a second."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": f"{folder}/scheduler.kubeconfig", "qps": 1000, "burst": 2000},
    }


def containerd(folder: Path) -> str:
    """Containerd's configuration."""
    return f"""version = 2
root = "{folder}/containerd"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "{folder}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
max_container_log_line_size = -1

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def pod_network(addresses: Addresses) -> dict[str, Any]:
    """One bridge for all pods; without masquerading, so that a gateway on this machine sees the pod's address."""
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": addresses.pods, "gateway": addresses.pods_gateway}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/var/lib/cni/networks",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def commands(place: Place, addresses: Addresses, programs: Programs) -> dict[str, list[str]]:
    """The lines that start each program, in the order of their start."""
    folder = place.folder
    kube = programs.kubernetes
    return {
        "etcd": [
            str(programs.etcd), "--data-dir=/run/sparkyard/etcd", "--unsafe-no-fsync", "--log-level=warn",
            "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380", "--quota-backend-bytes=4294967296",
        ],
        "containerd": ["/usr/bin/containerd", "--config", f"{folder}/containerd.toml"],
        "apiserver": [
            f"{kube}/kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0",
            f"--secure-port={PORT}", f"--advertise-address={addresses.node}", f"--cert-dir={folder}/certificates",
            f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=Node,RBAC", "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={folder}/accounts.key",
            f"--service-account-signing-key-file={folder}/accounts.key",
            f"--service-cluster-ip-range={addresses.services}", "--kubelet-preferred-address-types=InternalIP",
            "--enable-admission-plugins=NodeRestriction", "--event-ttl=6h", "--profiling=false",
            f"--requestheader-client-ca-file={folder}/certificates/authority.crt",
            "--requestheader-allowed-names=aggregator", "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={folder}/certificates/aggregator.crt",
            f"--proxy-client-key-file={folder}/certificates/aggregator.key",
        ],
        "controller-manager": [
            f"{kube}/kube-controller-manager", f"--kubeconfig={folder}/controllers.kubeconfig", "--leader-elect=false",
            f"--root-ca-file={folder}/certificates/authority.crt", "--use-service-account-credentials=true",
            f"--service-account-private-key-file={folder}/accounts.key", "--kube-api-qps=500", "--kube-api-burst=1000",
            "--node-monitor-grace-period=40s", "--profiling=false",
        ],
        "scheduler": [f"{kube}/kube-scheduler", f"--config={folder}/scheduler.json"],
        "kubelet": [
            f"{kube}/kubelet", f"--config={folder}/kubelet.json", f"--kubeconfig={folder}/node.kubeconfig",
            f"--hostname-override={NODE}", f"--node-ip={addresses.node}", f"--cgroup-root=/{place.cgroup}",
            "--root-dir=/var/lib/kubelet",
        ],
        "kube-proxy": [
            f"{kube}/kube-proxy", f"--kubeconfig={folder}/proxy.kubeconfig", "--proxy-mode=nftables",
            "--conntrack-max-per-core=0", f"--cluster-cidr={addresses.pods}", f"--hostname-override={NODE}",
        ],
        "watching": [str(programs.python), "-m", "support.cluster.watching", place.name],
    }  # fmt: skip
