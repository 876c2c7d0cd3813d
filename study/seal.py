"""A digest inside a JSON file that is never to change: one flipped digit is as good JSON as the one that was written."""

import hashlib

END = "\n}\n"
MARK = b',\n"sha256": "'


def sealed(text: str) -> str:
    """A JSON object's text, which ends with its brace on a line of its own, with the digest of the rest as its last key."""
    body = text.removesuffix(END)
    return f'{body}{MARK.decode()}{hashlib.sha256(body.encode()).hexdigest()}"{END}'


def check_seal(content: bytes) -> bytes:
    """A file's content, as it is. Raises ValueError where its digest does not fit; one of an older version has none."""
    body, mark, digest = content.rpartition(MARK)
    if mark and digest.decode(errors="replace") != f'{hashlib.sha256(body).hexdigest()}"{END}':
        raise ValueError("its digest does not fit its content: it was changed after it was written")
    return content
