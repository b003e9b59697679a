"""Every example runs as it is, as a program of its own, and writes what it says."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

RUNS = {
    "classify_shapes.py": (["--steps", "4"], {}, {"predictions.png", "loss.txt"}),
    "diffuse_points.py": (["--steps", "20"], {}, {"diffusion.png"}),
    "speak.py": (["--steps", "4", "--text", "hello"], {}, {"speech.wav", "spectrogram.png"}),
    "two_gpus.py": (["--steps", "4"], {"TORCHDEVICE_COUNT": "2"}, {"picture.png"}),
    "train_ddp.py": (["--steps", "4"], {"TORCHDEVICE_COUNT": "2"}, {"regions.png"}),
    "generate_text.py": (["--steps", "3"], {}, {"text.txt"}),
    "fill_mask.py": (["--steps", "3"], {}, {"filled.txt", "choices.png"}),
}


def run(name: str, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if name == "train_ddp.py" else []
    )
    return subprocess.run(
        [sys.executable, *launcher, str(EXAMPLES / name), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_every_program_is_listed() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text()}
    assert programs == {*RUNS, "train_gpt.py"}


@pytest.mark.parametrize("name", RUNS)
def test_example(name: str, tmp_path: Path) -> None:
    if name == "generate_text.py" and importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    arguments, environment, files = RUNS[name]
    process = run(name, [*arguments, "--out", str(tmp_path)], **environment)
    assert process.returncode == 0, process.stderr
    assert "loss" in process.stdout
    assert "nan" not in process.stdout
    assert {path.name for path in tmp_path.iterdir()} == files
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_two_gpus_are_asked_for() -> None:
    process = run("two_gpus.py", [], TORCHDEVICE_COUNT="1")
    assert (process.returncode, process.stderr) == (1, "two_gpus: needs two CUDA devices, torch sees 1\n")


DEMOS = ("fill_mask.py", "generate_text.py", "speak.py")


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_says_device_time_memory_and_where_to_look(name: str, tmp_path: Path) -> None:
    if name == "generate_text.py":
        pytest.importorskip("transformers")
    process = run(name, ["--steps", "2", "--out", str(tmp_path)])
    assert process.returncode == 0, process.stderr
    places = ", ".join(str(tmp_path / file) for file in ENDS[name])
    last = process.stdout.splitlines()[-1]
    assert re.fullmatch(rf"cuda:0 \(.+\), \d+\.\d s, \d+\.\d MiB at most; see {re.escape(places)}", last), last


#: The files that the last line names.
ENDS = {
    "fill_mask.py": ("filled.txt", "choices.png"),
    "generate_text.py": ("text.txt",),
    "speak.py": ("speech.wav", "spectrogram.png"),
}


def test_a_blank_is_filled(tmp_path: Path) -> None:
    process = run("fill_mask.py", ["--out", str(tmp_path)])
    assert (tmp_path / "filled.txt").read_text() == "Like a diamond in the sky.\n", process.stderr


@pytest.mark.parametrize("name", DEMOS)
def test_without_a_network_a_tiny_model_takes_its_place(name: str, tmp_path: Path) -> None:
    if name == "generate_text.py":
        pytest.importorskip("transformers")
    process = run(name, ["--model", "nobody/nothing", "--steps", "2", "--out", str(tmp_path)], HF_HUB_OFFLINE="1")
    assert process.returncode == 0, process.stderr
    program = name.removesuffix(".py")
    assert f"{program}: cannot load nobody/nothing, a tiny model takes its place: " in process.stderr
    assert "loss" in process.stdout


def tiny_model(name: str, folder: Path) -> None:
    """A model as the Hub has them, untrained, with its tokenizer."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["[PAD]", "[UNK]", "[MASK]", "paris", "is", "the", "of", "france", "capital"]
    known = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: at for at, word in enumerate(words)}, "[UNK]"))
    known.normalizer = tokenizers.normalizers.Lowercase()
    known.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=known, **special).save_pretrained(folder)
    sizes = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    if name == "fill_mask.py":
        model = transformers.BertForMaskedLM(transformers.BertConfig(**sizes, intermediate_size=16))
    else:
        config = transformers.LlamaConfig(**sizes, intermediate_size=16, eos_token_id=None, bos_token_id=None)
        model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)


def tiny_voice(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    letters = folder / "letters.json"
    letters.write_text(json.dumps({letter: at for at, letter in enumerate("_ abcdefghijklmnopqrstuvwxyz")}))
    tokenizer = transformers.VitsTokenizer(str(letters), is_uroman=False, phonemize=False, pad_token="_", unk_token="_")
    tokenizer.save_pretrained(folder)
    config = transformers.VitsConfig(
        vocab_size=28, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, flow_size=16,
        spectrogram_bins=17, prior_encoder_num_flows=2, prior_encoder_num_wavenet_layers=1,
        upsample_initial_channel=16, upsample_rates=[8, 8], upsample_kernel_sizes=[16, 16],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3, 5]], depth_separable_num_layers=1,
        duration_predictor_num_flows=2, duration_predictor_filter_channels=16,
    )  # fmt: skip
    transformers.VitsModel(config).save_pretrained(folder)


@pytest.mark.parametrize("name", DEMOS)
def test_a_model_by_its_name(name: str, tmp_path: Path) -> None:
    folder, out = tmp_path / "model", tmp_path / "out"
    folder.mkdir()
    arguments = {
        "fill_mask.py": ["--text", "Paris is the _ of _"],
        "generate_text.py": ["--prompt", "Paris is"],
        "speak.py": ["--text", "paris"],
    }[name]
    tiny_voice(folder) if name == "speak.py" else tiny_model(name, folder)
    process = run(name, ["--model", str(folder), "--out", str(out), *arguments], HF_HUB_OFFLINE="1")
    assert process.returncode == 0, process.stderr
    assert "tiny model" not in process.stderr
    assert "loss" not in process.stdout
    assert {path.name for path in out.iterdir()} == set(ENDS[name])


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    tiny_model("generate_text.py", tmp_path)
    process = run("fill_mask.py", ["--model", str(tmp_path), "--out", str(tmp_path / "out")], HF_HUB_OFFLINE="1")
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith(f"fill_mask: {tmp_path} is no model for this: ")


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("fill_mask.py", ["--text", "no blank"], "--text has no blank: write _ for it"),
        ("speak.py", ["--text", "Hello!"], "the tiny model knows small letters and spaces only, in --text"),
        ("speak.py", ["--text", ""], "--text has nothing to say"),
    ],
)
def test_what_a_demo_cannot_do(name: str, arguments: list[str], error: str, tmp_path: Path) -> None:
    process = run(name, [*arguments, "--out", str(tmp_path)])
    assert process.returncode == 2
    assert error in process.stderr
