"""Texts that the database can store."""


def first_bytes(text: str, limit: int) -> tuple[str, bool]:
    """Return the text, or the part of it that has at most `limit` bytes in UTF-8, and whether it was cut."""
    if len(text) <= limit // 4:  # a character has at most four bytes
        return text, False
    content = text.encode()
    if len(content) <= limit:
        return text, False
    # The last character may have been cut in the middle.
    return content[:limit].decode(errors="ignore"), True


def storable(text: str) -> str:
    """Replace NUL and unpaired surrogates, which PostgreSQL rejects."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
