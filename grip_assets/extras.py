"""Optional packages: the error that users see when one is not installed.

pyproject.toml lists these packages, with the reason for each.
"""

from importlib import import_module

from grip_assets.errors import GripError


def missing(extra: str, what: str, error: ImportError) -> GripError:
    """The error to raise instead of ``error``. ``what``: the setting, format or command that needs the package."""
    return GripError(
        f"{what} needs the package {error.name or extra}, which is not installed."
        f" Run: pip install 'grip-assets[{extra}]' (in a checkout: pip install -e '.[{extra}]')."
    )


def must_have(extra: str, what: str, *modules: str) -> None:
    """Raise GripError if one of these modules of an extra cannot be imported. ``what``: as in ``missing``."""
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise missing(extra, what, error) from None
