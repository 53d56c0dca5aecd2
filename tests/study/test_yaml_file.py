"""The one reader of YAML that people write: refuses with a line what is odd, reads the rest as PyYAML does."""

import ast
import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lookalike.core.errors import LookalikeError
from lookalike.study.yaml_file import MOST_BYTES, parse_yaml, read_yaml

ROOT = Path(__file__).parents[2]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "models: 1\nx: 2\nmodels: 3": "line 3: 'models' is there twice, in line 1 too",
    "<<: {a: 1}\n<<: {b: 1}": "'<<' is there twice",
    "a: !!python/name:os.system 1": "line 1: 'tag:yaml.org,2002:python/name:os.system' is a tag",
    "a: !mine {b: 1}": "'!mine' is a tag",
    "__use_yte__: true": "is a template's key",
    '?if __import__("os").system("touch x"): 1': "is a template's key",
    "no: 1": "line 1: YAML reads the key no as true or false; put it in quotes: 'no'",
    "0: 1": "as a number; put it in quotes",
    "~: 1": "as nothing; put it in quotes",
    "2024-01-01: 1": "as a date; put it in quotes",
    "? [a]\n: 1": "a key is a list or a mapping",
    "a: &a 1\n*a : 2": "an alias stands where a key does",
    "a: &a [*a]": r"\*a stands for nothing that is complete",
    "a: 1234567890123456789": "has 19 characters",
    "a: " + "9" * 5000: "has 5000 characters",
    "a: '" + "x" * 20_000 + "'": "has 20000 characters",
    "[" * 5000: "nested more than 30 deep",
    BOMB: "more than 20000 values by now, aliases followed",
    "- a\n" * 25_000: "more than 20000 values",
    "a: [b": "is not valid YAML",
    "a: 1\n---\nb: 2": "line 2: this is not valid YAML",
    "a: 2024-13-45": "is not valid YAML",
    "a: \x01": "is not valid YAML",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_odd_yaml_is_refused_with_a_line_at_once(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(LookalikeError, match=REFUSED[text]) as refused:
        parse_yaml(text, Path("mine.yaml"))
    assert str(refused.value).startswith("study mine.yaml")
    assert len(str(refused.value)) < 400
    assert time.perf_counter() - started < 5


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**16), 10**16) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read_as_it_is(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    if re.search(r"^\s*(- )*['\"]?(\?|__)", text, re.MULTILINE):  # keys of templates
        return
    assert parse_yaml(text, Path("mine.yaml")) == yaml.safe_load(text)


def test_merges_and_anchors_stay(tmp_path: Path) -> None:
    text = "x-common: &common {epochs: 3, lr: 0.1}\nfc: {<<: *common, lr: 0.2}\nnw: *common\n"
    assert parse_yaml(text, Path())["fc"] == {"epochs": 3, "lr": 0.2}
    path = tmp_path / "bom.yaml"
    path.write_text("\ufeffa: 1\r\n", encoding="utf-8")
    assert read_yaml(path) == {"a": 1}


def test_what_is_no_study_file_is_never_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_text("#" * (MOST_BYTES + 1))
    (tmp_path / "latin.yaml").write_bytes("a: caf\u00e9".encode("latin-1"))
    for path, message in (
        (tmp_path / "pipe.yaml", "is no file"),
        (tmp_path, "is no file"),
        (Path("/dev/zero"), "is no file"),
        (tmp_path / "none.yaml", "is missing"),
        (tmp_path / "large.yaml" / "x", "is missing"),
        (tmp_path / ("x" * 3000), "cannot be read"),
        (Path("a\0b"), "cannot be read"),
        (tmp_path / "large.yaml", "a study has at most"),
        (tmp_path / "latin.yaml", r"is not UTF-8 \(byte 6\)"),
    ):
        with pytest.raises(LookalikeError, match=message):
            read_yaml(path)


def test_there_is_one_reader_of_each_kind() -> None:
    """No other module parses YAML, and none loads it with another loader than the safe one."""
    places: dict[str, set[str]] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = getattr(node.func.value, "id", "")
                places.setdefault(f"{owner}.{node.func.attr}", set()).add(path.name)
    assert places["yaml.safe_load"] == {"yaml_file.py"}
    assert places["yaml.parse"] == {"yaml_file.py"}
    assert places["yaml.compose"] == {"migrate.py"}  # for the places of keys, after the reader has looked through it
    assert not {
        "yaml.load",
        "yaml.full_load",
        "yaml.unsafe_load",
        "yaml.load_all",
        "pickle.load",
        "pickle.loads",
    } & set(places)
    assert places["pd.read_csv"] == {"tables.py", "responses.py"}  # ours, and people's


def test_shell_commands_of_rules_quote_what_they_insert() -> None:
    """Names of plans and wildcards have patterns of their own; whatever else is inserted is quoted."""
    wild = r"wildcards\.\w+|threads|RUN|PLAN_PATH"
    for path in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        for command in re.findall(r'^\s+f?"(lookalike .*|.*--mode.*)"', path.read_text(), re.MULTILINE):
            for inserted in re.findall(r"\{+([^{}]+)\}+", command):
                assert inserted.endswith(":q") or re.fullmatch(wild, inserted), (path.name, command)
