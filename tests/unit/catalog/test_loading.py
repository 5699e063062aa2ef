"""A catalog file with mistakes: each is named with its line, column and key, and with what would be right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparkyard_catalog import Catalog, CatalogError, Problem, load

Problems = Callable[[Any], tuple[Problem, ...]]
At = tuple[str | int, ...]


def test_a_good_file(catalog: Catalog, tmp_path: Path) -> None:
    assert list(catalog.profiles) == ["small", "large"]
    assert catalog.profiles["small"].name == "small"
    assert catalog.images["old"].name == "old"
    assert catalog.teams["data"].name == "data"
    assert catalog.folder == tmp_path
    assert catalog.all_groups == {"data", "leads", "analysts"}
    assert not catalog.open_to_everyone


def change(data: dict[str, Any], path: At, value: Any) -> dict[str, Any]:
    """Set a value deep inside; `...` removes it."""
    inner: Any = data
    for part in path[:-1]:
        inner = inner[part]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


SMALL = ("profiles", "small")
LARGE = ("profiles", "large")


@pytest.mark.parametrize(
    ("path", "value", "key", "sentence"),
    [
        # References, with the nearest known name
        (("default_profile",), "smal", "default_profile", "there is no profile 'smal'; did you mean 'small'?"),
        ((*SMALL, "notebook", "image"), "notbook", "profiles.small.notebook.image", "did you mean 'notebook'?"),
        ((*SMALL, "notebook", "image"), "spark", "profiles.small.notebook.image", "is of kind spark, and notebook is"),
        ((*SMALL, "spark", "driver", "image"), "notebook", "profiles.small.spark.driver.image", "known: spark, old"),
        ((*LARGE, "spark", "driver", "choices"), ["old", "odl"], "profiles.large.spark.driver.choices[1]", "'old'?"),
        ((*LARGE, "teams"), ["dta"], "profiles.large.teams[0]", "there is no team 'dta'; did you mean 'data'?"),
        (
            ("service_accounts", "etl", "team"),
            "dta",
            "service_accounts.etl.team",
            "there is no team 'dta'; did you mean 'data'?",
        ),
        (
            ("service_accounts", "etl", "groups"),
            ["dta"],
            "service_accounts.etl.groups[0]",
            "group 'dta' is not listed under groups; did you mean 'data'?",
        ),
        ((*SMALL, "groups"), ["data", "analyst"], "profiles.small.groups[1]", "did you mean 'analysts'?"),
        (("teams", "data", "leads"), ["laeds"], "teams.data.leads[0]", "did you mean 'leads'?"),
        # Keys
        ((*SMALL, "grups"), ["data"], "profiles.small.grups", "did you mean 'groups'?"),
        ((*SMALL, "name"), "small", "profiles.small.name", "there is no such key here"),
        (("profils",), {}, "profils", "did you mean 'profiles'?"),
        ((*LARGE, "spark", "driver", "cores", "maximum"), 4, "profiles.large.spark.driver.cores.maximum", "'max'?"),
        ((*SMALL, "title"), ..., "profiles.small.title", "the key 'title' is missing; add it"),
        (("profiles",), ..., "profiles", "the key 'profiles' is missing"),
        (("images", "Big One"), {"kind": "notebook", "ref": "a/b:1"}, "images.Big One", "can't be a name"),
        # Sizes
        ((*LARGE, "spark", "driver", "cores", "max"), 0, "profiles.large.spark.driver.cores.max", "at least 1"),
        ((*LARGE, "spark", "executor", "cores", "max"), 1, "profiles.large.spark.executor.cores.max", "default 2"),
        ((*LARGE, "spark", "driver", "memory", "max"), "1g", "profiles.large.spark.driver.memory.max", "below default"),
        ((*LARGE, "spark", "driver", "memory", "default"), "512m", "profiles.large.spark.driver.memory.default", "min"),
        ((*SMALL, "spark", "driver", "memory"), "1.5g", "profiles.small.spark.driver.memory", "write 1536m"),
        ((*SMALL, "spark", "driver", "memory"), 2048, "profiles.small.spark.driver.memory", "write 2048m or 2048g"),
        ((*SMALL, "spark", "driver", "memory"), "256m", "profiles.small.spark.driver.memory", "below min 512m"),
        ((*SMALL, "spark", "driver", "cores"), "one", "profiles.small.spark.driver.cores", "not a whole number"),
        ((*SMALL, "spark", "driver", "cores"), 1.5, "profiles.small.spark.driver.cores", "not a whole number"),
        ((*SMALL, "spark", "driver", "cores"), True, "profiles.small.spark.driver.cores", "not a whole number"),
        ((*SMALL, "notebook", "memory", "limit"), "2G", "profiles.small.notebook.memory.limit", "write 2Gi"),
        ((*SMALL, "notebook", "memory", "limit"), "1Mi", "profiles.small.notebook.memory.limit", "below guarantee"),
        ((*SMALL, "notebook", "cpu", "limit"), "lots", "profiles.small.notebook.cpu.limit", "0.5 or 500m"),
        ((*SMALL, "notebook", "cpu", "limit"), "50m", "profiles.small.notebook.cpu.limit", "below guarantee"),
        ((*LARGE, "sessions", "idle_timeout"), 90, "profiles.large.sessions.idle_timeout", "write 90s, 90m or 90h"),
        ((*LARGE, "sessions", "idle_timeout", "max"), "1m", "profiles.large.sessions.idle_timeout.max", "default"),
        # Versions and images
        ((*SMALL, "spark", "version"), 3.5, "profiles.small.spark.version", 'put it in quotes: "3.5"'),
        ((*SMALL, "spark", "version"), "latest", "profiles.small.spark.version", 'write it as "3.5"'),
        ((*SMALL, "spark", "version"), "4.0", "profiles.small.spark.driver.image", "has Spark 3.5 and the profile"),
        (("images", "spark", "spark"), ..., "images.spark", 'add spark: "3.5"'),
        (("images", "notebook", "spark"), "3.5", "images.notebook.spark", "a notebook image has no Spark"),
        (("images", "spark", "kind"), "sprak", "images.spark.kind", "did you mean 'spark'?"),
        (("images", "spark", "ref"), "https://x/y", "images.spark.ref", "is not an image reference"),
        (("images", "spark", "local", "python"), "{venw}/x", "images.spark.local.python", "use {venv} or {pyspark}"),
        (
            (*LARGE, "spark", "driver", "own_images", "prefixes"), ["acme/"],
            "profiles.large.spark.driver.own_images.prefixes[0]", "is not a registry prefix",
        ),
        # Settings
        ((*SMALL, "spark", "conf"), {"spark.master": "yarn"}, "profiles.small.spark.conf.spark.master", "itself"),
        ((*SMALL, "spark", "conf"), {"spark.driver.cores": 9}, "profiles.small.spark.conf.spark.driver.cores", "caps"),
        ((*SMALL, "spark", "conf"), {"sql.x": 1}, "profiles.small.spark.conf.sql.x", "is not a Spark setting"),
        ((*SMALL, "spark", "conf"), {"spark.x": "a\nb"}, "profiles.small.spark.conf.spark.x", "remove the line break"),
        (
            (*LARGE, "spark", "conf", "spark.sql.shuffle.partitions"), 5000,
            "profiles.large.spark.conf.spark.sql.shuffle.partitions", "a whole number from 1 to 2000",
        ),
        *[
            ((*SMALL, "spark", "user_conf"), {name: {"type": "any"}}, f"profiles.small.spark.user_conf.{name}", words)
            for name, words in {
                "spark.jars": "can't be opened to users",
                "spark.kubernetes.*": "can't be opened to users",
                "spark.kubernetes.container.image": "needs no rule",
                "spark.executor.instances": "needs no rule",
                "spark.driver.extraJavaOptions": "the rule 'any' can't open this key",
                "spark.driver.*": "is too wide",
                "spark.sql.catalog.*": "is too wide",
                "*": "is not a Spark setting",
                "spark*": "is not a Spark setting",
                "spark.sql*": "is not a Spark setting",
                "spark.*.x": "is not a Spark setting",
            }.items()
        ],
        *[
            ((*SMALL, "spark", "user_conf"), {"spark.x": rule}, f"profiles.small.spark.user_conf.spark.x{at}", words)
            for rule, at, words in [
                ("any", "", "write {type: any}"),
                (5, "", "stands where a rule is needed"),
                ({"max": 5}, "", "the rule does not say its type"),
                ({"type": "integr", "max": 5}, "", "did you mean 'integer'?"),
                ({"type": "integer"}, ".max", "the key 'max' is missing"),
                ({"type": "integer", "maxi": 5, "max": 5}, ".maxi", "did you mean 'max'?"),
                ({"type": "memory", "max": "5"}, ".max", "has no unit"),
                ({"type": "memory", "min": "2g", "max": "1g"}, ".max", "max is below min"),
                ({"type": "pattern", "pattern": "("}, ".pattern", "is not a regular expression"),
            ]
        ],
        ((*SMALL, "spark", "files"), {"allow": ["ftp://x/y"]}, "profiles.small.spark.files.allow[0]", "schemes: s3a"),
        # Kinds of value
        ((*SMALL, "groups"), "data", "profiles.small.groups", "write [data]"),
        ((*SMALL, "groups"), [7], "profiles.small.groups[0]", 'put it in quotes: "7"'),
        ((*SMALL, "groups"), ..., "profiles.small", "nobody may use it"),
        ((*SMALL, "everyone"), "yes", "profiles.small.everyone", "'yes' is neither true nor false"),
        ((*SMALL, "spark"), [], "profiles.small.spark", "a list stands where a mapping"),
        (("profiles",), ["small"], "profiles", "a list stands where a mapping"),
        (("profiles",), {}, "profiles", "at least one entry"),
        (SMALL, None, "profiles.small", "nothing stands where a mapping"),
        ((*SMALL, "title"), "", "profiles.small.title", "the text is empty"),
        ((*SMALL, "title"), "x" * 81, "profiles.small.title", "at most 80"),
        (("version",), 2, "version", "'2' is not possible here"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_problem_at_its_key(
    example: dict[str, Any], problems: Problems, path: At, value: Any, key: str, sentence: str
) -> None:
    found = problems(change(example, path, value))
    named = [problem for problem in found if problem.key == key]
    assert named, [str(problem) for problem in found]
    assert any(sentence in problem.message for problem in named), [problem.message for problem in named]
    assert all(problem.line >= 1 and problem.column >= 1 for problem in found)


def test_every_problem_is_told_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    found = problems(
        """\
images:
  notebook: {kind: notebok, ref: a/b:1}
  spark: {kind: spark, spark: "3.5", ref: a/c:1}
  spark: {kind: spark, spark: "3.5", ref: a/c:1}
teams:
  data: {title: Data, grups: [data]}
profiles:
  small:
    title: Small
    everyone: true
    notebook:
      image: notebook
      cpu: {limit: 1}
      memory: {limit: 2G}
    spark:
      version: "3.5"
      driver: {image: spark, cores: 1, memory: 1.5g}
      executor: {image: spark, cores: 1, memory: 1g, count: {default: 3, max: 2}}
  other:
    title: Other
    teams: [data, dta]
    notebook: {image: notebook, cpu: {limit: 1}, memory: {limit: 2Gi}}
    spark:
      version: "3.5"
      driver: {image: sprak, cores: 1, memory: 1g}
      executor: {image: spark, cores: 1, memory: 1g, count: 1}
"""
    )
    assert [(problem.line, problem.column, problem.key) for problem in found] == [
        (2, 14, "images.notebook.kind"),
        (4, 3, "images.spark"),
        (6, 3, "teams.data.groups"),
        (6, 23, "teams.data.grups"),
        (14, 16, "profiles.small.notebook.memory.limit"),
        (17, 40, "profiles.small.spark.driver.memory"),
        (18, 74, "profiles.small.spark.executor.count.max"),
        (21, 19, "profiles.other.teams[1]"),
        (25, 16, "profiles.other.spark.driver.image"),
    ]


def test_an_entry_that_cannot_be_read_is_still_known_by_its_name(example: dict[str, Any], problems: Problems) -> None:
    """A mistake in an image is one problem, not another one in each profile that names it."""
    example["images"]["spark"]["kind"] = "sprak"
    example["teams"]["data"]["title"] = 5
    assert [problem.key for problem in problems(example)] == ["teams.data.title", "images.spark.kind"]


def test_a_problem_reads_as_editors_and_terminals_link_it(problems: Problems, tmp_path: Path) -> None:
    (problem,) = problems("images: {}\nimages: {}\n")[:1]
    assert str(problem).startswith(f"{tmp_path}/catalog.yaml:1:")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("- a\n- b\n", "the file is a list; it must be a mapping"),
        ("just text\n", "the file is one value; it must be a mapping"),
        (b"\xff\xfea\x00", "is not UTF-8"),
        ("a: [1", "expected"),
    ],
)
def test_files_that_are_no_catalog(problems: Problems, content: str | bytes, sentence: str) -> None:
    (problem,) = problems(content)
    assert sentence in problem.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="there is no such file"):
        load(tmp_path / "nowhere.yaml")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="this is a folder"):
        load(tmp_path)


def test_a_file_that_may_not_be_read(
    write: Callable[[Any], Path], example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(example)

    def refuse(*_: Any) -> None:  # the tests may run as root, whom no mode keeps out
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CatalogError, match="may not read the file"):
        load(path)


def test_without_a_list_of_groups_any_group_goes(example: dict[str, Any], write: Callable[[Any], Path]) -> None:
    del example["groups"]
    example["profiles"]["small"]["groups"] = ["whatever"]
    assert "whatever" in load(write(example)).all_groups


def test_a_catalog_made_from_data_is_checked_as_a_whole_too(example: dict[str, Any]) -> None:
    assert Catalog.model_validate(example).profiles["large"].title == "Large"
    example["default_profile"] = "smal"
    with pytest.raises(ValueError, match="did you mean 'small'"):
        Catalog.model_validate(example)
