"""Packages that few need: the error of an installation without them. pyproject.toml lists them with reasons."""

from importlib import import_module

from grip_assets.errors import GripError


def missing(extra: str, what: str, error: ImportError) -> GripError:
    """The error to raise instead of ``error``. ``what``: the setting, format or command that needs the package."""
    return GripError(
        f"{what} needs the package {error.name or extra}, which is not installed."
        f" Run: pip install 'grip-assets[{extra}]' (in a checkout: pip install -e '.[{extra}]')."
    )


def must_have(extra: str, what: str, *modules: str) -> None:
    """GripError if a module of an extra cannot be imported. ``what`` as above."""
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise missing(extra, what, error) from None
