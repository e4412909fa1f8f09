"""Passwords cost as much to guess as they should: the other tests have them cheaper."""

from collections.abc import Callable

from pwdlib import PasswordHash

from app.services import accounts


def test_a_password_is_hashed_with_the_whole_work(own_passwords: Callable[[], PasswordHash]) -> None:
    digest = own_passwords().hash("three quiet words")
    assert digest.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert own_passwords().verify("three quiet words", digest) and not own_passwords().verify("three loud words", digest)
    assert accounts._argon2().hash("three quiet words").startswith("$argon2id$v=19$m=8,t=1,p=1$"), "or the tests would be slow again"
