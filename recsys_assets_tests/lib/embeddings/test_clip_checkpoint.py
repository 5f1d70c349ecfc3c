"""Test that open_clip loads checkpoints from a path, a folder and S3, or refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import numpy as np
import pytest
import s3fs

from recsys_assets.lib.embeddings import clip_checkpoint as cc
from recsys_assets.lib.embeddings import image_encoder as ie
from recsys_assets.lib.embeddings.torch_setup import prepare_torch
from recsys_assets_tests.lib.embeddings.test_image_encoder import IMAGES
from recsys_assets_tests.support.moto_server import client_environment, moto_server

pytestmark = pytest.mark.slow

SMALL, OTHER = "small-catalogue-clip", "other-catalogue-clip"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a saved encoder; register its architecture and another one."""
    prepare_torch()
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    ie.untrained_image_encoder(4).save(folder / "encoder")
    wider = {**ie.SMALL_MODEL, "vision_cfg": {**ie.SMALL_MODEL["vision_cfg"], "width": 96}}
    for name, config in ((SMALL, ie.SMALL_MODEL), (OTHER, wider)):
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")
    return folder / "encoder"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch):
    with moto_server() as address:
        for name, value in client_environment(address).items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="weights")
        # an instance remembers the address of an earlier test's server
        s3fs.S3FileSystem.clear_instance_cache()
        yield client


def vectors(encoder: ie.ImageEncoder) -> np.ndarray:
    return ie.encode_images(encoder, IMAGES[:3])[0]


def test_vit_b_32_by_path(saved: Path, tmp_path: Path):
    torch = prepare_torch(11)
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32")
    file = tmp_path / "vit-b-32.pt"
    torch.save({name: tensor.half() for name, tensor in model.state_dict().items()}, file)
    encoder = cc.open_checkpoint(str(file))
    assert encoder.dim == 512 and encoder.source == str(file) and not encoder.model.training
    with torch.inference_mode():
        expected = (
            model.eval()
            .encode_image(preprocess(ie.decode_image(IMAGES[0]))[None], normalize=True)
            .numpy()
        )
    np.testing.assert_allclose(
        vectors(encoder)[:1], expected, atol=5e-3
    )  # the file is in half precision
    encoder.save(tmp_path / "saved")
    np.testing.assert_array_equal(
        vectors(ie.load_image_encoder(tmp_path / "saved")), vectors(encoder)
    )
    with pytest.raises(
        cc.CheckpointError, match=f"does not hold weights of architecture '{SMALL}'"
    ):
        cc.open_checkpoint(str(file), SMALL)


def test_a_folder_is_a_checkpoint_and_open_clip_opens_it(saved: Path):
    import open_clip

    np.testing.assert_array_equal(
        vectors(cc.open_checkpoint(str(saved))), vectors(ie.load_image_encoder(saved))
    )
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{saved}")
    assert model.visual.image_size == (96, 96)


def test_s3_gives_what_the_file_gives(saved: Path, bucket):
    weights = saved / ie.WEIGHTS_FILE
    bucket.upload_file(str(weights), "weights", "clip/small.safetensors")
    address = "s3://weights/clip/small.safetensors"
    remote, local = cc.open_checkpoint(address, SMALL), cc.open_checkpoint(str(weights), SMALL)
    assert remote.source == address and local.source == str(weights)
    np.testing.assert_array_equal(vectors(remote), vectors(local))
    first = cc.checkpoint_version(address)
    assert first == cc.checkpoint_version(address)
    bucket.put_object(Bucket="weights", Key="clip/small.safetensors", Body=b"other weights")
    assert cc.checkpoint_version(address) != first
    with pytest.raises(
        cc.CheckpointError, match=r"s3://weights/none.pt cannot be read.*check the address"
    ):
        cc.open_checkpoint("s3://weights/none.pt", SMALL)
    with pytest.raises(cc.CheckpointError, match=r"s3://weights/none.pt cannot be read"):
        cc.checkpoint_version("s3://weights/none.pt")


def test_other_bytes_at_the_same_path_are_another_version(tmp_path: Path):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"one")
    first, folder = cc.checkpoint_version(str(file)), cc.checkpoint_version(str(tmp_path))
    file.write_bytes(b"two")
    assert (
        cc.checkpoint_version(str(file)) != first and cc.checkpoint_version(str(tmp_path)) != folder
    )


def test_wrong_checkpoints_say_what_to_set(saved: Path, tmp_path: Path):
    weights = str(saved / ie.WEIGHTS_FILE)
    with pytest.raises(
        cc.CheckpointError,
        match=r"'ViT-B-99/nobody' does not exist.*hub tag such as 'ViT-B-32/openai'",
    ):
        cc.open_checkpoint("ViT-B-99/nobody")
    with pytest.raises(
        cc.CheckpointError,
        match=f"does not hold weights of architecture '{OTHER}': set `architecture`",
    ):
        cc.open_checkpoint(weights, OTHER)
    with pytest.raises(
        cc.CheckpointError, match=r"architecture 'ViT-Z' is unknown.*open_clip.list_models"
    ):
        cc.open_checkpoint(weights, "ViT-Z")
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"these are no weights")
        with pytest.raises(cc.CheckpointError, match=f"{name} does not hold weights"):
            cc.open_checkpoint(str(tmp_path / name), SMALL)
    with pytest.raises(
        cc.CheckpointError, match=r"is no folder of a saved encoder.*open_clip_config.json"
    ):
        cc.open_checkpoint(str(tmp_path))
