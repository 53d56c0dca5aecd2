"""Studies of version 1: every old key is named at once with its new name, and `migrate` rewrites nothing else."""

from pathlib import Path

import pytest
import yaml
from helpers.studies import make_plan
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.core.errors import LookalikeError
from lookalike.study import migrate as migrate_module
from lookalike.study.migrate import RENAMED, STAGES, VALUES, migrate, renamed_keys
from lookalike.study.read import check_study, read_study

# Names and texts that are like keys: an entry `held_out`, a model `voters`, a title about sizes.
OLD = """\
# A study of version 1: sizes, patch, voters.
version: 1   # of the format
name: old
title: "sizes: held_out, patch"

x-training: &training {epochs: 2,   batch_size: 8}   # of every model
x-notes: {sizes: [1], patch: none, draw: memory_wrap, inference: {voters: 3, compat: true}}
x-drawn: &drawn
  held_out: 20   # to choose by
  draw: memory_wrap
x-ranking: &ranking {shortlist: 20, voters: 7, compat: upstream}

datasets:
  digits:
    <<: *drawn
    sizes: [100,  all]
  held_out:    # the name of an entry
    source: critters
    competing_classes: all
    queries_for: digits
  others: {source: critters, outliers_for: digits, draw: balanced}
  drawn:
    source: digits
    <<: [*drawn]
    evaluation_sets: [test, test-patch]

models:
  fc:
    method: fc
    training: *training
  nw: {method: nw, compat: corrected, kernel: dotproduct, sizes: [all], training: *training}
  invariant:
    method: nw
    compat: upstream   # stays
    kernel: cosine
    sizes:
      - all
    training: *training
  voters:
    method: emd_corr   # Zhao et al.
    backbone_from: fc

    inference:
      <<: *ranking   # of both re-rankers
      shortlist: 30
  chm: {inference: *ranking, backbone_from: fc, method: chm_corr, correspondence: {weights: chm.pt}}
  nearest: {method: knn, backbone_from: fc, inference: {voters: 5}}
  memory_wrap:
    method: memory_wrap
    inference: {heat_maps: {baseline: black}}
  flow:
    method: protoflow
    backbone: {name: dense_flow_small}
    prototypes:
      components: 2
      start: kmeans   # not em
    inference:
      compat: true   # as the original
      samples: 3
  right_flow: {method: protoflow, backbone_from: flow, inference: {samples: 3, compat: false}}

sizes: [100, all]
seeds: [0]
evaluation_sets:
  - test
  - test-patch
  - 'test-gaussian_noise-1'
patch: {model: fc, target: 3}
resources:
  make_patch: {gpu: 0}
  "precompute_support": {mem_mb: 9000}
  precompute_support/nw: {mem_mb: 8000}
  score_counterfactuals/memory_wrap: {runtime: 1}
  score_correspondences/voters: {runtime: 2}
  show_prototypes/flow: {runtime: 3}
  run_pack: {runtime: 4}
  train: {runtime: 5}
# The end: test-patch."""

NEW = """\
# A study of version 1: sizes, patch, voters.
version: 2   # of the format
name: old
title: "sizes: held_out, patch"

x-training: &training {epochs: 2,   batch_size: 8}   # of every model
x-notes: {sizes: [1], patch: none, draw: memory_wrap, inference: {voters: 3, compat: true}}
x-drawn: &drawn
  validation_size: 20   # to choose by
  draw: uniform
x-ranking: &ranking {n_candidates: 20, k: 7}

datasets:
  digits:
    <<: *drawn
    train_sizes: [100,  all]
  held_out:    # the name of an entry
    source: critters
    class_subset: all
    evaluated_with: digits
  others: {source: critters, ood_for: digits, draw: balanced}
  drawn:
    source: digits
    <<: [*drawn]
    evaluation_sets: [test, test-adversarial_patch]

models:
  fc:
    method: fc
    training: *training
  nw: {method: nw, kernel: dot, train_sizes: [all], training: *training}
  invariant:
    method: nw
    compat: upstream   # stays
    kernel: cosine
    train_sizes:
      - all
    training: *training
  voters:
    method: emd_corr   # Zhao et al.
    compat: upstream
    backbone_from: fc

    inference:
      <<: *ranking   # of both re-rankers
      n_candidates: 30
  chm: {inference: *ranking, backbone_from: fc, method: chm_corr, compat: upstream, correspondence: {weights: chm.pt}}
  nearest: {method: knn, backbone_from: fc, inference: {k: 5}}
  memory_wrap:
    method: memory_wrap
    inference: {attribution: {baseline: black}}
  flow:
    method: protoflow
    compat: upstream
    backbone: {name: dense_flow_small}
    prototypes:
      components: 2
      init: kmeans   # not em
    inference:
      samples: 3
  right_flow: {method: protoflow, backbone_from: flow, inference: {samples: 3}}

train_sizes: [100, all]
seeds: [0]
evaluation_sets:
  - test
  - test-adversarial_patch
  - 'test-gaussian_noise-1'
adversarial_patch: {model: fc, target: 3}
resources:
  train_adversarial_patch: {gpu: 0}
  "embed": {mem_mb: 9000}
  embed/nw: {mem_mb: 8000}
  analyse/memory_wrap: {runtime: 1}
  analyse/voters: {runtime: 2}
  analyse/flow: {runtime: 3}
  run_job_group: {runtime: 4}
  train: {runtime: 5}
# The end: test-patch."""

MESSAGE = """\
old.yaml has keys of an older version; `lookalike migrate old.yaml` rewrites the file, comments kept:
  version: 1 is now version: 2
  datasets.digits.held_out is now datasets.digits.validation_size
  datasets.digits.draw: memory_wrap is now datasets.digits.draw: uniform
  datasets.digits.sizes is now datasets.digits.train_sizes
  datasets.held_out.competing_classes is now datasets.held_out.class_subset
  datasets.held_out.queries_for is now datasets.held_out.evaluated_with
  datasets.others.outliers_for is now datasets.others.ood_for
  datasets.drawn.held_out is now datasets.drawn.validation_size
  datasets.drawn.draw: memory_wrap is now datasets.drawn.draw: uniform
  datasets.drawn.evaluation_sets.*: test-patch is now datasets.drawn.evaluation_sets.*: test-adversarial_patch
  models.nw.compat: corrected is now left out
  models.nw.kernel: dotproduct is now models.nw.kernel: dot
  models.nw.sizes is now models.nw.train_sizes
  models.invariant.sizes is now models.invariant.train_sizes
  models.voters.inference.shortlist is now models.voters.inference.n_candidates
  models.voters.inference.voters is now models.voters.inference.k
  models.voters.inference.compat: upstream is now models.voters.compat: upstream
  models.chm.inference.shortlist is now models.chm.inference.n_candidates
  models.chm.inference.voters is now models.chm.inference.k
  models.chm.inference.compat: upstream is now models.chm.compat: upstream
  models.nearest.inference.voters is now models.nearest.inference.k
  models.memory_wrap.inference.heat_maps is now models.memory_wrap.inference.attribution
  models.flow.prototypes.start is now models.flow.prototypes.init
  models.flow.inference.compat: true is now models.flow.compat: upstream
  models.right_flow.inference.compat: false is now left out
  sizes is now train_sizes
  evaluation_sets.*: test-patch is now evaluation_sets.*: test-adversarial_patch
  patch is now adversarial_patch
  resources.make_patch is now resources.train_adversarial_patch
  resources.precompute_support is now resources.embed
  resources.precompute_support/nw is now resources.embed/nw
  resources.score_counterfactuals/memory_wrap is now resources.analyse/memory_wrap
  resources.score_correspondences/voters is now resources.analyse/voters
  resources.show_prototypes/flow is now resources.analyse/flow
  resources.run_pack is now resources.run_job_group"""


def write(folder: Path, text: str) -> Path:
    path = folder / "old.yaml"
    path.write_bytes(text.encode())
    return path


def migrated(folder: Path, text: str) -> str:
    path = write(folder, text)
    migrate(path)
    return path.read_bytes().decode()


def test_every_old_key_is_named_at_once() -> None:
    with pytest.raises(LookalikeError) as caught:
        check_study(yaml.safe_load(OLD), "old.yaml")
    assert str(caught.value).splitlines() == MESSAGE.splitlines()


def test_the_study_has_everything_that_was_renamed() -> None:
    """So that a key that is renamed some day joins the tests."""
    values = yaml.safe_load(OLD)
    places = list(migrate_module._walk(values, ()))
    for pattern in RENAMED:
        assert any(migrate_module._matches(where, pattern) for where, _ in places), pattern
    for pattern, renew in VALUES.items():
        assert any(migrate_module._matches(where, pattern) and renew(value) != value for where, value in places), (
            pattern
        )
    assert set(STAGES) <= {key.partition("/")[0] for key in values["resources"]}


def test_a_study_is_rewritten_with_its_comments_anchors_and_layout(tmp_path: Path) -> None:
    path = write(tmp_path, OLD)
    assert migrate(path) == "34 places changed"
    assert path.read_bytes().decode().splitlines() == NEW.splitlines()
    assert path.read_bytes() == NEW.encode()


def test_what_was_rewritten_is_a_study_of_today(tmp_path: Path) -> None:
    plan = make_plan(yaml.safe_load(migrated(tmp_path, OLD)), tmp_path)
    assert plan.train_sizes == (100, "all")
    assert plan.datasets["digits"].draw == plan.datasets["drawn"].draw == "uniform"
    assert plan.datasets["drawn"].validation_size == 20
    assert {name: getattr(model, "compat", None) for name, model in plan.models.items()} == {
        "fc": None,
        "nw": None,
        "invariant": "upstream",
        "voters": "upstream",
        "chm": "upstream",
        "nearest": None,
        "memory_wrap": None,
        "flow": "upstream",
        "right_flow": None,
    }
    assert (plan.models["voters"].inference.n_candidates, plan.models["voters"].inference.k) == (30, 7)
    assert (plan.models["chm"].inference.n_candidates, plan.models["chm"].inference.k) == (20, 7)


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, OLD)
    migrate(path)
    stamp = path.stat().st_mtime_ns
    with pytest.raises(LookalikeError, match=r"old.yaml has no key of an older version; nothing was changed"):
        migrate(path)
    assert path.read_bytes() == NEW.encode()
    assert path.stat().st_mtime_ns == stamp
    assert renamed_keys(yaml.safe_load(NEW)) == []


def test_by_hand(tmp_path: Path) -> None:
    path = write(tmp_path, "version: 1\nname: a\nseeds: [0]\ndatasets: [digits]\nmodels: {fc: {method: fc}}\n")
    with pytest.raises(LookalikeError, match=r"`lookalike migrate .*old.yaml` rewrites the file, comments kept"):
        read_study(path)
    done = CliRunner().invoke(app, ["migrate", str(path)])
    assert done.output == f"migrate {path}: 1 place changed\n"
    assert read_study(path).version == 2
    again = CliRunner().invoke(app, ["migrate", str(path)])
    assert again.exit_code == 1
    assert "nothing was changed" in str(again.exception)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "models:\n  a: {method: nw, kernel: &k dotproduct}\n  b: {method: nw, kernel: *k}\n",
            "models:\n  a: {method: nw, kernel: &k dot}\n  b: {method: nw, kernel: *k}\n",
        ),
        (
            "evaluation_sets: [test, &p test-patch]\ndatasets: {digits: {evaluation_sets: [test, *p]}}\n",
            "evaluation_sets: [test, &p test-adversarial_patch]\ndatasets: {digits: {evaluation_sets: [test, *p]}}\n",
        ),
        (
            '{"version":1,"sizes":["all"],"models":{"a":{"method":"nw","kernel":"dotproduct"}}}',
            '{"version":2,"train_sizes":["all"],"models":{"a":{"method":"nw","kernel":"dot"}}}',
        ),
        ("version: 1\r\nsizes: [all]  # ü\r\n", "version: 2\r\ntrain_sizes: [all]  # ü\r\n"),
        ("\ufeffversion: 1\nsizes: [all]", "\ufeffversion: 2\ntrain_sizes: [all]"),
        ("version: 1\ntitle: 😀 ß\nsizes: [all]\n", "version: 2\ntitle: 😀 ß\ntrain_sizes: [all]\n"),
    ],
    ids=["anchored value", "anchored entry", "JSON", "lines of Windows", "byte order mark", "Unicode"],
)
def test_other_ways_to_write(tmp_path: Path, old: str, new: str) -> None:
    assert migrated(tmp_path, old) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "models:\n  a:\n    method: emd_corr\n    inference: &i\n      compat: upstream  # alone\n"
            "  b: {method: emd_corr, inference: *i}\n",
            "models:\n  a:\n    method: emd_corr\n    compat: upstream\n    inference: &i\n      {}  # alone\n"
            "  b: {method: emd_corr, compat: upstream, inference: *i}\n",
        ),
        (
            "models:\n  a: {method: emd_corr, inference: {compat: upstream}}\n",
            "models:\n  a: {method: emd_corr, compat: upstream, inference: {}}\n",
        ),
        (
            "models:\n  a: {method: protoflow, inference: {compat: yes, samples: 1}}\n",
            "models:\n  a: {method: protoflow, compat: upstream, inference: {samples: 1}}\n",
        ),
        (
            "x-a: &a {method: emd_corr}\nmodels:\n  a: {<<: *a, inference: {compat: upstream, k: 1}}\n"
            "  b:\n    <<: *a\n    inference: {k: 1, compat: upstream}\n",
            "x-a: &a {method: emd_corr}\nmodels:\n  a: {compat: upstream, <<: *a, inference: {k: 1}}\n"
            "  b:\n    compat: upstream\n    <<: *a\n    inference: {k: 1}\n",
        ),
        (
            "x-a: &a {method: emd_corr, inference: {compat: upstream, k: 1}}\nmodels:\n  a: *a\n  b: {<<: *a}\n",
            "x-a: &a {method: emd_corr, compat: upstream, inference: {k: 1}}\nmodels:\n  a: *a\n  b: {<<: *a}\n",
        ),
        (
            "models:\n  a: {method: emd_corr, inference: {compat: &c upstream, k: 1}}\n"
            "  b: {method: emd_corr, inference: {k: 1, compat: *c}}\n",
            "models:\n  a: {method: emd_corr, compat: upstream, inference: {k: 1}}\n"
            "  b: {method: emd_corr, compat: upstream, inference: {k: 1}}\n",
        ),
        (
            "models:\n  a:\n    method: emd_corr\n    inference:\n      k: 1\n      compat: upstream",
            "models:\n  a:\n    method: emd_corr\n    compat: upstream\n    inference:\n      k: 1\n",
        ),
    ],
    ids=["alone", "alone in braces", "yes", "method merged", "all merged", "alias", "no last line end"],
)
def test_the_authors_behaviour_moves_to_the_model(tmp_path: Path, old: str, new: str) -> None:
    assert migrated(tmp_path, old) == new


@pytest.mark.parametrize(
    "text",
    [
        "version: 3\n",  # of a lookalike to come
        "version: 2\ndatasets: {digits: {draw: unifrom}}\n",  # a mistake is no old word
        "version: 2\nmodels: {a: {method: nw, kernel: [dotproduct]}}\nevaluation_sets: [5, null]\n",
        "x-a: {sizes: [1]}\nx-resources: {make_patch: {}}\n",
    ],
)
def test_what_is_no_older_version_stays(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LookalikeError, match="has no key of an older version; nothing was changed"):
        migrate(path)
    assert path.read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("- 1", "holds no study"),
        (
            "resources: {score_counterfactuals: {gpu: 1}, show_prototypes: {gpu: 0}}\n",
            "resources has score_counterfactuals and show_prototypes, which are both analyse now; take one of the two",
        ),
        (
            "models: {a: {method: emd_corr, inference: {compat: &c upstream, k: 1}}}\nx-b: *c\n",
            r"old.yaml is written in a way that cannot be rewritten; change it by hand:\n"
            r"  models.a.inference.compat: upstream is now models.a.compat: upstream",
        ),
    ],
)
def test_what_cannot_be_rewritten_stays(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LookalikeError, match=message):
        migrate(path)
    assert path.read_bytes() == text.encode()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LookalikeError, match=r"study .*none.yaml is missing"):
        migrate(tmp_path / "none.yaml")
