"""Answers by llama.cpp, in this process and on the CPU: several times as fast as transformers, streamed alike.

    loaded base --(once, in the cache)--> GGUF file --+
    LoRA adapters --(a temporary folder)--> GGUF files +--> one llama.cpp --bursts of tokens--> AnswerPiece
    prompts as token ids ------------------------------+

transformers stays the reference: where llama.cpp cannot answer in the same way, `chosen_decoder` names the reason.
Tokeniser, chat template and stop rules are ours; llama.cpp reads and returns token ids only.
"""
