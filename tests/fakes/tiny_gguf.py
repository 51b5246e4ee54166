"""Makes a language model of half a megabyte whose weights are random: llama.cpp loads it like any other and talks nonsense.

Run with the path of the file to write. What matters is not what the model says but that a server which is not ours says
it, and counts its tokens. The same seed makes the same file.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import numpy.typing as npt

LAYERS: Final = 2
HEADS: Final = 4
WIDTH: Final = 64
FEED_FORWARD_WIDTH: Final = 128
CONTEXT_TOKENS: Final = 16_384

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n{% endfor %}<|assistant|>"
)
WORDS: Final = (" the", " a", " of", " and", " to", " in", " is", " that", " it", " for", " world", " token", " stream")
SPACE_MARK: Final = "\u2581"
"""How SentencePiece writes a space inside a token."""

UNKNOWN, BEGINNING, END = 0, 1, 2
"""The first three tokens."""

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Token:
    """One entry of the vocabulary; of the tokens that fit, the one with the highest score is taken."""

    text: str
    score: float
    kind: gguf.TokenType


def vocabulary() -> list[Token]:
    """Every byte, every printable ASCII character and a few words, so that any text at all can be read."""
    tokens = [
        Token("<unk>", 0.0, gguf.TokenType.UNKNOWN),
        Token("<s>", 0.0, gguf.TokenType.CONTROL),
        Token("</s>", 0.0, gguf.TokenType.CONTROL),
    ]
    tokens += [Token(f"<0x{byte:02X}>", 0.0, gguf.TokenType.BYTE) for byte in range(256)]
    characters = [chr(code).replace(" ", SPACE_MARK) for code in range(32, 127)]
    tokens += [Token(text, -1000.0 - rank, gguf.TokenType.NORMAL) for rank, text in enumerate(characters)]
    words = [word.replace(" ", SPACE_MARK) for word in WORDS]
    tokens += [Token(text, -10.0 - rank, gguf.TokenType.NORMAL) for rank, text in enumerate(words)]
    return tokens


def weights(size: int, seed: int) -> dict[str, Weights]:
    """Random tensors for a vocabulary of ``size`` tokens, under the names llama.cpp looks for.

    The rows that end an answer or say a lone byte are made small, so that such tokens hardly ever come up.
    """
    source = np.random.default_rng(seed)

    def random(*shape: int) -> Weights:
        return (source.standard_normal(shape) * 0.3).astype(np.float32)

    ones = np.ones(WIDTH, np.float32)
    output = random(size, WIDTH)
    output[: END + 1 + 256] *= 0.01
    output[END] = 0.0
    tensors = {"token_embd.weight": random(size, WIDTH), "output_norm.weight": ones, "output.weight": output}
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        tensors |= {f"{block}.attn_norm.weight": ones, f"{block}.ffn_norm.weight": ones}
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{block}.{part}.weight"] = random(WIDTH, WIDTH)
        tensors[f"{block}.ffn_gate.weight"] = random(FEED_FORWARD_WIDTH, WIDTH)
        tensors[f"{block}.ffn_up.weight"] = random(FEED_FORWARD_WIDTH, WIDTH)
        tensors[f"{block}.ffn_down.weight"] = random(WIDTH, FEED_FORWARD_WIDTH)
    return tensors


def write_tiny_gguf(path: Path, seed: int = 0) -> None:
    """Write the model to ``path``."""
    tokens = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-random")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD_WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.text for token in tokens])
    writer.add_token_scores([token.score for token in tokens])
    writer.add_token_types([token.kind for token in tokens])
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BEGINNING)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, tensor in weights(len(tokens), seed).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write_tiny_gguf(Path(sys.argv[1]))
