"""sentence_transformers on cuda: a tiny random model finds the GPU by itself, encodes and is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

sentences = pytest.importorskip("sentence_transformers")
transformers = pytest.importorskip("transformers")

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "happy", "sad"]


@pytest.fixture
def model(tmp_path: Path) -> Any:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    tokenizer = transformers.BertTokenizerFast(vocab=str(vocabulary))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=len(tokenizer), **sizes))
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    words = sentences.sentence_transformer.modules.Transformer(str(tmp_path / "bert"), max_seq_length=16)
    return sentences.SentenceTransformer(modules=[words, sentences.sentence_transformer.modules.Pooling(16)])


def test_the_model_goes_to_the_gpu_by_itself(model: Any) -> None:
    assert model.device == torch.device("cuda:0")
    texts = ["the cat sat on the mat", "a happy dog ran", "sad"]
    there = model.encode(texts, convert_to_tensor=True)
    assert there.device == torch.device("cuda:0")
    here = model.to("cpu").encode(texts, convert_to_tensor=True, device="cpu")
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-5)
    assert model.encode(texts, device="cuda").shape == (3, 16)
    assert sentences.util.cos_sim(there, there).device.type == "cuda"
    hits = sentences.util.semantic_search(there[:1], there, top_k=2)
    assert hits[0][0]["corpus_id"] == 0
    assert model.encode(texts, device="cuda", precision="int8").dtype == "int8"


def test_training(model: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pairs = [{"anchor": "the cat sat", "positive": "a cat sat"}, {"anchor": "a dog ran", "positive": "the dog ran"}] * 8
    texts = datasets.Features(dict.fromkeys(pairs[0], datasets.Value("string")))
    arguments = sentences.SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=3, bf16=True, per_device_train_batch_size=4, report_to=[],
        save_strategy="no", disable_tqdm=True, logging_steps=1,
    )  # fmt: skip
    trainer = sentences.SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.IterableDataset.from_generator(lambda: iter(pairs), features=texts),
        loss=sentences.sentence_transformer.losses.MultipleNegativesRankingLoss(model),
    )
    trainer.train()
    assert trainer.state.global_step == 3
    assert model.device.type == "cuda"
