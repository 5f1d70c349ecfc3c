"""Test the embedding assets: cost of a new product, refits, items without clicks."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from PIL import Image

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.defs.embeddings import encoders
from recsys_assets.lib.embeddings import image_encoder, text
from recsys_assets.lib.own_data.tables import derived_items
from recsys_assets.lib.simulator import catalogue
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings
from recsys_assets_tests.support.small_text_encoder import WORDS, save_text_encoder

pytestmark = pytest.mark.slow

FIRST = 40
FRAME = catalogue.synthetic_catalogue(60, seed=2)
ASSETS = [
    encoders.text,
    encoders.training_catalogue,
    encoders.image_encoder,
    encoders.image,
    encoders.fitted_pca,
    encoders.item_embeddings,
]
KINDS = ["text", "training_catalogue", "image_encoder", "image", "pca", "items"]


def picture(name: str) -> bytes:
    """Return a small image as PNG bytes."""
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), tuple(hashlib.sha256(name.encode()).digest()[:3])).save(
        stream, "PNG"
    )
    return stream.getvalue()


class Shop:
    """Holds a home with a catalogue, its assets, and counts of encoded texts and images."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(home=folder)
        self.store = ArtifactStore(settings.artifacts)
        self.texts, self.pictures = [], []
        embed, encode = text.embed_texts, image_encoder.encode_images
        monkeypatch.setattr(
            text,
            "embed_texts",
            lambda new, *rest: (self.texts.append(len(new)), embed(new, *rest))[1],
        )
        monkeypatch.setattr(
            image_encoder,
            "encode_images",
            lambda encoder, new, *rest: (
                self.pictures.append(len(new)),
                encode(encoder, new, *rest),
            )[1],
        )

        self.settings = settings

        class HomePlatform(Platform):
            @property
            def settings(_) -> Settings:
                return self.settings

        self.platform = HomePlatform()

    def stock(self, frame: pl.DataFrame, without_picture: int = 0) -> None:
        """Publish raw/items; the last ``without_picture`` items have no image."""
        with self.store.stage("raw/items") as staged:
            frame.write_parquet(staged.path / "items.parquet")
            shown = frame["image"].to_list()[: frame.height - without_picture]
            names = list(dict.fromkeys(name for name in shown if name))
            pl.DataFrame(
                {"image": names, "content": [picture(name) for name in names]},
                schema={"image": pl.String, "content": pl.Binary},
            ).write_parquet(staged.path / "images.parquet")
            staged.publish()

    def embed(self, **training_catalogue: object) -> dict[str, Artifact]:
        """Materialise the embedding assets; return them by name."""
        self.texts.clear()
        self.pictures.clear()
        config = {
            "embeddings__image_encoder": {"config": {"max_steps": 2, "batch_size": 8}},
            "embeddings__training_catalogue": {"config": training_catalogue},
        }
        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize(
                ASSETS,
                resources={"platform": self.platform},
                run_config={"ops": config},
                instance=instance,
            )
        assert done.success
        (self.language,) = done.get_asset_check_evaluations()
        return {kind: self.store.current(f"embeddings/{kind}") for kind in KINDS}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return an empty shop."""
    return Shop(tmp_path, monkeypatch)


def rows(artifact: Artifact, name: str) -> np.ndarray:
    """Return an array of an artifact."""
    return np.load(artifact.path(f"{name}.npy"))


def test_a_new_product_costs_one_product_until_too_many_are_new(shop: Shop) -> None:
    one = pl.col("item_id") == FRAME["item_id"][FIRST - 1]
    pictured = FRAME.with_columns(image=pl.when(one).then(pl.lit("")).otherwise(pl.col("image")))
    shop.stock(pictured[:FIRST])
    before = shop.embed()
    # each text and each picture once, whichever asset asks first
    assert (sum(shop.texts), sum(shop.pictures)) == (FIRST, FIRST - 1)
    assert before["image"].metrics["missing"] == before["items"].metrics["without_image"] == 1
    assert (
        not rows(before["items"], "image")[FIRST - 1].any()
        and rows(before["items"], "image")[: FIRST - 1].any(axis=1).all()
    )
    assert (
        before["image_encoder"].metrics["source"].startswith("not pretrained")
        and not before["image_encoder"].metrics["pretrained"]
    )
    figures = [
        name
        for artifact in before.values()
        for name in artifact.manifest["files"]
        if name.startswith("figures/")
    ]
    assert {Path(name).stem for name in figures} == {
        "contrastive_loss",
        "text_explained_variance",
        "image_explained_variance",
        "text_map",
        "image_map",
    }

    shop.stock(pictured[: FIRST + 1])
    after = shop.embed()
    assert (shop.texts, shop.pictures) == ([1], [1])
    assert after["text"].metrics["computed"] == after["image"].metrics["computed"] == 1
    for kept in ("training_catalogue", "image_encoder", "pca"):
        assert after[kept].digest == before[kept].digest and after[kept].uri == before[kept].uri, (
            kept
        )
    for name in ("text", "image"):
        np.testing.assert_array_equal(
            rows(after["items"], name)[:FIRST], rows(before["items"], name)
        )
        assert rows(after["items"], name)[FIRST].any()

    # 10 of 50 are new: that is 20 %, and one more is too many
    shop.stock(pictured[: FIRST + 10])
    assert shop.embed()["pca"].digest == before["pca"].digest
    shop.stock(pictured[: FIRST + 11])
    refitted = shop.embed()
    assert all(
        refitted[kind].digest != before[kind].digest
        for kind in ("training_catalogue", "image_encoder", "pca")
    )
    assert (
        shop.texts == [1] and sum(shop.pictures) == FIRST + 10
    )  # another encoder: every picture anew, each once
    assert refitted["pca"].metrics["text_fitted_on"] == FIRST + 11


def test_force_and_first_pictures_refit(shop: Shop) -> None:
    shop.stock(FRAME[:FIRST], without_picture=FIRST)
    without = shop.embed()
    assert (
        "fewer than two products have a picture" in without["image_encoder"].metrics["source"]
        and shop.pictures == []
    )
    assert (
        without["items"].metrics["without_image"] == FIRST
        and not rows(without["items"], "image").any()
    )
    assert (
        without["pca"].metrics["image_explained_variance"] == 0.0
        and without["pca"].metrics["text_explained_variance"] > 0.9
    )

    shop.stock(
        FRAME[:FIRST], without_picture=FIRST - 4
    )  # four pictures: 10 % of the products changed
    some = shop.embed()
    assert some["training_catalogue"].digest != without["training_catalogue"].digest
    assert some["pca"].metrics["image_fitted_on"] == 4 and rows(some["items"], "image")[:4].any()

    shop.stock(FRAME[: FIRST + 1], without_picture=FIRST - 4)
    assert shop.embed()["pca"].digest == some["pca"].digest
    assert shop.embed(force=True)["pca"].metrics["text_fitted_on"] == FIRST + 1
    assert (
        shop.embed(refit_share=0.0)["pca"].metrics["text_fitted_on"] == FIRST + 1
    )  # nothing is new since


def all_finite(embedded: dict[str, Artifact], items: int) -> None:
    """Check the shape and the values of both tables."""
    for name in ("text", "image"):
        table = rows(embedded["items"], name)
        assert table.shape == (items, 64) and np.isfinite(table).all()


@pytest.mark.parametrize("items", [1, 2, 5])
def test_a_tiny_catalogue_of_ids_alone_has_embeddings_of_zeros(shop: Shop, items: int) -> None:
    shop.stock(derived_items(pl.Series([f"i{n}" for n in range(items)])))
    embedded = shop.embed()
    all_finite(embedded, items)
    assert not any(rows(embedded["items"], name).any() for name in ("text", "image"))
    assert embedded["text"].metrics["missing"] == embedded["image"].metrics["missing"] == items
    assert embedded["pca"].metrics["text_explained_variance"] == 0.0
    assert shop.texts == shop.pictures == []


@pytest.mark.parametrize("items", [1, 2, 5])
def test_a_tiny_catalogue_with_texts_and_pictures_has_embeddings(shop: Shop, items: int) -> None:
    shop.stock(FRAME[:items])
    embedded = shop.embed()
    all_finite(embedded, items)
    for name in ("text", "image"):  # a PCA needs two rows; n rows span n - 1 directions
        table = rows(embedded["items"], name)
        assert table[:, : items - 1].any(axis=1).all() == (items > 1)
        assert not table[:, items - 1 :].any()


def test_equal_texts_and_equal_pictures_tell_nothing_apart(shop: Shop) -> None:
    same = {name: FRAME[name][0] for name in ("name", "description", "category_l1", "category_l2")}
    equal = FRAME[:5].with_columns(**{name: pl.lit(value) for name, value in same.items()})
    shop.stock(equal.with_columns(image=pl.lit("same.png")))
    embedded = shop.embed()
    all_finite(embedded, 5)
    assert not any(rows(embedded["items"], name).any() for name in ("text", "image"))


def test_another_text_encoder_makes_texts_pca_and_tables_anew(shop: Shop, tmp_path: Path) -> None:
    shop.stock(FRAME[:FIRST])
    english = shop.embed()
    assert english["text"].metrics["text_encoder"] == "all-MiniLM-L6-v2"
    assert shop.language.passed and english["text"].metrics["language"]["unknown_tokens"] == 0

    folder = save_text_encoder(tmp_path / "small", FRAME["description"].to_list(), width=32)
    shop.settings = shop.settings.model_copy(update={"text_encoder": str(folder)})
    small = shop.embed()
    assert sum(shop.texts) == FIRST and shop.pictures == []
    assert rows(small["text"], "text").shape == (FIRST, 32)
    all_finite(small, FIRST)
    assert rows(small["items"], "text")[:, :31].any(axis=1).all()
    for kind in ("text", "pca", "items"):
        assert small[kind].digest != english[kind].digest, kind
    for kind in ("training_catalogue", "image_encoder", "image"):
        assert small[kind].digest == english[kind].digest, kind
    encoder = (small["items"].metrics["text_encoder"], small["pca"].manifest["params"])
    assert encoder == ("model", small["text"].manifest["params"])
    assert str(tmp_path) not in str((encoder, small["text"].metrics))
    assert shop.language.passed

    # the same folder with other weights is another encoder
    save_text_encoder(tmp_path / "small", FRAME["description"].to_list(), width=32, seed=2)
    assert shop.embed()["text"].digest != small["text"].digest
    shop.settings = shop.settings.model_copy(update={"text_encoder": None})
    assert shop.embed()["items"].digest == english["items"].digest and shop.texts == []


@pytest.mark.parametrize("language", WORDS)
def test_a_catalogue_of_another_language_warns_with_the_remedy(shop: Shop, language: str) -> None:
    text = pl.lit(WORDS[language])
    shop.stock(FRAME[:9].with_columns(name=text, description=text))
    found = shop.embed()["text"].metrics["language"]
    assert not found["known"] and "RECSYS_TEXT_ENCODER" in found["says"]
    assert not shop.language.passed
    assert shop.language.severity == dg.AssetCheckSeverity.WARN and not shop.language.blocking
    if language == "ja":
        assert found["unknown_tokens"] > 0.15
    else:  # every token is known, and has few letters
        assert found["unknown_tokens"] == 0 and found["letters_per_token"] < 2.8
