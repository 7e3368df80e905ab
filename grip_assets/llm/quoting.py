"""Makes untrusted text safe to put into a prompt.

The text is put between two lines that contain its hash, so it cannot close its own delimiter. Tokens that chat
templates read as control (such as ``<|im_end|>``) are broken up.
"""

import hashlib
import re

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
CHAT_TOKEN = re.compile(  # ChatML and Llama 3; DeepSeek; Llama 2, Mistral and Gemma
    r"<\|[^<>\n]{0,60}\|>|<｜[^<>\n]{0,60}｜>|</?(?:s|bos|eos|start_of_turn|end_of_turn|think)>|<</?SYS>>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
)


def delimited(text: str) -> str:
    """The text made harmless, between two lines that it cannot contain."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    harmless = CHAT_TOKEN.sub(lambda m: f"{m[0][0]} {m[0][1:]}", CONTROL.sub("\N{REPLACEMENT CHARACTER}", lines))
    mark = hashlib.sha256(harmless.encode()).hexdigest()[:32]
    return f"DOCUMENT {mark} BEGINS\n{harmless}\nDOCUMENT {mark} ENDS"
