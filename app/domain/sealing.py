"""Secrets at rest: encrypted under FETTLE_SECRET_KEY and tied to the place they may be sent to.

Pure: the key comes in as bytes. AES-256-GCM with the place as associated data, so that a text moved to another row, or a row given another
address, opens to nothing.
"""

import base64
import os
from functools import lru_cache
from typing import Any

from app.errors import Conflict


def seal(secret: str, key: bytes, place: str) -> str:
    """The secret in a form that only `unseal` with the same key and place reads."""
    nonce = os.urandom(12)
    return base64.urlsafe_b64encode(nonce + _cipher(key).encrypt(nonce, secret.encode(), place.encode())).decode()


def unseal(sealed: str, key: bytes, place: str) -> str:
    """The secret. Raises Conflict when the installation's key or the place is another than when it was sealed."""
    from cryptography.exceptions import InvalidTag

    try:
        raw = base64.urlsafe_b64decode(sealed)
        return bytes(_cipher(key).decrypt(raw[:12], raw[12:], place.encode())).decode()
    except (InvalidTag, ValueError) as error:
        raise Conflict(
            "key_unreadable", "The stored key cannot be read: it was saved under another FETTLE_SECRET_KEY.", "Enter the endpoint's key again."
        ) from error


@lru_cache(maxsize=4)
def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"fettle endpoint keys").derive(key))
