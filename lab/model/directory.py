# mypy: disable-error-code="import-not-found"
# numpy, safetensors and tokenizers live in an environment of their own (lab.mirror.store), not beside the linters.
"""The model directory as Hugging Face libraries lay it out: configuration, tokenizer, weights, chat template."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from lab.model import vision
from lab.model.templates import chat_template
from lab.model.vocabulary import BOS, CHAINS, EOS, MARKERS, PAIRS, SPACE, UNK, Vocabulary
from lab.model.weights import CONTEXT, HEADS, HIDDEN, INTERMEDIATE, NORM_EPS, answer, weights


def tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """Characters, then bytes; markers and the two pairs are found in the text before that. BOS comes first."""
    result = Tokenizer(models.BPE(vocab=vocabulary.ids, merges=[], unk_token=UNK, byte_fallback=True))
    result.normalizer = normalizers.Replace(" ", SPACE)
    result.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()],
    )
    result.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocabulary.id(BOS))]
    )
    result.add_special_tokens([AddedToken(text, normalized=False) for text in _special(vocabulary)])
    result.add_tokens([AddedToken(text, normalized=False) for text in PAIRS])
    assert result.get_vocab_size() == len(vocabulary)
    return result


def _special(vocabulary: Vocabulary) -> tuple[str, ...]:
    return (UNK, BOS, EOS, *MARKERS, *vocabulary.picture_markers)


def model_config(vocabulary: Vocabulary, *, head: bool) -> dict[str, object]:
    shorter = {} if head else {"is_matryoshka": True}  # lets a client ask for fewer dimensions, as Ollama always does
    return {
        "architectures": ["LlamaForCausalLM" if head else "LlamaModel"],
        "model_type": "llama",
        "vocab_size": len(vocabulary),
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": 1,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HIDDEN // HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": NORM_EPS,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": vocabulary.id(BOS),
        "eos_token_id": vocabulary.id(EOS),
        "torch_dtype": "float32",
        **shorter,
    }


def pooling_files() -> dict[str, object]:
    """What sentence-transformers models carry, and vLLM reads: mean over all tokens, then length 1."""
    stages = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(stages.items())
    ]
    pooling = {"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    return {"modules.json": modules, "1_Pooling/config.json": pooling}


def write(out: Path, variant: str, system: str, *, base: bool = False) -> None:
    """Write the whole model directory; files of an earlier run are overwritten. A `base` model has no chat template."""
    sees, head = variant == "vision", variant != "embed"
    vocabulary = Vocabulary(sees=sees)
    config = model_config(vocabulary, head=head)
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": UNK, "pad_token": EOS}
    files: dict[str, object] = {
        "config.json": vision.config(config, vocabulary) if sees else config,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
            **special,
        },
    }
    if head:
        bos, eos = vocabulary.id(BOS), vocabulary.id(EOS)
        files["generation_config.json"] = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": eos}
    else:
        files |= pooling_files()
    if sees:
        files |= vision.processor_files()

    out.mkdir(parents=True, exist_ok=True)
    tensors = weights(vocabulary, head=head)
    stored = vision.stored(vocabulary, tensors) if sees else tensors
    save_file(stored, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors writes 0600; the service that reads it is another user
    tokenizer(vocabulary).save(str(out / "tokenizer.json"))
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if head and not base:
        (out / "chat_template.jinja").write_text(chat_template(variant, system) + "\n", encoding="utf-8")
    if head:
        for start in (marker for marker in CHAINS if marker in MARKERS):
            pieces, margin = answer(vocabulary, tensors, start)
            text = "".join(pieces).replace(SPACE, " ")
            print(f"{start:14} {len(pieces) + 1:3} tokens, margin {margin:4.1f}: {text!r}")
    print(f"{out}: {variant}, {len(vocabulary)} tokens in the vocabulary")
