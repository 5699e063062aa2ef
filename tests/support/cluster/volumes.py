"""Volumes of the test cluster: a folder of the node for every claim, as a local volume, so that fsGroup is applied
as on a cloud's disks. The folder goes with its claim."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.cluster.manifests import STORAGE_CLASS
from support.cluster.settings import NODE

PROVISIONER = "sparkyard.test/folders"
Object = Mapping[str, Any]


def wants_volume(claim: Object) -> bool:
    """Whether a claim waits for a folder."""
    spec = claim["spec"]
    return (
        spec.get("storageClassName") == STORAGE_CLASS
        and not spec.get("volumeName")
        and (claim.get("status") or {}).get("phase") == "Pending"
    )


def is_left(volume: Object) -> bool:
    """Whether a volume is ours and its claim is gone."""
    annotations = volume["metadata"].get("annotations") or {}
    released = (volume.get("status") or {}).get("phase") in {"Released", "Failed"}
    return annotations.get("pv.kubernetes.io/provisioned-by") == PROVISIONER and released


def name_for(claim: Object) -> str:
    """The name of a claim's volume and folder."""
    return f"pvc-{claim['metadata']['uid']}"


def volume_for(claim: Object, folder: Path) -> dict[str, Any]:
    """The volume of a claim."""
    metadata = claim["metadata"]
    match = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name_for(claim), "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "local": {"path": str(folder / name_for(claim))},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}},
        },
    }


def remove_folder(volume: Object) -> None:
    """Remove the folder of a volume that is left."""
    shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)
