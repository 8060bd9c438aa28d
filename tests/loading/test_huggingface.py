"""Networks from configs of transformers, against closed forms of what they multiply and of their key/value caches."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import roofline
from roofline.errors import ModelError, TraceError
from roofline.layers import LayerTable, lower
from roofline.loading import load
from roofline.trace import trace

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")

# Hyperparameters are small, and no two of them alike, so that no term can stand for another.
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 96, "intermediate_size": 200,
    "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 20, "vocab_size": 1000,
    "tie_word_embeddings": False,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 48, "n_layer": 5, "n_head": 4,
    "vocab_size": 500, "n_positions": 1024,
}  # fmt: skip
BERT = {
    "model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 100, "vocab_size": 300,
}  # fmt: skip
VIT = {
    "model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 100, "image_size": 96, "patch_size": 16,
}  # fmt: skip

STAND_INS = Path(__file__).parent / "stand_ins"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> None:
    monkeypatch.chdir(tmp_path)


def write(config: Mapping[str, Any], path: str = "config.json") -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(config))
    return f"hf:{path}"


def table(config: Mapping[str, Any], *, batch: int = 1, **arguments: Any) -> LayerTable:
    loaded = load(write(config), batch=batch, arguments=arguments)
    return lower(trace(loaded.module, loaded.inputs), fusion="none", dtype="fp16")


# --- closed forms -----------------------------------------------------------------------------------------------------


def llama_macs(new: int, attended: int) -> int:
    """Grouped-query attention and a gated MLP: arXiv:2302.13971 section 2.2, arXiv:2305.13245. One token has logits."""
    width, mlp, heads, groups, head = 96, 200, 8, 2, 20
    projections = width * heads * head + 2 * width * groups * head + heads * head * width
    attention = 2 * heads * head * new * attended
    return 3 * (new * (projections + 3 * width * mlp) + attention) + width * 1000


def gpt2_macs(new: int, attended: int) -> int:
    """A width of d takes 12 d^2 a token and layer: 3 d^2 for Q, K, V, d^2 for the output, 8 d^2 for the MLP of 4 d."""
    return 5 * (new * 12 * 48**2 + 2 * 48 * new * attended) + 48 * 500


@pytest.mark.parametrize(("config", "macs"), [(LLAMA, llama_macs), (GPT2, gpt2_macs)], ids=["llama", "gpt2"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("tokens", [1, 64, 512])
def test_macs_of_prefill_and_decode(
    config: Mapping[str, Any], macs: Callable[[int, int], int], batch: int, tokens: int
) -> None:
    prefill = table(config, batch=batch, prefill=tokens)
    decode = table(config, batch=batch, decode=tokens)
    assert prefill.macs.sum() == batch * macs(tokens, tokens)
    assert decode.macs.sum() == batch * macs(1, tokens + 1)


@pytest.mark.parametrize(
    ("config", "layers", "kv_width", "width"), [(LLAMA, 3, 2 * 20, 8 * 20), (GPT2, 5, 48, 48)], ids=["llama", "gpt2"]
)
@pytest.mark.parametrize("batch", [1, 3])
def test_bytes_of_the_key_value_cache(
    config: Mapping[str, Any], layers: int, kv_width: int, width: int, batch: int
) -> None:
    """2 tensors a layer, of 2 bytes an element: attention reads them beside its query, each new token is written."""
    bytes_a_token = 2 * kv_width * 2
    for tokens, asked, attended in ((512, {"prefill": 512}, 512), (1, {"decode": 512}, 513)):
        rows = table(config, batch=batch, **asked)
        attention, copy = rows.kind == "attention", rows.ops == "copy"
        query = width * tokens * 2
        assert attention.sum() == layers
        assert set(rows.input_bytes[attention]) == {batch * (query + bytes_a_token * attended)}
        assert set(rows.weight_bytes[attention]) == {0}
        assert rows.output_bytes[copy].sum() == layers * batch * bytes_a_token * tokens
        assert rows.input_bytes[copy].sum() == layers * batch * bytes_a_token * tokens


def test_the_cache_is_an_input_of_its_own_size() -> None:
    loaded = load(write(LLAMA), batch=3, arguments={"decode": 512})
    assert [tuple(given.shape) for given in loaded.inputs] == [(3, 1), *[(3, 2, 513, 20)] * 6]
    assert loaded.name == "hf:config.json(decode=512)"
    assert loaded.input_source == "decode: one token after 512 in the key/value cache"


def test_a_window_keeps_no_more_than_itself() -> None:
    """Mistral 7B attends to the last 4096 tokens (arXiv:2310.06825, section 2); here to 16, of 100."""
    mistral = {**LLAMA, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 16}
    loaded = load(write(mistral), arguments={"decode": 100})
    assert {tuple(given.shape) for given in loaded.inputs[1:]} == {(1, 2, 16, 20)}
    assert table(mistral, decode=100).macs.sum() == llama_macs(1, 16)
    assert table(mistral, decode=10).macs.sum() == llama_macs(1, 11)
    assert table(mistral, prefill=100).macs.sum() == llama_macs(100, 100), "a mask saves no work"


def mixtral_macs(new: int, attended: int) -> int:
    """Mixtral's layer (arXiv:2401.04088, section 2): a router over 6 experts, of which each token meets 2."""
    width, mlp, heads, groups, head, experts = 96, 200, 8, 2, 20, 6
    projections = 2 * width * heads * head + 2 * width * groups * head
    mixture = width * experts + 2 * (3 * width * mlp)
    return 2 * (new * (projections + mixture) + 2 * heads * head * new * attended) + width * 1000


def test_a_mixture_of_experts_takes_those_that_a_token_meets() -> None:
    mixtral = {
        **LLAMA, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_hidden_layers": 2,
        "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": None, "torch_dtype": "bfloat16",
    }  # fmt: skip
    expert = 3 * 96 * 200
    for asked, macs, read in (
        ({"prefill": 64}, mixtral_macs(64, 64), 6),
        ({"decode": 64}, mixtral_macs(1, 65), 2),  # one token reads no more experts than it meets
    ):
        rows = table(mixtral, **asked)
        assert rows.uncounted_ops == ()
        assert rows.macs.sum() == macs
        assert rows.weight_bytes[rows.ops == "_grouped_mm"].sum() == 2 * read * expert * 2


MIXTURES = {
    "mixtral": {**LLAMA, "model_type": "mixtral", "num_local_experts": 6},
    "gpt_oss": {**LLAMA, "model_type": "gpt_oss", "num_local_experts": 6, "num_experts_per_tok": 2},
    "qwen3_next": {
        **LLAMA, "model_type": "qwen3_next", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", MIXTURES)
def test_a_mixture_of_experts_without_a_dtype_is_taken_in_bfloat16_and_says_so(kind: str) -> None:
    config = {key: value for key, value in MIXTURES[kind].items() if key != "architectures"}
    loaded = load(write(config))
    assert {parameter.dtype for parameter in loaded.module.parameters() if parameter.dim() == 3} >= {torch.bfloat16}
    assert "in bfloat16, as the config has no dtype" in loaded.input_source
    said = load(write({**config, "dtype": "bfloat16"}))
    assert "bfloat16" not in said.input_source
    counts = [lower(trace(each.module, each.inputs), fusion="none", dtype="fp16").macs.sum() for each in (loaded, said)]
    assert counts[0] == counts[1] > 0


def test_a_mixture_of_experts_in_another_dtype_says_what_to_give() -> None:
    reference = write({**MIXTURES["mixtral"], "dtype": "float32"})
    with pytest.raises(ModelError, match=r"mixture of experts, .* nothing but bfloat16 .*: --arg dtype=bfloat16$"):
        load(reference)
    assert load(reference, arguments={"dtype": "bfloat16"}).inputs


def test_other_networks_keep_the_dtype_that_they_have() -> None:
    loaded = load(write(LLAMA))
    assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.float32}
    assert "bfloat16" not in loaded.input_source


def test_the_weights_of_a_known_model() -> None:
    """Llama 3 8B, with the sizes of Table 3 of arXiv:2407.21783: it is called 8B, and tokens have two matrices."""
    llama3 = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    loaded = load(write(llama3), arguments={"decode": 512})
    layer = 2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096
    params = 2 * 128256 * 4096 + 32 * layer + 4096
    assert sum(parameter.numel() for parameter in loaded.module.parameters()) == params == 8_030_261_248
    assert {parameter.device.type for parameter in loaded.module.parameters()} == {"meta"}


def test_a_prompt_has_a_default_length() -> None:
    loaded = load(write(GPT2))
    assert loaded.inputs[0].shape == (1, 128)
    assert loaded.input_source == "prefill: a prompt of 128 tokens (the default)"


# --- other kinds ------------------------------------------------------------------------------------------------------


def test_an_encoder_reads_128_tokens() -> None:
    """A layer: 4 d^2 + 2 d m a token and 2 d S of attention; the pooler takes the first token alone."""
    rows = table(BERT, batch=2)
    layer = 128 * (4 * 48**2 + 2 * 48 * 100 + 2 * 48 * 128)
    assert rows.macs.sum() == 2 * (2 * layer + 48**2)


def test_a_vision_transformer_takes_the_image_of_its_config() -> None:
    """36 patches of 16x16x3 and a class token."""
    rows = table(VIT)
    patches, tokens = 36 * 48 * 16 * 16 * 3, 37
    layer = tokens * (4 * 48**2 + 2 * 48 * 100 + 2 * 48 * tokens)
    pooler = 48**2
    assert rows.macs.sum() == patches + 2 * layer + pooler
    loaded = load(write(VIT), arguments={"image_size": 32})
    assert loaded.inputs[0].shape == (1, 3, 32, 32)


CLIP = {
    "model_type": "clip", "projection_dim": 24,
    "text_config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 60},
    "vision_config": {**VIT, "model_type": "clip_vision_model"},
}  # fmt: skip
LLAVA = {"model_type": "llava", "text_config": {**LLAMA}, "vision_config": {**VIT, "model_type": "clip_vision_model"}}


def test_an_image_of_a_nested_config() -> None:
    """SAM encodes images of 1024 x 1024 (arXiv:2304.02643, section A), in patches of 16."""
    sam = {"model_type": "sam", "vision_config": {"num_hidden_layers": 1}}
    loaded = load(write(sam))
    assert [tuple(given.shape) for given in loaded.inputs] == [(1, 3, 1024, 1024)]
    smaller = {
        "model_type": "sam", "vision_config": {"num_hidden_layers": 1, "image_size": 256, "num_channels": 4},
        "prompt_encoder_config": {"image_size": 256},
    }  # fmt: skip
    assert load(write(smaller)).inputs[0].shape == (1, 4, 256, 256)


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ({**VIT, "model_type": "videomae", "num_frames": 4}, (4, 3, 96, 96)),
        ({**VIT, "model_type": "timesformer"}, (8, 3, 96, 96)),
        ({"model_type": "vjepa2", "num_hidden_layers": 1, "pred_num_hidden_layers": 1}, (64, 3, 256, 256)),
    ],
    ids=["videomae", "timesformer", "vjepa2"],
)
def test_a_video_has_frames(config: Mapping[str, Any], sizes: tuple[int, ...]) -> None:
    loaded = load(write(config), batch=2)
    assert [tuple(given.shape) for given in loaded.inputs] == [(2, *sizes)]
    assert trace(loaded.module, loaded.inputs).ops
    loaded = load(write(config), input_size=(3, *sizes[2:]))
    assert loaded.inputs[0].shape == (1, *sizes)


def test_the_macs_of_a_video_are_those_of_its_tubelets() -> None:
    """VideoMAE takes cubes of 2 x 16 x 16 (arXiv:2203.12602): 2 x 36 of 4 frames, and no class token."""
    rows = table({**VIT, "model_type": "videomae", "num_frames": 4, "tubelet_size": 2})
    tokens = 2 * 36
    layer = tokens * (4 * 48**2 + 2 * 48 * 100 + 2 * 48 * tokens)
    assert rows.macs.sum() == tokens * 48 * 2 * 16 * 16 * 3 + 2 * layer


def test_what_takes_text_and_an_image_says_what_to_give() -> None:
    """CLIP's text has 77 tokens (arXiv:2103.00020, section 2.4: 76, and one more in the code)."""
    line = '--input "input_ids:int64[1,77]" --input "pixel_values:float32[1,3,96,96]"'
    with pytest.raises(
        ModelError, match=re.escape(f"takes input_ids and pixel_values, and none alone: write them down, {line}")
    ):
        load(write(CLIP))
    with pytest.raises(ModelError, match=re.escape(f"takes input_ids, no image: write them down, {line}")):
        load(write(CLIP), input_size=(3, 96, 96))
    loaded = load(write(CLIP), arguments={"input_ids": "int64[1,77]", "pixel_values": "float32[1,3,96,96]"})
    assert len(loaded.inputs) == 2
    assert trace(loaded.module, loaded.inputs).ops


def test_a_failure_for_another_reason_is_that_failure() -> None:
    """Here the two towers project to different widths, which no input mends."""
    broken = {"model_type": "siglip", "vision_config": VIT, "text_config": {"num_hidden_layers": 1}}
    with pytest.raises(TraceError, match="SiglipModel fails on input 1x128"):
        load(write(broken))


def test_parts_that_text_alone_does_not_reach_are_named() -> None:
    loaded = load(write(LLAVA))
    parameters = {name: parameter.numel() for name, parameter in loaded.module.named_parameters()}
    unread = sum(count for name, count in parameters.items() if name.startswith(("vision_tower", "multi_modal")))
    share = f"{unread / sum(parameters.values()) * 100:.0f} %"
    assert loaded.input_source == (
        "128 tokens, the default; not run, as this input does not reach it: vision_tower, multi_modal_projector, with "
        f"{share} of the parameters"
    )
    assert "not run" not in load(write(BERT)).input_source
    assert load(write(LLAVA), weights=True).input_source == "128 tokens, the default"


def test_the_command_line_names_them_too(command: Callable[..., Any]) -> None:
    done = command("analyze", write(LLAVA), "--hw", "nvidia_a100", "--format", "json")
    assert "not run, as this input does not reach it: vision_tower" in " ".join(json.loads(done.stdout)["notes"])


# --- the activation that `roofline activations` asks for --------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (VIT, "hidden_act"),
        (GPT2, "activation_function"),
        ({**LLAMA, "model_type": "gemma", "architectures": ["GemmaForCausalLM"]}, "hidden_activation"),
        ({"model_type": "distilbert", "dim": 48, "n_layers": 1, "n_heads": 4, "hidden_dim": 100}, "activation"),
    ],
    ids=["hidden_act", "activation_function", "hidden_activation", "activation"],
)
@pytest.mark.parametrize(("act", "op"), [("h-swish", "hardswish"), ("relu6", "hardtanh"), ("relu", "relu")])
def test_act_is_what_a_config_calls_its_activation(config: Mapping[str, Any], key: str, act: str, op: str) -> None:
    loaded = load(write({**config, **({} if key == "activation_function" else {key: "gelu"})}), arguments={"act": act})
    names = {each.name for each in trace(loaded.module, loaded.inputs).ops}
    assert op in names or f"{op}_" in names or (op == "hardtanh" and "relu6" in names), names
    assert "gelu" not in names


def test_an_act_that_transformers_or_the_config_does_not_have() -> None:
    with pytest.raises(ModelError, match=r"transformers has no activation 'reluu'\. Did you mean 'relu'"):
        load(write(VIT), arguments={"act": "reluu"})
    with pytest.raises(ModelError, match="a config of t5 has no 'act'"):
        load(write({"model_type": "t5"}), arguments={"act": "relu"})


def test_the_command_that_asks_for_it(command: Callable[..., Any]) -> None:
    words = ["--acts", "relu,hswish", "--hw", "pixel6_tpu", "--format", "json"]
    done = command("activations", "--model", write(VIT), *words)
    assert done.returncode == 0, done.stderr


def test_an_encoder_with_a_decoder_and_one_that_listens() -> None:
    t5 = {"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "vocab_size": 100}
    loaded = load(write(t5))
    assert [tuple(given.shape) for given in loaded.inputs] == [(1, 128), (1, 128)]
    trace(loaded.module, loaded.inputs)
    bart = {"model_type": "bart", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 100}
    loaded = load(write(bart))
    assert sum(op.name == "scaled_dot_product_attention" for op in trace(loaded.module, loaded.inputs).ops) == 3


def test_inputs_of_the_users_own() -> None:
    arguments = {"input_ids": "int64[1,16]", "attention_mask": "int64[1,16]", "num_hidden_layers": 1}
    loaded = load(write(BERT), arguments=arguments)
    assert [tuple(given.shape) for given in loaded.inputs] == [(1, 16), (1, 16)]


def test_a_folder_and_a_file_are_the_same(tmp_path: Path) -> None:
    write(GPT2, "models/gpt2/config.json")
    for reference in ("hf:models/gpt2", "hf:models/gpt2/config.json", f"hf:{tmp_path}/models/gpt2"):
        assert len(load(reference).inputs) == 11


def test_it_runs_and_its_cross_check_agrees(command: Callable[..., Any]) -> None:
    """FlopCounterMode counts what torch runs: a real pass, in which attention is two matrix products."""
    reference = write(LLAMA)
    loaded = load(reference, arguments={"decode": 32}, weights=True)
    assert {parameter.device.type for parameter in loaded.module.parameters()} == {"cpu"}
    for words in (["--decode", "32"], ["--prefill", "32"]):
        done = command("analyze", reference, *words, "--cross-check", "--format", "json")
        assert (done.returncode, done.stderr) == (0, "")
        check = json.loads(done.stdout)
        assert check["failures"] == []
        assert check["total"]["macs"] == check["total"]["flop_counter_macs"]
    assert check["total"]["macs"] == llama_macs(32, 32)


def test_the_command_line_says_what_was_run(command: Callable[..., Any]) -> None:
    done = command("analyze", write(GPT2), "--hw", "pixel6_tpu", "--decode", "64", "--format", "json")
    analysis = json.loads(done.stdout)
    assert analysis["model"]["name"] == "hf:config.json(decode=64)"
    assert analysis["totals"]["macs"] == gpt2_macs(1, 65)
    assert command("analyze", "hf:config.json", "--decode", "6", "--prefill", "6", "--hw", "pixel6_tpu").returncode == 2


# --- what it does not do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"prefill": 0}, "prefill is a number of tokens, of at least 1"),
        ({"decode": "many"}, r"decode is a number of tokens, .* \(got 'many'\)"),
        ({"decode": 2**40}, "decode is a number of tokens"),
        ({"prefill": 8, "decode": 8}, "two passes; give one of them"),
        ({"n_hidden": 3}, r"a config of gpt2 has no 'n_hidden'\."),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        load(write(GPT2), arguments=arguments)


def test_what_has_no_such_pass_or_input() -> None:
    with pytest.raises(ModelError, match="is a bert, no causal language model: leave out prefill and decode"):
        load(write(BERT), arguments={"prefill": 8})
    with pytest.raises(ModelError, match="takes tokens, no image: give prefill or decode"):
        load(write(GPT2), input_size=(3, 224, 224))
    with pytest.raises(ModelError, match="takes input_ids, no image"):
        load(write(BERT), input_size=(3, 224, 224))
    mamba = {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 100, "state_size": 4}
    with pytest.raises(ModelError, match="no key/value cache of attention alone: give prefill, not decode"):
        load(write(mamba), arguments={"decode": 8})
    assert len(load(write(mamba), arguments={"prefill": 8}).inputs) == 1


def test_no_more_tokens_than_learned_positions() -> None:
    """GPT-2 looks its positions up (real weights would fail), OPT behind two more, Llama computes them."""
    for arguments in ({"prefill": 1025}, {"decode": 1024}):
        with pytest.raises(ModelError, match=r"has 1024 positions, .* needs 1025: .* --arg n_positions=1025"):
            load(write(GPT2), arguments=arguments)
    assert load(write(GPT2), arguments={"decode": 1023}).inputs
    assert load(write(GPT2), arguments={"prefill": 1025, "n_positions": 1025}).inputs
    opt = {
        "model_type": "opt", "hidden_size": 48, "word_embed_proj_dim": 48, "num_hidden_layers": 1, "ffn_dim": 100,
        "num_attention_heads": 4, "vocab_size": 300, "max_position_embeddings": 64,
    }  # fmt: skip
    with pytest.raises(ModelError, match="has 64 positions, and this pass needs 65"):
        load(write(opt), arguments={"prefill": 65})
    assert load(write({**LLAMA, "max_position_embeddings": 64}), arguments={"prefill": 65}).inputs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "has no model_type"),
        ('{"hidden_size": 4}', "has no model_type"),
        ('{"model_type": "lama"}', r"has no model_type 'lama'\. Did you mean 'llama'"),
        ('{"model_type": "mine", "auto_map": {"AutoModel": "net.Net"}}', "the code of 'mine' lies in a repository"),
        ('{"model_type": "gpt2", "n_head": 7, "n_embd": 48}', "fails to build: .*divisible"),
        ('{"model_type": "gpt2", "n_layer": "three"}', "config"),
    ],
)
def test_a_config_that_is_none(text: str, expected: str) -> None:
    Path("config.json").write_text(text)
    with pytest.raises(ModelError, match=expected) as caught:
        load("hf:config.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reference", ["hf:", "hf:bert-base-uncased", "hf:meta-llama/Llama-3.1-8B", "hf:nowhere.json"])
def test_nothing_is_looked_for_elsewhere(reference: str) -> None:
    with pytest.raises(ModelError, match="nothing is downloaded"):
        load(reference)


def test_code_that_a_config_names_is_not_run() -> None:
    Path("evil.py").write_text("raise SystemExit('ran')\n")
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    loaded = load(write({**GPT2, "auto_map": auto_map, "trust_remote_code": True}))
    assert type(loaded.module).__module__.startswith("transformers.")


def test_transformers_that_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"^transformers is not installed: pip install transformers$"):
        load(write(GPT2))


def test_a_torchvision_that_does_not_load_is_no_hindrance() -> None:
    """In a process of its own: transformers asks once what is installed, and imports it."""
    write(GPT2)
    code = "from roofline.loading import load; import sys; load('hf:config.json'); assert 'torchvision' in sys.modules"
    path = os.pathsep.join([str(STAND_INS), str(Path(roofline.__file__).parents[1])])
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert (run.returncode, run.stderr.decode()) == (0, "")


def test_sockets_are_as_they_were() -> None:
    connect = socket.socket.connect
    load(write(GPT2))
    assert socket.socket.connect is connect


def test_whatif_and_compare_take_it(command: Callable[..., Any]) -> None:
    write(GPT2)
    assert "two passes" not in command("compare", "hf:config.json", "mobilenetv1", "--hw", "pixel6_tpu").stderr
    done = command("whatif", "hf:config.json", "--decode", "64", "--hw", "pixel6_tpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert roofline.analyze("hf:config.json", hw="pixel6_tpu").graph.params == 500 * 48 + 1024 * 48 + 5 * 28_272 + 96
