"""Which variables look secret, and that their values do not stay in a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.secrets import HIDDEN, looks_secret, redacted, secret_values, without

SECRET = [
    "HF_TOKEN", "hf_token", "HFTOKEN", "hfToken", "WANDB_API_KEY", "wandbApiKey", "WANDB_APIKEY", "API_KEY", "apikey",
    "OPENAI_API_KEY_2", "MY_SECRET", "SECRET_KEY", "CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN", "DB_PASSWORD", "DBPASSWORD", "password", "PGPASSWORD", "MYSQL_PWD", "SMTP_PASS",
    "SSH_PRIVATE_KEY", "PRIVATE_KEY_PATH", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_ACCOUNT_KEY", "HTTP_AUTH",
    "AUTH_HEADER", "AUTHORIZATION", "SENTRY_DSN", "SESSION_COOKIE", "KEYRING_PASSPHRASE", "GIT-TOKEN", "token.github",
    "Token1",
]  # fmt: skip
PLAIN = [
    "MAX_TOKENS", "NUM_TOKENS", "TOKENIZERS_PARALLELISM", "TOKENIZER", "AUTHOR", "KEY", "KEYBOARD", "MONKEY", "PWD",
    "OLDPWD", "PASS", "BYPASS", "COMPASS", "PATH", "CUDA_VISIBLE_DEVICES", "WANDB_PROJECT", "WANDB_MODE",
    "OMP_NUM_THREADS", "SEED", "API_URL", "ACCESS_LOG", "PRIVATE", "KEY_FRAMES", "SECRETARY", "HOME",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET)
def test_secret_names(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names(name: str) -> None:
    assert not looks_secret(name)


def test_values_of_secret_names_are_replaced_and_names_stay() -> None:
    assert redacted({"HF_TOKEN": "x", "SEED": "1", "EMPTY_SECRET": ""}) == {
        "HF_TOKEN": HIDDEN,
        "SEED": "1",
        "EMPTY_SECRET": HIDDEN,
    }


def test_longer_values_go_first_so_that_no_end_of_them_is_left() -> None:
    values = secret_values({"A_TOKEN": "abcdef", "B_TOKEN": "abcdefghij", "PLAIN": "visible"})
    assert values == ("abcdefghij", "abcdef")
    assert without("abcdefghij abcdef visible", values) == "*** *** visible"


def test_every_line_of_a_key_is_hidden_by_itself() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    values = secret_values({"SSH_PRIVATE_KEY": key})
    assert without("cannot parse kqhkiG9w0BAQEF", values) == "cannot parse ***"
    assert without(key, values).strip() == HIDDEN


@pytest.mark.parametrize("value", ["", "1", "true", "none"])
def test_short_values_are_not_looked_for(value: str) -> None:
    assert secret_values({"USE_AUTH": value}) == ()


@given(st.text(min_size=6), st.text(), st.text())
def test_no_value_survives(value: str, before: str, after: str) -> None:
    values = secret_values({"X_TOKEN": value})
    left = without(before + value + after, values)
    assert all(
        hidden not in left for hidden in values if HIDDEN not in hidden and hidden not in HIDDEN and "*" not in hidden
    )
