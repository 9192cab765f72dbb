"""Identities that say which faces belong together and not who is shown."""

import hashlib


def create_pseudonym(source: str, who: str) -> str:
    """`SOURCE-` and 12 digits of a digest of `who`, the same on every machine; no name stands in it."""
    return f"{source}-{hashlib.blake2b(f'{source}:{who}'.encode(), digest_size=6).hexdigest()}"
