"""What is taken out of texts before a log keeps them, and what is left in them."""

from __future__ import annotations

import base64
import random
import string

import pytest

from recaption.scrub import HIDDEN, Scrubber, public_text, public_url

SECRET = "s3cr3tV4lue-0123456789"
PICTURE = base64.b64encode(bytes(range(256)) * 4).decode()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer " + SECRET,
        '{"Authorization": "Bearer ' + SECRET + '"}',
        "headers={'authorization': 'Basic " + SECRET + "'}",
        f"openai said: wrong key sk-{SECRET}",
        "hf_" + SECRET.replace("-", ""),
        "the key AKIAIOSFODNN7EXAMPLE is not known",
        "ghp_" + SECRET.replace("-", ""),
        "xoxb-" + SECRET,
        "AIza" + "A1b2C3d4E5" * 4,
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + SECRET,
        "GET https://bucket.s3.amazonaws.com/a.jpg?X-Amz-Algorithm=x&X-Amz-Signature=" + SECRET,
        "https://s3.test/a?X-Amz-Security-Token=" + SECRET + "&X-Amz-Date=20260131",
        "https://x.blob.core.windows.net/a.jpg?sv=1&sig=" + SECRET,
        "https://storage.googleapis.com/a?GoogleAccessId=" + SECRET + "&Expires=1",
        "cannot reach s3://me:" + SECRET + "@host/bucket",
        "proxy http://" + SECRET + "@proxy:3128 refused",
        f"aws_secret_access_key={SECRET}",
        f'"api_key": "{SECRET}"',
        f"password: {SECRET}, user: me",
        f"HF_TOKEN='{SECRET}'",
    ],
)
def test_secrets_go_by_their_form(text: str) -> None:
    found = Scrubber({})(text)
    assert HIDDEN in found
    assert SECRET not in found and SECRET.replace("-", "") not in found
    for piece in ("AKIAIOSFODNN7EXAMPLE", "A1b2C3d4E5" * 4):
        assert piece not in found


@pytest.mark.parametrize(
    "text",
    [f"bad picture data:image/jpeg;base64,{PICTURE} in message", f"image_url: {PICTURE}", f"DATA:;base64,{PICTURE}"],
)
def test_image_bytes_go(text: str) -> None:
    found = Scrubber({})(text)
    assert HIDDEN in found and len(found) < 60 and PICTURE[:24] not in found


@pytest.mark.parametrize(
    "text",
    [
        "no token for 300 s while requests run",
        "the answer was of kind 'repetition' in each of 3 attempts, max_tokens=320, output_tokens: 14",
        "HF_TOKEN in its environment, or hf auth login there",
        "/data/cc3m/00012.tar changed while it was being read (shard 00012, key 000120007)",
        "https://example.org/photo.jpg?width=640&height=480 was not found",
        "8 x 8 pixels; the shorter side must have 16",
        "s3://bucket/out/answers/long-0123456789abcdef/.parts/00000/000000.000001-0000-3_17.parquet",
        "key 'sk' and key 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "mail me@example.org",
    ],
)
def test_what_says_what_is_wrong_stays(text: str) -> None:
    assert Scrubber({})(text) == text


@pytest.mark.parametrize(
    ("url", "published"),
    [
        ("https://b.s3.amazonaws.com/a.jpg?X-Amz-Date=1&X-Amz-Credential=A%2F1&X-Amz-Signature=S", "https://b.s3.amazonaws.com/a.jpg?X-Amz-Date=1&X-Amz-Credential=***&X-Amz-Signature=***"),
        ("https://x.test/a.jpg?sv=1&sig=S%2Fc%3D&w=3", "https://x.test/a.jpg?sv=1&sig=***&w=3"),
        ("https://x.test/a.jpg?OSSAccessKeyId=S&security-token=S", "https://x.test/a.jpg?OSSAccessKeyId=***&security-token=***"),
        ("https://x.test/a.jpg?Policy=S&Signature=S~_&Key-Pair-Id=S", "https://x.test/a.jpg?Policy=***&Signature=***&Key-Pair-Id=***"),
        ("https://cdn.test/a.png?ex=65&hm=0123456789abcdef01234567", "https://cdn.test/a.png?ex=65&hm=***"),
        ("https://x.test/a.jpg?st=0123456789abcdefABCD_w&e=17", "https://x.test/a.jpg?st=***&e=17"),
        ("https://x.test/a.jpg?md5=0123456789abcdefABCD_w&expires=1", "https://x.test/a.jpg?md5=***&expires=1"),
        ("https://x.test/a.jpg?verify=1487783130-IaLKSmTLsS%2Fm%3D", "https://x.test/a.jpg?verify=***"),
        ("https://x.test/p?url=https%3A%2F%2Fy.test%3Fsig%3DS%26w%3D3&h=2", "https://x.test/p?url=https%3A%2F%2Fy.test%3Fsig%3D***%26w%3D3&h=2"),
        ("HTTPS://x.test/a?b=1&amp;TOKEN=S&amp;c=2#access_token=S", "HTTPS://x.test/a?b=1&amp;TOKEN=***&amp;c=2#access_token=***"),
        ("https://me:S@x.test/a.jpg", "https://***@x.test/a.jpg"),
        ("https://x.test/a.jpg?hdntl=exp=1~data=x~hmac=S&w=3", "https://x.test/a.jpg?hdntl=***&w=3"),
        ("https://x.test/a.jpg?__token__=exp=1~hmac=S", "https://x.test/a.jpg?__token__=***"),
        ("https://x.test/a.jpg?tempauth=v1.S&ssig=S%2B&PHPSESSID=S", "https://x.test/a.jpg?tempauth=***&ssig=***&PHPSESSID=***"),
        ("https://x.test/0/1?e=17&v=beta&t=abcdefghij-ABCDEFGHIJ_123", "https://x.test/0/1?e=17&v=beta&t=***"),
        ("https://x.test/image/upload/s--abcd_-12--/a.jpg", "https://x.test/image/upload/s--***--/a.jpg"),
        ("https://x.test/file/bot123456:AAEabcdefghijklmnopqrstuvwxyz01/a.jpg", "https://x.test/file/bot123456:***/a.jpg"),
        ("https://x.test/p/abcdefghijklmnopqrstuv/n/ns/b/b/o/a.jpg", "https://x.test/p/***/n/ns/b/b/o/a.jpg"),
        (r"https:\/\/x.test\/a.jpg?w=1\u0026sig=S\u0026h=2", r"https:\/\/x.test\/a.jpg?w=1\u0026sig=***\u0026h=2"),
        ("//x.test/a.jpg?sig=S", "//x.test/a.jpg?sig=***"),
        ("x.test/a.jpg?w=1&X-Amz-Signature=S", "x.test/a.jpg?w=1&X-Amz-Signature=***"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,***"),
        ("https://x.test/AKIAIOSFODNN7EXAMPLE/a.jpg", "https://x.test/***/a.jpg"),
    ],
)  # fmt: skip
def test_urls_are_published_without_what_gives_access(url: str, published: str) -> None:
    assert public_url(url) == published
    assert Scrubber({})(url) == published
    assert public_text(f'see "{url}", x') == f'see "{published}", x'


@pytest.mark.parametrize(
    ("url", "published"),
    [
        ("https://x.test/token=exp=1~hmac=S/a.jpg", "https://x.test/token=***/a.jpg"),
        ("https://x.test/bcdn_token=S&expires=1/a.jpg", "https://x.test/bcdn_token=***/a.jpg"),
    ],
)
def test_a_token_in_the_path_is_not_published(url: str, published: str) -> None:
    assert public_url(url) == public_text(url) == published


@pytest.mark.parametrize(
    "url",
    [
        "https://x.test/a.jpg?width=1&author=x&design=y&config=z&s=3&key=1&st=2&hash=4&v=0123456789abcdef0123456789abcdef",
        "https://x.test/sk-skincare-cream.jpg?mail=me@x.test",
        "https://x.test/" + "a/" * 300 + "b.jpg",
        "https://x.test/token/secret.jpg#top",
        "https://x.test/a.jpg?code=12&t=120&sid=3",
        "https://x.test/bottle/p/n/s--small--/a.jpg",
        "A sign reads 'and/or?', and beside it 24/7 // open daily; the clock shows 5.30/6.",
    ],
)
def test_other_urls_are_published_as_they_are(url: str) -> None:
    assert public_url(url) == public_text(url) == url


def test_values_of_the_environment_go_wherever_they_stand() -> None:
    environment = {
        "MY_SERVER": "correct horse",
        "OPENAI_API_KEY": "a/b+c d=e",
        "WANDB_TOKEN": "x",
        "HOME": "/home/somebody",
    }
    scrub = Scrubber(environment, names=("MY_SERVER",))
    assert scrub("it said correct horse at /home/somebody x") == f"it said {HIDDEN} at /home/somebody x"
    assert scrub("?q=a%2Fb%2Bc%20d%3De a/b+c d=e") == f"?q={HIDDEN} {HIDDEN}"


def test_nested_values_are_looked_through_and_bytes_are_only_counted() -> None:
    found = Scrubber({})(
        {"a": ["sk-" + SECRET, 3, None, True, 0.5], "b": {"c": b"\xff\xd8\xff"}, "d": ValueError("sk-" + SECRET)}
    )
    assert found == {"a": [HIDDEN, 3, None, True, 0.5], "b": {"c": "3 bytes"}, "d": HIDDEN}


def test_long_hostile_text_is_done_at_once() -> None:
    """Patterns that look back at each letter would take minutes here; the suite's timeout would end it."""
    dice = random.Random(0)
    scrub = Scrubber({})
    for text in (
        "a" * 500_000,
        "://" * 200_000,
        "token" * 100_000,
        "eyJ" * 150_000,
        "-" * 500_000,
        "?s" * 200_000,
        "&a-" * 150_000,
        "&" + "a-" * 200_000,
        "%" + "25" * 200_000,
        "%25" * 200_000,
        "a." * 250_000,
        "a.a/" * 125_000,
        "/" * 500_000,
    ):
        scrub(text)
        public_text(f"https://{text}")
        public_text(f"/ {text}")
    scrub("".join(dice.choices(string.printable, k=500_000)))
