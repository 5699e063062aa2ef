"""How sizes and times are written, and what the sentence about a wrong one proposes."""

import pytest

from sparkyard_catalog.quantities import cpu_count, kubernetes_bytes, seconds, spark_bytes

MIB = 1024**2


@pytest.mark.parametrize(
    ("text", "count"),
    [("512m", 512 * MIB), ("2g", 2048 * MIB), ("2G", 2048 * MIB), ("2gb", 2048 * MIB), ("1t", 1024**4),
     ("64k", 65536), ("10b", 10), ("0b", 0)],
)  # fmt: skip
def test_sparks_memory(text: str, count: int) -> None:
    assert spark_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "hint"),
    [("2048", "write 2048m or 2048g"), ("1.5g", "write 1536m"), ("1.5t", "write 1536g"), ("2Gi", "Spark's is 2g"),
     ("2 g", "such as 512m or 2g"), ("", "512m"), ("-1g", "512m"), ("2bb", "512m"), ("٢g", "512m"),
     ("9" * 13 + "g", "512m"), ("2g\n", "512m")],
)  # fmt: skip
def test_what_spark_would_refuse_or_misread(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        spark_bytes(text)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "count"), [("512Mi", 512 * MIB), ("2Gi", 2048 * MIB), ("1.5Gi", 1536 * MIB), ("64Ki", 65536)]
)
def test_kubernetes_memory(text: str, count: int) -> None:
    assert kubernetes_bytes(text) == count


@pytest.mark.parametrize(("text", "hint"), [("2G", "write 2Gi"), ("512m", "write 512Mi"), ("two", "512Mi or 2Gi")])
def test_memory_that_kubernetes_would_read_otherwise(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        kubernetes_bytes(text)


@pytest.mark.parametrize(("value", "count"), [(1, 1.0), (0.5, 0.5), ("500m", 0.5), ("2", 2.0), ("0.25", 0.25)])
def test_cpu(value: float | str, count: float) -> None:
    assert cpu_count(value) == count


@pytest.mark.parametrize("value", [0, -1, "0", True, "lots", 5000, "1e3", float("nan"), float("inf")])
def test_what_is_no_cpu(value: float | str) -> None:
    with pytest.raises(ValueError, match="is not an amount of CPU"):
        cpu_count(value)


@pytest.mark.parametrize(
    ("text", "count"), [("30s", 30), ("10m", 600), ("10min", 600), ("1h", 3600), ("2d", 172800), ("500ms", 0.5)]
)
def test_durations(text: str, count: float) -> None:
    assert seconds(text) == count


@pytest.mark.parametrize("text", ["90", "1 h", "1.5h", "", "forever", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no unit|is not a duration"):
        seconds(text)
