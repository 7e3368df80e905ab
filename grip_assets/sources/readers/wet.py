"""wet: the texts that a crawler took out of web pages (the ``conversion`` records of WET files), as they are."""

from typing import ClassVar

from grip_assets.sources.readers.base import pack
from grip_assets.sources.readers.warc import Warc


class Wet(Warc):
    """Language: the first that the crawler identified, as a code of two letters if it has one."""

    name = "wet"
    endings = pack(".wet", ".gz", ".zst")
    magic: ClassVar[tuple[bytes, ...]] = ()  # warc.py reads such a file too
    described = "extracted texts of web archives (.wet, also .gz, .zst)"
    types = ("conversion",)
