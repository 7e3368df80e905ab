"""The language of a document, by its file name or by a column: a lower-case name that Pygments and the grammars use.

A column may also hold codes of natural languages: there, `pl` is Polish and not Perl. Such a code is stored as it is,
and the document is never read as code.
"""

from pathlib import PurePosixPath

SUFFIXES = {
    "ada": "ada", "adb": "ada", "asm": "asm", "awk": "awk", "bash": "bash", "bat": "batch", "bib": "bibtex", "c": "c",
    "cc": "cpp", "cfg": "ini", "clj": "clojure", "cmake": "cmake", "coffee": "coffeescript", "conf": "ini", "cpp": "cpp",
    "cr": "crystal", "cs": "csharp", "css": "css", "csv": "csv", "cu": "cuda", "cuh": "cuda", "cxx": "cpp", "d": "d",
    "dart": "dart", "diff": "diff", "el": "elisp", "erl": "erlang", "ex": "elixir", "exs": "elixir", "f": "fortran",
    "f90": "fortran", "fs": "fsharp", "glsl": "glsl", "go": "go", "graphql": "graphql", "groovy": "groovy", "h": "cpp",
    "hh": "cpp", "hpp": "cpp", "hs": "haskell", "htm": "html", "html": "html", "inc": "c", "ini": "ini", "inl": "cpp",
    "ipynb": "jupyter", "java": "java", "jinja": "jinja", "jl": "julia", "js": "javascript", "json": "json",
    "jsx": "javascript", "kt": "kotlin", "less": "less", "lisp": "lisp", "lua": "lua", "m": "objectivec", "md": "markdown",
    "mjs": "javascript", "cjs": "javascript", "ml": "ocaml", "mli": "ocaml", "nim": "nim", "pas": "pascal", "php": "php",
    "pl": "perl", "pm": "perl", "proto": "protobuf", "ps1": "powershell", "pxd": "cython", "pxi": "cython", "py": "python",
    "pyi": "python", "pyx": "cython", "r": "r", "rb": "ruby", "rs": "rust", "rst": "rst", "s": "asm", "sass": "sass",
    "scala": "scala", "scm": "scheme", "scss": "scss", "sh": "bash", "sql": "sql", "svg": "xml", "swift": "swift",
    "tcl": "tcl", "tex": "latex", "toml": "toml", "ts": "typescript", "tsx": "tsx", "txt": "text", "v": "verilog",
    "vim": "vim", "vue": "vue", "xml": "xml", "yaml": "yaml", "yml": "yaml", "zig": "zig", "zsh": "bash",
}  # fmt: skip
NAMES = {
    "makefile": "make", "dockerfile": "docker", "cmakelists.txt": "cmake", "license": "text", "licence": "text",
    "copying": "text", "readme": "text", "authors": "text", "notice": "text", "gemfile": "ruby", "rakefile": "ruby",
}  # fmt: skip
OTHER_NAMES = {
    "c#": "csharp", "c++": "cpp", "f#": "fsharp", "golang": "go", "jupyter notebook": "jupyter", "makefile": "make",
    "objective-c": "objectivec", "shell": "bash", "emacs lisp": "elisp", "common lisp": "lisp",
}  # fmt: skip
CODE = {*SUFFIXES.values(), *NAMES.values()}
# ISO 639-1
PROSE = {
    "aa", "ab", "ae", "af", "ak", "am", "an", "ar", "as", "av", "ay", "az", "ba", "be", "bg", "bh", "bi", "bm", "bn",
    "bo", "br", "bs", "ca", "ce", "ch", "co", "cr", "cs", "cu", "cv", "cy", "da", "de", "dv", "dz", "ee", "el", "en",
    "eo", "es", "et", "eu", "fa", "ff", "fi", "fj", "fo", "fr", "fy", "ga", "gd", "gl", "gn", "gu", "gv", "ha", "he",
    "hi", "ho", "hr", "ht", "hu", "hy", "hz", "ia", "id", "ie", "ig", "ii", "ik", "io", "is", "it", "iu", "ja", "jv",
    "ka", "kg", "ki", "kj", "kk", "kl", "km", "kn", "ko", "kr", "ks", "ku", "kv", "kw", "ky", "la", "lb", "lg", "li",
    "ln", "lo", "lt", "lu", "lv", "mg", "mh", "mi", "mk", "ml", "mn", "mr", "ms", "mt", "my", "na", "nb", "nd", "ne",
    "ng", "nl", "nn", "no", "nr", "nv", "ny", "oc", "oj", "om", "or", "os", "pa", "pi", "pl", "ps", "pt", "qu", "rm",
    "rn", "ro", "ru", "rw", "sa", "sc", "sd", "se", "sg", "si", "sk", "sl", "sm", "sn", "so", "sq", "sr", "ss", "st",
    "su", "sv", "sw", "ta", "te", "tg", "th", "ti", "tk", "tl", "tn", "to", "tr", "ts", "tt", "tw", "ty", "ug", "uk",
    "ur", "uz", "ve", "vi", "vo", "wa", "wo", "xh", "yi", "yo", "za", "zh", "zu",
}  # fmt: skip

# ISO 639-2 and 639-3, of the languages that crawlers identify
THREE_LETTERS = {
    "afr": "af", "amh": "am", "ara": "ar", "asm": "as", "aze": "az", "bel": "be", "ben": "bn", "bod": "bo", "bos": "bs",
    "bre": "br", "bul": "bg", "cat": "ca", "ces": "cs", "cym": "cy", "dan": "da", "deu": "de", "ell": "el", "eng": "en",
    "epo": "eo", "est": "et", "eus": "eu", "fao": "fo", "fas": "fa", "fin": "fi", "fra": "fr", "fry": "fy", "gla": "gd",
    "gle": "ga", "glg": "gl", "guj": "gu", "hat": "ht", "hau": "ha", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu",
    "hye": "hy", "ibo": "ig", "ind": "id", "isl": "is", "ita": "it", "jav": "jv", "jpn": "ja", "kan": "kn", "kat": "ka",
    "kaz": "kk", "khm": "km", "kin": "rw", "kir": "ky", "kor": "ko", "kur": "ku", "lao": "lo", "lat": "la", "lav": "lv",
    "lit": "lt", "ltz": "lb", "mal": "ml", "mar": "mr", "mkd": "mk", "mlg": "mg", "mlt": "mt", "mon": "mn", "mri": "mi",
    "msa": "ms", "mya": "my", "nep": "ne", "nld": "nl", "nno": "nn", "nob": "nb", "nor": "no", "nya": "ny", "oci": "oc",
    "ori": "or", "pan": "pa", "pol": "pl", "por": "pt", "pus": "ps", "que": "qu", "roh": "rm", "ron": "ro", "rus": "ru",
    "san": "sa", "sin": "si", "slk": "sk", "slv": "sl", "sna": "sn", "snd": "sd", "som": "so", "sot": "st", "spa": "es",
    "sqi": "sq", "srp": "sr", "sun": "su", "swa": "sw", "swe": "sv", "tam": "ta", "tat": "tt", "tel": "te", "tgk": "tg",
    "tha": "th", "tuk": "tk", "tur": "tr", "uig": "ug", "ukr": "uk", "urd": "ur", "uzb": "uz", "vie": "vi", "xho": "xh",
    "yid": "yi", "yor": "yo", "zho": "zh", "zul": "zu",
}  # fmt: skip


def short_code(code: str) -> str:
    """A code of three letters as that of two, which most data have. Any other code as it is."""
    return THREE_LETTERS.get(code.lower(), code.lower())


def is_prose(code: str) -> bool:
    """Whether it is a code of a natural language: pl, en-US, zh_hans, deu_latn."""
    main, _, rest = code.lower().replace("_", "-").partition("-")
    return main in PROSE or (len(main) == 3 and main.isalpha() and len(rest) == 4 and rest.isalpha())


def named(value: str, of_code: bool = False) -> str:
    """The language that a value of a column names. ``of_code``: it is a programming language, so `pl` is Perl."""
    name = value.strip().lower()
    if name in CODE or (is_prose(name) and not of_code):
        return name
    return OTHER_NAMES.get(name) or SUFFIXES.get(name) or name


def language_of(name: str) -> str | None:
    path = PurePosixPath(name.lower())
    return NAMES.get(path.name) or SUFFIXES.get(path.suffix[1:])
