"""Values that a model's, a tokenizer's and an adapter's documents should not have."""

import math
from collections.abc import Callable
from typing import Any

_HUGE = 10**9


def _padding_to(length: int) -> dict[str, Any]:
    """A tokenizer's padding of every text to so many tokens."""
    return {
        "strategy": {"Fixed": length},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 7,
        "pad_type_id": 0,
        "pad_token": "x",
    }


_COUNT = ("2", -1, 0, 3, _HUGE, 10**400, None, 1.5, True, [2], {}, math.nan)

MODEL_SETTINGS: dict[str, tuple[Any, ...]] = {
    "hidden_size": _COUNT,
    "vocab_size": (*_COUNT, 337, 339),
    "num_hidden_layers": (*_COUNT, 100_000),
    "num_attention_heads": (*_COUNT, 8),
    "num_key_value_heads": (*_COUNT, 8),
    "head_dim": (*_COUNT, 7),
    "intermediate_size": _COUNT,
    "max_position_embeddings": (-1, 0, _HUGE, "64", None, math.nan),
    "hidden_act": ("nonsense", 5, None, []),
    "rms_norm_eps": ("x", math.nan, None, -1, 1e400),
    "rope_parameters": ("x", [], {}, {"rope_type": "nonsense"}, {"rope_theta": "x", "rope_type": "default"}),
    "rope_theta": ("x", [], math.nan),
    "rope_scaling": ("x", [], {"type": "nonsense"}),
    "torch_dtype": ("nonsense", 5, "int8", "__class__"),
    "dtype": ("nonsense", 5, "int8", []),
    "attn_implementation": ("flash_attention_2", "nonsense", "owner/kernel", 5, {"": "flash_attention_2"}),
    "_attn_implementation": ("flash_attention_2", "nonsense", "owner/kernel"),
    "_experts_implementation": ("nonsense", "owner/kernel"),
    "architectures": (["Nope"], [], 5, "LlamaForCausalLM", ["BertModel"], [5]),
    "tie_word_embeddings": ("yes", 5, None),
    "pad_token_id": (_HUGE, "x", -5, []),
    "eos_token_id": (_HUGE, "x", [0, 7], {}),
    "bos_token_id": (_HUGE, "x"),
    "quantization_config": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq"},
        {"quant_method": "fp8"},
        {"quant_method": "mxfp4"},
        {"quant_method": "nonsense"},
        {"quant_method": "gguf"},
        {"load_in_8bit": True},
        {},
        [],
        "x",
    ),
    "model_type": (
        "novel",
        "bert",
        "t5",
        "vit",
        "clip",
        "whisper",
        "mamba",
        "gpt2",
        "llava",
        "qwen3_moe",
        "gpt_oss",
        "encoder-decoder",
        "timm_backbone",
        "../x",
        "a\x1b[31m\nb",
        "",
        5,
        None,
        [],
    ),
    "is_encoder_decoder": (True,),
    "is_decoder": (False,),
    "use_cache": (False, "x"),
    "return_dict": (False,),
    "output_attentions": (True,),
    "output_hidden_states": (True, "x"),
    "attention_bias": (True, "x"),
    "attention_dropout": (5, "x", math.nan),
    "num_labels": (_HUGE, -1, "x"),
    "id2label": ("x", [], {"x": "y"}),
    "layer_types": (["nonsense"] * 2, 5, ["sliding_attention"] * 2),
    "sliding_window": (-1, "x"),
    "transformers_weights": ("/etc/passwd", "../x"),
    "fusion_config": ({"x": True}, "x", {"patch_embeddings": True}),
    "per_layer_config": ({"0": {"hidden_size": 5}}, "x"),
    "text_config": ({"hidden_size": 5}, "x", {}),
    "name_or_path": ("/etc/passwd", 5),
    "transformers_version": (5, "x", "99.0.0"),
    "gradient_checkpointing": (True,),
    "chunk_size_feed_forward": (-1, "x"),
    "pruned_heads": ({"0": [1]}, "x"),
    "save_pretrained": (5,),
    "to_dict": (5,),
    "get_text_config": (5,),
    "__class__": (5,),
    "_commit_hash": (5,),
    "base_model_tp_plan": ({"x": "y"}, 5),
    "pretraining_tp": (0, "x", 7),
}
"""Key of config.json -> values."""

_TEMPLATES = ("{% for", "{{ ''.__class__.__mro__ }}", 5, [], {"a": "b"}, "{{ 0 / 0 }}")

TOKENIZER_SETTINGS: dict[str, tuple[Any, ...]] = {
    "tokenizer_class": (
        "Nonsense",
        "BertTokenizer",
        "LlamaTokenizer",
        "T5Tokenizer",
        "GPT2Tokenizer",
        5,
        None,
        "",
    ),
    "backend": ("nonsense", 5),
    "eos_token": (5, None, "", "<none>", {"content": "<none>"}, [], {"x": 1}, "a\x1b[31m"),
    "pad_token": (5, "<none>", {"content": 5}, []),
    "bos_token": (5, "<none>", []),
    "chat_template": _TEMPLATES,
    "model_max_length": ("x", -1, 0, 3, None, 1e400),
    "padding_side": ("nonsense", 5),
    "truncation_side": ("nonsense", 5),
    "added_tokens_decoder": (
        "x",
        {"x": {}},
        {"0": "x"},
        {"999999999": {"content": "<far>"}},
        {"-1": {"content": "x"}},
    ),
    "additional_special_tokens": (5, "x", ["<a>", 5]),
    "extra_special_tokens": (5, "x", ["<a>"], {"image_token": "<image>"}),
    "tokenizer_file": ("/etc/passwd", "absent", 5),
    "vocab_file": ("/etc/passwd", "absent", 5),
    "fast_tokenizer_files": (["tokenizer.9.json"], 5, ["../x"], "x"),
    "name_or_path": ("/etc/passwd", 5),
    "split_special_tokens": (True, "x"),
    "add_bos_token": (True, "x"),
    "add_eos_token": (True, "x"),
    "add_prefix_space": (True, "x"),
    "clean_up_tokenization_spaces": ("x",),
    "model_input_names": (5, [], ["x"], ["attention_mask"]),
    "is_fast": (5,),
    "processor_class": ("Nonsense", 5),
    "use_fast": (False,),
    "config_tokenizer_class": ("Nonsense",),
}
"""Key of tokenizer_config.json -> values."""


def _move(identity: int) -> Callable[[Any], object]:
    """The last of the vocabulary's words gets another number."""

    def edit(document: Any) -> None:
        vocabulary = document["model"]["vocab"]
        vocabulary[max(vocabulary, key=vocabulary.get)] = identity

    return edit


TOKENIZER_DOCUMENTS: dict[str, Callable[[Any], object]] = {
    "of no word": lambda d: d["model"].update(vocab={}, merges=[]),
    "of half the words": lambda d: d["model"].update(vocab=dict(list(d["model"]["vocab"].items())[:100])),
    "of half the words, without merges": lambda d: d["model"].update(
        vocab=dict(list(d["model"]["vocab"].items())[:100]), merges=[]
    ),
    "of words that are numbers": lambda d: d["model"].update(vocab={"a": "b"}),
    "of a word beyond the weights": _move(_HUGE),
    "of every word beyond the weights": lambda d: d["model"].update(
        vocab={word: 1000 + number for word, number in d["model"]["vocab"].items()}
    ),
    "of a word below 0": _move(-1),
    "of a word beyond 32 bits": _move(1 << 40),
    "of a word twice": _move(5),
    "without an end": lambda d: d.update(added_tokens=[]),
    "of an end far away": lambda d: d["added_tokens"][0].update(id=_HUGE),
    "of an end that is no word": lambda d: d["added_tokens"][0].update(content=""),
    "without a model": lambda d: d.pop("model"),
    "of a model that is none": lambda d: d["model"].update(type="Nonsense"),
    "of merges that are none": lambda d: d["model"].update(merges=[["\u0120q", "zzz"]]),
    "of merges that are numbers": lambda d: d["model"].update(merges=[5]),
    "of pieces by a broken pattern": lambda d: d.update(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
    ),
    "that replaces an endless pattern": lambda d: d.update(
        normalizer={"type": "Replace", "pattern": {"Regex": "(\\w+)+#"}, "content": ""}
    ),
    "of pieces that are none": lambda d: d.update(pre_tokenizer={"type": "Nonsense"}),
    "that drops everything": lambda d: d.update(
        normalizer={"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
    ),
    "that makes much of little": lambda d: d.update(
        normalizer={
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"Regex": "."}, "content": "aaaaaaaaaaaaaaaa"}]
            * 8,
        }
    ),
    "that cuts": lambda d: d.update(
        truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    ),
    "that cuts to nothing": lambda d: d.update(
        truncation={"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 5}
    ),
    "that pads": lambda d: d.update(padding=_padding_to(60)),
    "that pads without end": lambda d: d.update(padding=_padding_to(_HUGE)),
    "that adds a token that is none": lambda d: d.update(
        post_processor={
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<none>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {},
        }
    ),
    "that adds a token far away": lambda d: d.update(
        post_processor={
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<x>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<x>": {"id": "<x>", "ids": [_HUGE], "tokens": ["<x>"]}},
        }
    ),
    "of another version": lambda d: d.update(version="9.9"),
}
"""Name -> what is changed in tokenizer.json."""

ADAPTER_SETTINGS: dict[str, tuple[Any, ...]] = {
    "peft_type": (
        "NOVEL",
        "PROMPT_TUNING",
        "PREFIX_TUNING",
        "ADAPTION_PROMPT",
        "IA3",
        "LOHA",
        "ADALORA",
        "XLORA",
        5,
        None,
        [],
    ),
    "r": (0, -1, "2", 3, _HUGE, None, 1.5, True, [], 10**400, math.nan),
    "target_modules": (
        ["nonsense"],
        [],
        None,
        "(",
        "(.+)+#",
        5,
        {"a": 1},
        "all-linear",
        ["lm_head"],
        [5],
        "",
    ),
    "lora_alpha": ("x", math.nan, None, 1e400, []),
    "lora_dropout": (5, "x", -1, math.nan, None),
    "task_type": ("NONSENSE", "SEQ_CLS", "SEQ_2_SEQ_LM", 5, None, []),
    "base_model_name_or_path": ("owner/other", 5, [], "a\x1b[31m\nb", "x" * 3000, "/etc/passwd"),
    "modules_to_save": (["nonsense"], 5, "lm_head", ["lm_head"], [5]),
    "layers_to_transform": ([99], "x", 0, [-1], [1.5]),
    "layers_pattern": ("(", 5, "nonsense"),
    "rank_pattern": ("x", {"q_proj": 3}, {"q_proj": _HUGE}, {"(": 2}, {"q_proj": "x"}, {"q_proj": -1}),
    "alpha_pattern": ("x", {"q_proj": "x"}, {"(": 1}),
    "init_lora_weights": ("nonsense", "gaussian", "pissa", "olora", "loftq", "eva", "corda", 5),
    "use_dora": (True, "x"),
    "use_rslora": ("x",),
    "bias": ("nonsense", "all", "lora_only", 5, None),
    "fan_in_fan_out": (True, "x"),
    "exclude_modules": (["q_proj"], "(", 5),
    "modules_to_tie": (["x"], 5),
    "target_parameters": (["x"], ["model.layers.0.mlp.gate_proj.weight"], 5),
    "trainable_token_indices": ([0], [_HUGE], 5, "x", {"embed_tokens": [1]}),
    "layer_replication": ([[0, 2], [0, 2]], [[0, _HUGE]], 5, [[5]]),
    "loftq_config": ({"a": 1}, 5),
    "megatron_config": ({"a": 1}, 5),
    "megatron_core": ("this", 5),
    "auto_mapping": ({"base_model_class": "system", "parent_library": "os"}, 5),
    "peft_version": (5, "99.0.0", "x"),
    "inference_mode": (False, "x"),
    "revision": (5, "x"),
    "runtime_config": (5, {"a": 1}),
    "use_qalora": (True,),
    "use_bdlora": (True, {"a": 1}),
    "lora_bias": (True, "x"),
    "arrow_config": ({"a": 1}, 5),
    "alora_invocation_tokens": ([1], 5),
    "unknown_key": (5,),
    "__class__": (5,),
}
"""Key of adapter_config.json -> values."""
