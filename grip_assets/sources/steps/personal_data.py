"""Personal data in texts: e-mail addresses, telephone numbers and IP addresses.

An e-mail address needs a top-level domain of the public suffix list (tldextract). A telephone number must be valid for
the numbering plan of its country (phonenumbers). An IP address must be one that a machine on the internet can have.
Each pattern has bounded repetitions, so the time is in proportion to the length of the text.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence

from grip_assets.extras import must_have
from grip_assets.sources.documents import Reason
from grip_assets.sources.steps.masking import Span, TooMany

EMAIL = re.compile(
    r"(?<![\w.%+${-])[A-Za-z0-9_][\w.%+-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.){1,8})([A-Za-z]{2,24})(?![\w-])", re.A
)
OF_A_URL = re.compile(r"://[^\s/@]{0,64}$")  # user and password before the name of a host
NOBODY = re.compile(r"(?:noreply|no-reply|donotreply|git|svn|hg|user|username|you|me|name|foo|bar|nobody|root)@", re.I)
EXAMPLES = re.compile(r"(?:^|\.)(?:example|test|invalid|localhost|domain|foo|bar|yourdomain|mydomain)\.$", re.I)
INTERNATIONAL = re.compile(r"(?<![\w+.])\+[1-9][\d ().\-/\u00a0]{5,24}\d(?!\w)", re.A)
NATIONAL = re.compile(r"(?<![\w+.\-/])\(?\d[\d ().\-/\u00a0]{5,24}\d(?![\w.])", re.A)
IPV4 = re.compile(r"(?<![\w.\-])(?<!\w/)(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d|-\w)", re.A)
IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{4,35}(?![\w:])", re.A)
NO_ADDRESS = re.compile(  # words of versions, and coordinates of a drawing: 1.13.23.3.62.44
    r"(?:version|release|revision|\bver|\bv|oid|section|chapter|@since|==|>=|<=|~=|\^)\W{0,4}$|(?:\d{0,5}\.){4}\d{1,5}\s$",
    re.I,
)
BEFORE = 24  # characters before a number that can tell that it is a version
OF_NOBODY = {"8.8.8.8", "8.8.4.4", "9.9.9.9", "1.1.1.1", "2001:4860:4860::8888", "2001:4860:4860::8844"}  # name servers
MOST_CHECKED = 20_000  # numbers of one document that phonenumbers looks at: some seconds
PLACEHOLDERS = {"email": "<EMAIL>", "phone": "<PHONE>", "ip": "<IP_ADDRESS>"}


class PersonalData:
    """``regions``: countries (ISO 3166-1, such as US) whose numbers are found without their country's code too."""

    reason = Reason.PERSONAL_DATA

    def __init__(self, regions: Sequence[str] = ()):
        must_have("clean", "settings/corpus.personal_data", "phonenumbers", "tldextract")
        self.regions = tuple(regions)
        self.top_level = top_level_domains()

    def find(self, text: str) -> Iterator[Span]:
        yield from (_span(start, end, "email") for start, end in self._emails(text))
        yield from (_span(start, end, "phone") for start, end in self._phones(text))
        yield from (_span(start, end, "ip") for start, end in _addresses(text))

    def _emails(self, text: str) -> Iterator[tuple[int, int]]:
        if "@" not in text:
            return
        for match in EMAIL.finditer(text):
            is_example = NOBODY.match(match[0]) or EXAMPLES.search(match[1])
            before = text[max(match.start() - 64, 0) : match.start()]
            if match[2].lower() in self.top_level and not is_example and not OF_A_URL.search(before):
                yield match.span()

    def _phones(self, text: str) -> Iterator[tuple[int, int]]:
        patterns: list[tuple[re.Pattern[str], Sequence[str | None]]] = [(INTERNATIONAL, [None])] if "+" in text else []
        patterns += [(NATIONAL, self.regions)] if self.regions else []
        checked = 0
        for pattern, regions in patterns:
            for match in pattern.finditer(text):
                if not 7 <= sum(map(str.isdigit, match[0])) <= 15:
                    continue
                checked += 1
                if checked > MOST_CHECKED:
                    raise TooMany(f"more than {MOST_CHECKED:,} numbers that may be telephone numbers")
                span = next(filter(None, (_number(match[0], region) for region in regions)), None)
                if span:
                    yield match.start() + span[0], match.start() + span[1]


def top_level_domains() -> frozenset[str]:
    """The last labels of the public suffix list that comes with tldextract. Nothing is downloaded or written."""
    import tldextract  # an extra

    suffixes = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=()).tlds
    return frozenset(suffix.rpartition(".")[2].lower() for suffix in suffixes)


def _number(candidate: str, region: str | None) -> tuple[int, int] | None:
    """Where a valid telephone number stands in the candidate."""
    import phonenumbers  # an extra

    found = phonenumbers.PhoneNumberMatcher(candidate, region, phonenumbers.Leniency.VALID, max_tries=8)
    match = next(iter(found), None)
    return (match.start, match.end) if match else None


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (IPV4, IPV6):
        for match in pattern.finditer(text):
            before = text[max(match.start() - BEFORE, 0) : match.start()]
            if _is_public(match[0]) and not NO_ADDRESS.search(before):
                yield match.span()


def _is_public(said: str) -> bool:
    """Whether it is an address of a machine on the internet. Private, reserved and well-known ones are nobody's."""
    try:
        address = ipaddress.ip_address(said)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast and said not in OF_NOBODY and not _is_a_version(said)


def _is_a_version(said: str) -> bool:
    """Whether the four numbers are small, as in a version: 2.4.0.1."""
    return "." in said and all(int(part) < 30 for part in said.split("."))


def _span(start: int, end: int, kind: str) -> Span:
    return Span(start, end, kind, PLACEHOLDERS[kind])
