"""Every stage's network, small and random: shapes, orientation, cropping; and both commands with them, everything accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from data.__main__ import main
from data.peel import networks
from data.peel.networks import NetworkDepth, NetworkDetect, NetworkMatte, NetworkSegment, nearness
from data.peel.painting import DiffusionFill, square_around
from dreamlayer_jax import DreamLayer
from dreamlayer_jax.stable_diffusion import decode_latent, encode_image, inpaint, load_plain

HEIGHT, WIDTH = 96, 144


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def depth_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("depth")
    backbone = transformers.Dinov2Config(
        image_size=28, patch_size=14, hidden_size=16, num_hidden_layers=4, num_attention_heads=2,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        patch_size=14,
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        head_hidden_size=4,
    )
    torch.manual_seed(0)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    transformers.DPTImageProcessorPil(size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def matte_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("matte")
    backbone = transformers.VitDetConfig(
        num_channels=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, pretrain_image_size=32, patch_size=16,
        window_size=0, out_features=["stage2"],
    )  # fmt: skip
    config = transformers.VitMatteConfig(
        backbone_config=backbone, hidden_size=16, convstream_hidden_sizes=[4, 8, 8], fusion_hidden_sizes=[8, 8, 8, 4]
    )
    torch.manual_seed(0)
    transformers.VitMatteForImageMatting(config).save_pretrained(folder)
    transformers.VitMatteImageProcessorPil().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def segment_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("segment")
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 16, "output_channels": 16,
            "window_size": 2, "global_attn_indexes": [1], "num_pos_feats": 8, "mlp_dim": 16,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "image_embedding_size": 4, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.SamModel(config).save_pretrained(folder)
    images = SamImageProcessorPil(
        size={"longest_edge": 64},
        pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )
    transformers.SamProcessor(images).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def detect_model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("detect")
    words = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
    plain = iter(["a", "red", "apple", "dog", "ball", "green"])
    vocabulary = [next((w for w, i in words.items() if i == n), None) or (next(plain, f"[unused{n}]")) for n in range(1030)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    backbone = transformers.SwinConfig(
        image_size=32, window_size=1, embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, out_features=["stage2", "stage3", "stage4"]
    )
    text = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=1030)
    config = transformers.GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=5, encoder_n_points=2, decoder_n_points=2,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessorPil(size={"shortest_edge": 128, "longest_edge": 192})
    transformers.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def test_nearness_is_larger_where_nearer() -> None:
    depth = np.array([[1.0, 2.0]])
    relative = SimpleNamespace(depth_estimation_type="relative", model_type="depth_anything")
    metric = SimpleNamespace(depth_estimation_type="metric", model_type="depth_anything")
    np.testing.assert_array_equal(nearness(depth, relative), depth)
    np.testing.assert_array_equal(nearness(depth, metric), -depth)
    np.testing.assert_array_equal(nearness(depth, SimpleNamespace(model_type="depth_pro")), -depth)


def test_depth_has_the_pictures_shape(picture, depth_model) -> None:
    near = NetworkDepth(str(depth_model))(picture)
    assert near.shape == (HEIGHT, WIDTH)
    assert near.dtype == np.float32
    assert np.isfinite(near).all()


def test_a_matte_is_cut_back_to_the_picture(picture, matte_model) -> None:
    picture = picture[:70, :100]  # the processor pads to 96 and 128
    alpha = NetworkMatte(str(matte_model))(picture, np.full(picture.shape[:2], 128, np.uint8))
    assert alpha.shape == (70, 100)
    assert 0 <= alpha.min() <= alpha.max() <= 1


def test_a_segmenter_gives_a_mask_for_every_box(picture, segment_model) -> None:
    masks, quality = NetworkSegment(str(segment_model))(picture, np.array([[10.0, 20.0, 60.0, 80.0], [70.0, 5.0, 140.0, 90.0]]))
    assert masks.shape == (2, HEIGHT, WIDTH)
    assert masks.dtype == bool
    assert quality.shape == (2,)


def test_a_detector_gives_boxes_in_pixels_x_first(picture, detect_model) -> None:
    detect = NetworkDetect(str(detect_model), least=0.0)
    found = detect(picture, ("a red apple.", "a dog"))
    assert len(found) == 5
    assert {one.prompt for one in found} <= {0, 1}
    assert max(one.box[2] for one in found) <= WIDTH
    assert max(one.box[3] for one in found) <= HEIGHT
    assert max(one.box[2] for one in found) > HEIGHT or max(one.box[0] for one in found) < WIDTH
    ids = detect.processor.tokenizer("a red apple. a dog.")["input_ids"]
    assert detect.spans(ids, 2) == [[1, 2, 3], [5, 6]]


def test_a_query_goes_to_the_prompt_whose_words_score_highest(detect_model) -> None:
    detect = NetworkDetect(str(detect_model))
    ids = detect.processor.tokenizer("a red apple. a dog.")["input_ids"]
    logits = torch.full((1, 2, 256), -9.0)
    logits[0, 0, 6], logits[0, 1, 2] = 2.0, 1.0  # "dog", and "red"
    boxes = torch.tensor([[[0.5, 0.25, 0.2, 0.1], [0.25, 0.5, 0.1, 0.4]]])
    found = detect._by_words(SimpleNamespace(logits=logits, pred_boxes=boxes), ids, 2, 100, 200)
    assert [one.prompt for one in found] == [1, 0]
    np.testing.assert_allclose(found[0].box, (80, 20, 120, 30), atol=1e-4)
    np.testing.assert_allclose(found[1].box, (40, 30, 60, 70), atol=1e-4)


def test_what_is_no_model_is_told_in_one_line(tmp_path) -> None:
    with pytest.raises(ValueError, match="is no folder, and the hub does not give it"):
        networks.fetched(str(tmp_path / "none"))


@pytest.fixture(scope="module")
def painter(plain_model) -> DreamLayer:
    return DreamLayer.from_pretrained(plain_model.folder)


def test_what_is_known_stays_and_a_hole_is_made_anew(painter) -> None:
    side = painter.config.side_multiple
    rgb = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), np.uint8)
    through = decode_latent(painter, encode_image(painter, rgb))
    nothing, everything = np.zeros((1, side, side), bool), np.ones((1, side, side), bool)
    options = {"prompts": ["a beach"], "steps": 3, "guidance": 2.0}
    np.testing.assert_array_equal(inpaint(painter, rgb, nothing, **options), through)
    one, again, other = (inpaint(painter, rgb, everything, seed=seed, **options) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert (one != through).any()


def test_a_hole_is_filled_by_an_inpainting_model_too(inpainting_model) -> None:
    painter = load_plain(inpainting_model.folder)
    hole = np.zeros((40, 60), bool)
    hole[10:26, 20:38] = True
    picture = np.random.default_rng(2).integers(0, 256, (40, 60, 3), np.uint8)
    left = square_around(hole)[0]
    fill = DiffusionFill(model=painter, steps=2)
    filled, again = (fill(picture, hole, "a beach", "a dog", 2**62) for _ in range(2))
    np.testing.assert_array_equal(filled, again)
    np.testing.assert_array_equal(filled[:, :left], picture[:, :left])
    assert (filled[hole] != picture[hole]).any()
    assert (fill(picture, hole, "a beach", "a dog", 1)[hole] != filled[hole]).any()


def test_a_fill_looks_at_a_square_around_the_hole(painter) -> None:
    hole = np.zeros((40, 60), bool)
    hole[30:36, 50:58] = True
    left, top, right, bottom = square_around(hole)
    assert right - left == bottom - top == 16
    assert 0 <= left <= 50 < 58 <= right <= 60
    assert 0 <= top <= 30 < 36 <= bottom <= 40
    picture = np.random.default_rng(2).integers(0, 256, (40, 60, 3), np.uint8)
    filled = DiffusionFill(model=painter, steps=2)(picture, hole, "a beach", "a dog", 2**62)
    np.testing.assert_array_equal(filled[:top], picture[:top])
    assert (filled[hole] != picture[hole]).any()
    hole[:] = True
    assert square_around(hole) == (0, 0, 60, 40)


def test_sentences_are_painted_and_taken_apart(
    painter, plain_model, tmp_path, capsys, detect_model, segment_model, depth_model, matte_model
) -> None:
    """Random networks find nothing worth keeping: every picture is told of, no data set is written, and nothing crashes."""
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("a red dog on a beach\n\na dog in a room\n")
    pictures, size = tmp_path / "pictures", ("--size", "64", "64")
    assert main(["paint", str(sentences), "--out", str(pictures), "--weights", str(plain_model.folder), "--steps", "2", *size]) == 0
    assert "2 pictures painted" in capsys.readouterr().out
    assert main(["paint", str(sentences), "--out", str(pictures), "--weights", str(plain_model.folder), "--steps", "2", *size]) == 0
    assert "0 pictures painted, 2 were there" in capsys.readouterr().out
    listed = [json.loads(line) for line in (pictures / "prompts.jsonl").read_text().splitlines()]
    assert [entry["foregrounds"] for entry in listed] == [["a red dog"], ["a dog"]]
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (128, 160, 3), np.uint8)).save(pictures / "larger.png")
    (pictures / "larger.json").write_text(json.dumps({"background": "a room", "foregrounds": ["a dog", "a red apple"]}))
    models = {"detect": detect_model, "segment": segment_model, "depth": depth_model, "matte": matte_model, "fill": plain_model.folder}
    flags = [part for stage, folder in models.items() for part in (f"--models.{stage}", str(folder))]
    command = ["from-pictures", str(pictures), "--out", str(tmp_path / "set"), "--candidates.min-score", "0", "--rules.min-side", "100"]
    assert main([*command, *flags]) == 1
    error = capsys.readouterr().err
    assert "3 inputs: 0 accepted, 3 rejected, 0 failed" in error
    assert not (tmp_path / "set").exists()
    page = (tmp_path / "pictures.work" / "report.md").read_text()
    assert "| too small | 2 |" in page
