"""Texts that mislead are seen for what they are, and only a page's address becomes a link."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from journal.presentation import link_out, pill, shown
from journal.untrusted import page_host, visible

HOSTILE = sorted((Path(__file__).parents[2] / "fixtures" / "hostile").glob("*.json"))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("sell\u202egnol", "sell‹U+202E›gnol"),
        ("zero\u200bwidth", "zero‹U+200B›width"),
        ("tag\U000e0041", "tag‹U+E0041›"),
        ("bell\x07", "bell‹U+0007›"),
        ("escape\x1b[31m", "escape‹U+001B›[31m"),
        ("line\u2028end", "line‹U+2028›end"),
        ("one\r\ntwo\tthree", "one\ntwo\tthree"),
        ("ราคา ขึ้น, naïve – “quoted” 🚀 a\u00a0b", "ราคา ขึ้น, naïve – “quoted” 🚀 a\u00a0b"),
        ("family 👨\u200d👩", "family 👨\u200d👩"),
    ],
)
def test_what_steers_or_hides_is_spelt_out_and_the_rest_stays(text: str, seen: str):
    assert visible(text) == seen


@given(some.text())
def test_nothing_invisible_is_left_but_line_ends_and_what_scripts_need(text: str):
    left = set(visible(text)) - set("\n\t\u200c\u200d")
    assert all(each.isprintable() or each.isspace() for each in left)
    assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_hostile_texts_are_shown_without_markup_and_without_hidden_characters(path: Path):
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False)
    for seen in (str(shown("reason", text, short=True)), str(pill(text)), str(link_out("https://a.example/", text))):
        assert "<script" not in seen.lower()
        assert "\u202e" not in seen
        assert "\u200b" not in seen


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://www.reuters.com/markets?q=1&b=2#x", "www.reuters.com"),
        ("HTTP://Example.com:8080/", "example.com"),
        ("javascript:alert(1)", None),
        ("JaVaScRiPt:alert(1)", None),
        ("data:text/html,<script>alert(1)</script>", None),
        ("vbscript:x", None),
        ("//evil.example/", None),
        ("/admin/logout/", None),
        ("https://", None),
        ("https://bank.example@evil.example/", None),
        ("https://evil.example\\@bank.example/", None),
        ("https://a.example/\nSet-Cookie: a", None),
        (" https://a.example/", None),
        ("https://a.example/\u202egpj.exe", None),
        ('https://a.example/"onmouseover="alert(1)', None),
        ("https://[::1", None),
        ("file:///etc/passwd", None),
        ("", None),
    ],
)
def test_only_the_address_of_a_page_becomes_a_link(address: str, host: str | None):
    assert page_host(address) == host
    assert ("<a " in str(link_out(address, "words"))) == (host is not None)


def test_a_link_out_names_its_host_and_tells_the_page_nothing_of_us():
    link = str(link_out("https://a.example/x", "<b>Markets</b> rally\u202e"))
    assert 'rel="noreferrer noopener nofollow"' in link
    assert "&lt;b&gt;Markets&lt;/b&gt; rally‹U+202E›</a>" in link
    assert "a.example</span>" in link
