"""Short names of models; no torch."""

DEFAULT_MODEL = "smollm2-135m"

SHORT_NAMES = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "gemma-2-9b": "google/gemma-2-9b",
    "olmo-7b": "allenai/OLMo-7B-0424-hf",
    "qwen2-7b": "Qwen/Qwen2-7B",
    "mistral-7b": "mistralai/Mistral-7B-v0.3",
    "llama-3-8b": "meta-llama/Meta-Llama-3-8B",
}
"""Short name -> hub id: the default model and the five models of the paper's Table 1."""
