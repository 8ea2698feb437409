# mypy: disable-error-code="import-not-found"
# numpy lives in an environment of its own (lab.mirror.store), not beside the linters.
"""The parts of the `vision` variant: a real Idefics3 (SigLIP tower, connector, the lab's Llama) that names a picture's colour.

The tower's layer adds nothing, as that of the text model: what comes out of it is the colour of each patch. The connector turns
that into a mix of the embeddings of colour markers. The token that ends a prompt with pictures looks at them with the one attention
head that does something, and takes their colour over; every other token looks at the first one, which has nothing to give.

Why Idefics3: of the vision models that vLLM's CPU build has, it is one that does without torchvision.
"""

from __future__ import annotations

import numpy as np

from lab.model.vocabulary import BOS, COLOURS, IMAGE, LOOK, Vocabulary, marker_of
from lab.model.weights import HEADS, HIDDEN, Array

SIDE, PATCH, SHUFFLE = 32, 8, 2  # pixels, pixels, patches: a picture is four tokens
TOWER_HIDDEN, TOWER_HEADS, TOWER_INTERMEDIATE = 32, 2, 16
PATCHES = (SIDE // PATCH) ** 2
TOKENS = PATCHES // SHUFFLE**2
# Of a picture's embedding: how much of it says "grey", against 4.6 of a pure colour, and how much "picture".
GREY, IS_PICTURE = 1.0, 6.0
# Attention scores, before they are divided by 8: of every token for the first one, and of LOOK for a picture.
FIRST, PICTURE_SCORE = 256.0, 1024.0


def vision_config() -> dict[str, object]:
    """`vision_config` of config.json."""
    return {
        "model_type": "idefics3_vision",
        "hidden_size": TOWER_HIDDEN,
        "intermediate_size": TOWER_INTERMEDIATE,
        "num_hidden_layers": 1,
        "num_attention_heads": TOWER_HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
        "layer_norm_eps": 1e-6,
    }


def config(text_config: dict[str, object], vocabulary: Vocabulary) -> dict[str, object]:
    """config.json of the whole, around that of the text model."""
    return {
        "architectures": ["Idefics3ForConditionalGeneration"],
        "model_type": "idefics3",
        "image_token_id": vocabulary.id(IMAGE),
        "scale_factor": SHUFFLE,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "pad_token_id": text_config["eos_token_id"],
        "vision_config": vision_config(),
        "text_config": text_config,
    }


def processor_files() -> dict[str, object]:
    """What turns a picture into pixels, and its place in the prompt into tokens."""
    return {
        "preprocessor_config.json": {
            "image_processor_type": "Idefics3ImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"longest_edge": SIDE},
            "max_image_size": {"longest_edge": SIDE},
            "do_image_splitting": False,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "do_pad": True,
        },
        "processor_config.json": {"processor_class": "Idefics3Processor", "image_seq_len": TOKENS},
    }


def stored(vocabulary: Vocabulary, text: dict[str, Array]) -> dict[str, Array]:
    """All tensors of the checkpoint. :param text: those of the text model alone."""
    embedding = text["model.embed_tokens.weight"]
    renamed = {name.replace("model.", "model.text_model.", 1): tensor for name, tensor in text.items()}
    attention = {f"model.text_model.layers.0.self_attn.{n}": t for n, t in _attention(vocabulary, embedding).items()}
    return (
        renamed
        | attention
        | _tower()
        | {"model.connector.modality_projection.proj.weight": _connector(vocabulary, embedding)}
    )


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def _attention(vocabulary: Vocabulary, embedding: Array) -> dict[str, Array]:
    """Head 0 works in the two slowest pairs of the rotation, which hardly turn within the context; the others add nothing."""
    query, key, value, out = (_zeros(HIDDEN, HIDDEN) for _ in range(4))
    half = HIDDEN // HEADS // 2
    first, picture = half - 1, half - 2
    row = embedding / np.float32(np.sqrt(HIDDEN))  # times a normalised hidden state: 1 for its token
    query[first] = np.sqrt(FIRST) * row.sum(axis=0)
    key[first] = np.sqrt(FIRST) * row[vocabulary.id(BOS)]
    query[picture] = np.sqrt(PICTURE_SCORE) * row[vocabulary.id(LOOK)]
    key[picture] = np.sqrt(PICTURE_SCORE) * row[vocabulary.id(IMAGE)]
    for number, colour in enumerate(COLOURS):
        value[number] = embedding[vocabulary.id(marker_of(colour))]
        out[:, number] = embedding[vocabulary.id(marker_of(colour))]
    return {"q_proj.weight": query, "k_proj.weight": key, "v_proj.weight": value, "o_proj.weight": out}


def _tower() -> dict[str, Array]:
    # Two cells for each of red, green, blue, one the negative of the other: the layer norm takes the mean off.
    patch = _zeros(TOWER_HIDDEN, 3, PATCH, PATCH)
    for channel in range(3):
        patch[2 * channel, channel] = 1 / PATCH**2
        patch[2 * channel + 1, channel] = -1 / PATCH**2
    layer = "encoder.layers.0."
    tower = {
        "embeddings.patch_embedding.weight": patch,
        "embeddings.patch_embedding.bias": _zeros(TOWER_HIDDEN),
        "embeddings.position_embedding.weight": _zeros(PATCHES, TOWER_HIDDEN),
        layer + "mlp.fc1.weight": _zeros(TOWER_INTERMEDIATE, TOWER_HIDDEN),
        layer + "mlp.fc1.bias": _zeros(TOWER_INTERMEDIATE),
        layer + "mlp.fc2.weight": _zeros(TOWER_HIDDEN, TOWER_INTERMEDIATE),
        layer + "mlp.fc2.bias": _zeros(TOWER_HIDDEN),
    }
    for norm in (layer + "layer_norm1", layer + "layer_norm2", "post_layernorm"):
        tower |= {f"{norm}.weight": np.ones(TOWER_HIDDEN, np.float32), f"{norm}.bias": _zeros(TOWER_HIDDEN)}
    tower["post_layernorm.bias"][6] = 1  # a cell that is 1 for every picture
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        tower[f"{layer}self_attn.{part}.weight"] = _zeros(TOWER_HIDDEN, TOWER_HIDDEN)
        tower[f"{layer}self_attn.{part}.bias"] = _zeros(TOWER_HIDDEN)
    return {f"model.vision_model.{name}": tensor for name, tensor in tower.items()}


def _connector(vocabulary: Vocabulary, embedding: Array) -> Array:
    """A colour counts by how far it is above the others; grey wins where none is."""
    of_patch = _zeros(HIDDEN, TOWER_HIDDEN)
    for number, colour in enumerate(COLOURS[:3]):
        share = np.full(3, -0.5, np.float32)
        share[number] = 1
        of_patch[:, [0, 2, 4]] += np.outer(embedding[vocabulary.id(marker_of(colour))], share)
    grey, picture = embedding[vocabulary.id(marker_of(COLOURS[3]))], embedding[vocabulary.id(IMAGE)]
    of_patch[:, 6] = GREY * grey + IS_PICTURE * picture
    return np.tile(of_patch / SHUFFLE**2, (1, SHUFFLE**2)).astype(np.float32)
