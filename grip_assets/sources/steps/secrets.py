"""Secrets in texts: keys and tokens, by the patterns of detect-secrets. Nothing is verified over the network.

Only plugins that recognise a secret by its form are used. Left out are the plugins for strings of high entropy (a hash
or a table of numbers is no secret) and for words such as "password" (most are names of variables), those of services
that have ended (cloudant, softlayer), Artifactory's (its pattern finds ordinary words) and that for IP addresses
(personal_data.py finds them).

A text is searched in pieces that overlap, since some patterns take quadratic time in the length of what they search.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from grip_assets.extras import must_have
from grip_assets.sources.documents import Reason
from grip_assets.sources.steps.masking import Span

PLUGINS = {  # module of detect_secrets.plugins: class, kind in counts, and words without which it finds nothing
    "aws": ("AWSKeyDetector", "aws key", ("A3T", "ABIA", "ACCA", "AKIA", "ASIA", "aws", "AWS")),
    "azure_storage_key": ("AzureStorageKeyDetector", "azure key", ("AccountKey=",)),
    "basic_auth": ("BasicAuthDetector", "password in a url", ("://",)),
    "discord": ("DiscordBotTokenDetector", "discord token", (".",)),
    "github_token": ("GitHubTokenDetector", "github token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    "gitlab_token": ("GitLabTokenDetector", "gitlab token", ("gl", "GR1348941")),
    "mailchimp": ("MailchimpDetector", "mailchimp key", ("-us",)),
    "npm": ("NpmDetector", "npm token", ("_authToken",)),
    "openai": ("OpenAIDetector", "openai key", ("T3BlbkFJ",)),
    "pypi_token": ("PypiTokenDetector", "pypi token", ("pypi-AgE",)),
    "sendgrid": ("SendGridDetector", "sendgrid key", ("SG.",)),
    "slack": ("SlackDetector", "slack token", ("xox", "hooks.slack.com")),
    "square_oauth": ("SquareOAuthDetector", "square key", ("sq0csp-",)),
    "stripe": ("StripeDetector", "stripe key", ("k_live_",)),
    "telegram_token": ("TelegramBotTokenDetector", "telegram token", (":",)),
    "twilio": ("TwilioKeyDetector", "twilio key", ("AC", "SK")),
}
OF_THE_VALUE = {"aws", "basic_auth", "npm"}  # what their patterns' group holds is the secret, not the whole match
PIECE, OVERLAP = 2_048, 256  # characters
WEB_TOKEN = re.compile(
    r"(?<![\w=-])eyJ[\w=-]{4,}\.[\w=-]{4,}(?:\.[\w=-]+)?", re.A
)  # with its signature; the plugin's ends before
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[23]")
KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{16,}")
MOST_OF_A_KEY = 20_000  # characters
LEAST_OF_A_KEY = 64  # characters of base64: a program that looks for the words has no key
VARIED = {"basic_auth": 3}  # a password of a person; tokens have more different characters than a placeholder of x
HOST = 24  # characters after a password in a URL: the name of the host may say that it is an example
PLACES = ("example", "user:pass", "username:password", "$", "<", "%s", "{", "xxx", "***", "...")
PLACEHOLDER = "<KEY>"


class Secrets:
    reason = Reason.SECRET

    def __init__(self) -> None:
        must_have("clean", "settings/corpus.secrets", "detect_secrets")
        self.plugins: list[tuple[str, str, tuple[str, ...], Any]] = []
        for module, (name, kind, words) in PLUGINS.items():
            plugin = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
            self.plugins.append((module, kind, words, plugin))
        self.is_web_token = import_module("detect_secrets.plugins.jwt").JwtTokenDetector.is_formally_valid

    def find(self, text: str) -> Iterator[Span]:
        yield from _private_keys(text)
        plugins = [plugin for plugin in self.plugins if any(word in text for word in plugin[2])]
        for start, piece in _pieces(text) if plugins else ():
            for plugin in plugins:
                yield from _of_plugin(plugin, piece, start)
        if "eyJ" in text:
            yield from self._web_tokens(text)

    def _web_tokens(self, text: str) -> Iterator[Span]:
        for match in WEB_TOKEN.finditer(text):
            if self.is_web_token(match[0]):
                yield Span(*match.span(), "json web token", PLACEHOLDER)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    for start in range(0, max(len(text) - OVERLAP, 1), PIECE - OVERLAP):
        yield start, text[start : start + PIECE]


def _of_plugin(plugin: tuple[str, str, tuple[str, ...], Any], piece: str, start: int) -> Iterator[Span]:
    module, kind, words, detector = plugin
    if not any(word in piece for word in words):
        return
    for pattern in detector.denylist:
        for match in pattern.finditer(piece):
            group = 1 if module in OF_THE_VALUE and pattern.groups and match[1] else 0
            said = piece[match.start() : match.end() + (HOST if module == "basic_auth" else 0)]
            if not _is_a_place_to_fill(said) and len(set(match[group])) >= VARIED.get(module, 8):
                yield Span(start + match.start(group), start + match.end(group), kind, PLACEHOLDER)


def _is_a_place_to_fill(said: str) -> bool:
    """Whether a document that explains something says where a secret would stand."""
    return any(word in said.lower() for word in PLACES)


def _private_keys(text: str) -> Iterator[Span]:
    """A private key from its first line to its last. Without a last line: to the end of its lines of base64."""
    starts = list(PRIVATE_KEY.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)] * bool(starts)
    for match, end in zip(starts, ends, strict=True):
        end = min(end, match.end() + MOST_OF_A_KEY)
        closed = text.find("-----END", match.end(), end)
        lines = list(KEY_LINE.finditer(text, match.end(), closed if closed >= 0 else end))
        if sum(len(line[0]) for line in lines) < LEAST_OF_A_KEY:
            continue
        last = text.find("-----", closed + 5, closed + 60) + 5 if closed >= 0 else _end_of_run(lines)
        yield Span(match.start(), max(last, closed), "private key", PLACEHOLDER)


def _end_of_run(lines: list[re.Match[str]]) -> int:
    """The end of the lines of base64 that follow one another, with at most 8 characters between them."""
    end = lines[0].end()
    for line in lines[1:]:
        if line.start() - end > 8:
            break
        end = line.end()
    return end
