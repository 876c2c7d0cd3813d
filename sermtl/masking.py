"""What may be written down of a URI: its passwords and keys become ***."""

import re

PASSWORD = re.compile(r"(\w+://[^:/\s@]*):[^\s]*@")
WEB_PASSWORD = re.compile(r"(https?://[^:/\s@]*):(?!\d{1,5}[/?#])[^\s]*@")  # what follows a port is a path, with '@' or without
KEY = re.compile(r"([?&][^=&\s]*(?:pass|pwd|token|secret|key|sig|cred)[^=&\s]*=)[^&\s'\"]+", re.IGNORECASE)


def mask_secrets(text: str) -> str:
    """The text with passwords in URIs, and values of secret-sounding query keys, replaced by ***."""
    return KEY.sub(r"\1***", re.sub(r"\w+://\S*", _mask_password, text))


def mask_argument(word: str) -> str:
    """One word of a command line, masked: unlike in a text, a space does not end a URI in it."""
    packed = re.sub(r"\s", "%20", word)
    masked = mask_secrets(packed)
    return word if masked == packed else masked


def _mask_password(found: re.Match[str]) -> str:
    uri = found[0]
    return (WEB_PASSWORD if uri.startswith("http") else PASSWORD).sub(r"\1:***@", uri)
