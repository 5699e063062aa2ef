"""Where figures are not made."""

import pytest

from load import pods
from load.measure import print_table


def test_figures_of_pods_leave_a_cluster_of_others_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPARKYARD_CLUSTER", "existing")
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    found = pods.figures()
    print_table(found)
    assert found == []
    assert "Unset it to measure" in capsys.readouterr().out
