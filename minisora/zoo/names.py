"""Two other spellings of our parameters: the official Wan files' and the diffusers library's.

Each table turns our names into theirs, piece by piece. Where a tensor's shape differs, `fold` says how.
"""

import re
from collections.abc import Iterable

Spelling = list[tuple[str, str]]

DIT_OFFICIAL: Spelling = [
    (r"^embed\.", "patch_embedding."),
    (r"^embed_text\.", "text_embedding."),
    (r"^embed_time\.", "time_embedding."),
    (r"^modulation\.", "time_projection.1."),
    (r"^table$", "head.modulation"),
    (r"^head\.(?!modulation)", "head.head."),
    (r"\.table$", ".modulation"),
    (r"\.attend\.", ".self_attn."),
    (r"\.read\.", ".cross_attn."),
    (r"\.out\.", ".o."),
    (r"\.norm_text\.", ".norm3."),
    (r"\.mlp_in\.", ".ffn.0."),
    (r"\.mlp_out\.", ".ffn.2."),
]

DIT_DIFFUSERS: Spelling = [
    (r"^embed\.", "patch_embedding."),
    (r"^embed_text\.0", "condition_embedder.text_embedder.linear_1"),
    (r"^embed_text\.2", "condition_embedder.text_embedder.linear_2"),
    (r"^embed_time\.0", "condition_embedder.time_embedder.linear_1"),
    (r"^embed_time\.2", "condition_embedder.time_embedder.linear_2"),
    (r"^modulation\.", "condition_embedder.time_proj."),
    (r"^head\.", "proj_out."),
    (r"table$", "scale_shift_table"),
    (r"\.attend\.", ".attn1."),
    (r"\.read\.", ".attn2."),
    (r"\.(q|k|v)\.", r".to_\1."),
    (r"\.out\.", ".to_out.0."),
    (r"\.norm_text\.", ".norm2."),
    (r"\.mlp_in\.", ".ffn.net.0.proj."),
    (r"\.mlp_out\.", ".ffn.net.2."),
]


def spell(names: Iterable[str], spelling: Spelling) -> dict[str, str]:
    """Our names → theirs."""
    spelled = {}
    for name in names:
        other = name
        for pattern, replacement in spelling:
            other = re.sub(pattern, replacement, other)
        spelled[name] = other
    return spelled
