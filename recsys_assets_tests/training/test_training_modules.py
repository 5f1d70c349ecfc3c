"""The training modules by themselves: the folded output against Merlin's, packed batches, early
stopping, drawn negatives.

They need TensorFlow, which this environment has not: ``probe.py`` runs them in theirs and says what
it found.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    module = "recsys_assets_tests.support.probe"
    script = PROJECT_ROOT / "recsys_assets_tests" / "support" / "probe.py"
    assert script.exists()
    done = subprocess.run(
        [str(TRAINING_PYTHON), str(script)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={"PYTHONPATH": str(PROJECT_ROOT), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, f"{module} failed:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["plain", "logq"])
def test_the_folded_output_is_merlins_own(probe: dict[str, Any], kind: str) -> None:
    found = probe["merlin"]
    assert found[f"{kind}_size"] > 0.01  # gradients that could differ
    assert (
        found[f"{kind}_loss"] < 1e-5 and max(found[f"{kind}_query"], found[f"{kind}_item"]) < 1e-6
    )


def test_the_rows_own_item_is_no_negative(probe: dict[str, Any]) -> None:
    found = probe["merlin"]
    assert found["own_left_out"] < found["own_counted"] - 10 and found[
        "own_counted"
    ] == pytest.approx(found["one_item"], abs=1e-5)


def test_the_probability_of_being_a_negative(probe: dict[str, Any]) -> None:
    found = probe["inclusion"]
    assert (
        found["largest_difference"] < 0.03 and found["rarest"] > 0.15 and found["commonest"] > 0.99
    )


@pytest.mark.parametrize("way", ["converted", "made"])
def test_small_probabilities_have_all_digits_of_float32(probe: dict[str, Any], way: str) -> None:
    """ONNX Runtime's own sigmoid is five times too large at a log-odds of -20."""
    assert probe["sigmoids"][way] < 1e-6


def test_a_batch_is_the_rows_themselves(probe: dict[str, Any]) -> None:
    found = probe["packed"]
    assert found["equal"] and found["vectors"]
    assert found["profile"] == [
        14 + 15,
        6 + 7,
        300 + 301,
    ]  # what the maker makes of the padded list
    assert (
        found["refused"] == "packed rows differ in number: {'cat': 200, 'cont': 200, 'history': 3}"
    )


def test_items_are_told_apart_and_keep_the_catalogues_order(probe: dict[str, Any]) -> None:
    assert probe["packed"]["items_in_catalogue_order"] and probe["packed"]["clicked"]


def test_an_epochs_order(probe: dict[str, Any]) -> None:
    found = probe["packed"]
    assert found["order_length"] == found["distinct"] == 96  # whole batches, no row twice
    assert found["same_epoch"] and not found["other_epoch"]


def test_training_again_gives_the_same_numbers(probe: dict[str, Any]) -> None:
    assert probe["plain"] == probe["again"]
    assert probe["plain"] != probe["dropped"]


def test_the_two_tower_learns(probe: dict[str, Any]) -> None:
    for name in ("plain", "dropped", "learned"):
        figures, losses = probe[name]["figures"], probe[name]["losses"]
        assert (
            figures[-1] > figures[0] + 0.05
            and figures[-1] > 4 * 10 / 150
            and losses[-1] < losses[0] - 0.3
        ), name


def test_the_best_epochs_weights_come_back(probe: dict[str, Any]) -> None:
    found = probe["stopped"]  # told 0.1, 0.5, 0.3, 0.4, …: two epochs without a better one end it
    assert (found["epochs"], found["best_epoch"], found["kept_epochs"]) == (4, 2, [2])


def test_without_patience_the_last_weights_stay(probe: dict[str, Any]) -> None:
    assert probe["plain"]["kept_epochs"] == [3] and probe["plain"]["best_epoch"] == 3


def test_item_id_dropout_brings_the_vector_without_id_closer(probe: dict[str, Any]) -> None:
    assert probe["dropped"]["similarity_without_id"] > probe["plain"]["similarity_without_id"]


def test_a_learned_temperature_moves_and_a_fixed_one_does_not(probe: dict[str, Any]) -> None:
    assert probe["plain"]["temperature"] == pytest.approx(0.1, rel=1e-6)
    assert abs(probe["learned"]["temperature"] - 0.1) > 1e-5  # the fixed one stays to 1e-7


def test_embedding_l2_makes_the_embeddings_smaller(probe: dict[str, Any]) -> None:
    assert probe["learned"]["user_norm"] < probe["plain"]["user_norm"]


def test_item_id_dropout_trains_the_rankers_unknown_item(probe: dict[str, Any]) -> None:
    assert (
        probe["never_shown"]["oov_moved"] > 1e-3
        and probe["never_shown_without_dropout"]["oov_moved"] == 0
    )


def test_items_never_shown_become_the_rankers_unknown_item(probe: dict[str, Any]) -> None:
    found = probe["never_shown"]
    assert found["were_chance"] and found["forgotten"] == 10 and found["hidden_are_oov"]
    assert found["scored"] > 50 and found["score_difference"] == 0
    assert found["shown_moved"] and found["shown_stay"] and found["reserved_stay"]


def test_five_negatives_a_click_and_none_that_was_clicked_that_day(probe: dict[str, Any]) -> None:
    found = probe["clicks_only"]
    assert found["rows"] == 4_000 + found["negatives"] and found["negatives"] == 5 * 4_000
    assert found["clicked_that_day"] == 0 and found["correlation_with_shares"] > 0.9


def test_a_drawn_negative_has_its_own_inputs_and_its_clicks_context(probe: dict[str, Any]) -> None:
    found = probe["clicks_only"]
    assert (
        found["inputs_are_the_items"] and found["context_is_the_clicks"] and found["oov_items"] == 0
    )
    assert found["popularity_of_the_day"] > 0.9  # the rest were shown to nobody that day


def test_a_dlrm_of_drawn_negatives_is_calibrated(probe: dict[str, Any]) -> None:
    found = probe["clicks_only"]
    assert found["offset"] == pytest.approx(found["expected_offset"], abs=1e-5)
    # over the whole catalogue about one click a visit; uncorrected it would be 40 items × 1/6
    assert 0.7 < found["clicks_a_visit"] < 1.6


def test_items_are_hidden_in_training_alone(probe: dict[str, Any]) -> None:
    """Of 2,000 visitors with one item, .3 are hidden; the standard error is .01."""
    assert probe["hidden_items"]["training"] == pytest.approx(0.3, abs=0.05)
    assert probe["hidden_items"]["answering"] == 0


def test_graphs_written_by_hand_give_what_tensorflow_gives(probe: dict[str, Any]) -> None:
    assert len(probe["graphs"]) == 13 and all(
        0 < difference <= 1e-6 for difference in probe["graphs"].values()
    ), probe["graphs"]
