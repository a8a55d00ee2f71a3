"""Who vouches for it? Signatures with a key of one's own, by model-signing; no network.

A signature is a sigstore bundle as text, 1.3 kB. Needs the extra `sign`; imported late.
"""

import tempfile
from pathlib import Path

from audits.errors import SpecError

INSTALL = "install it with `pip install 'slm-assay[sign]'`"


def sign(name: str, content: str, key: Path) -> str:
    """The signature of a text under a name, by the private key in a PEM file.

    Raises:
        SpecError: model-signing is not installed, or the file holds no usable key.
    """
    signing = _library("signing")
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp) / "signature"
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=_file(key))
            config.sign(_folder(tmp, name, content), out)
        except (ValueError, TypeError) as error:
            raise SpecError(
                f"{key}: cannot sign with it ({_first(error)}); give an unencrypted elliptic-"
                "curve private key as PEM"
            ) from error
        return out.read_text("utf-8")


def own_flaw(name: str, content: str, signature: str, key: Path) -> str:
    """`flaw`, for whoever has the private key itself.

    Raises:
        SpecError: model-signing is not installed, or the file holds no usable private key.
    """
    _library("verifying")
    from cryptography.hazmat.primitives import serialization as pem

    try:
        private = pem.load_pem_private_key(_file(key).read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise SpecError(
            f"{key}: cannot sign with it ({_first(error)}); give an unencrypted elliptic-"
            "curve private key as PEM"
        ) from error
    raw = private.public_key().public_bytes(
        pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo
    )
    with tempfile.TemporaryDirectory() as tmp:
        public = Path(tmp) / f"{key.stem}.pub"
        public.write_bytes(raw)
        return flaw(name, content, signature, public)


def flaw(name: str, content: str, signature: str, key: Path) -> str:
    """Why a signature does not vouch for a text under a name; empty where it does.

    Raises:
        SpecError: model-signing is not installed, or the file holds no usable public key.
    """
    if not signature:
        return "it is not signed"
    verifying = _library("verifying")
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=_file(key))
    except (ValueError, TypeError) as error:
        raise SpecError(
            f"{key}: cannot verify with it ({_first(error)}); give an elliptic-curve public "
            "key as PEM"
        ) from error
    with tempfile.TemporaryDirectory() as tmp:
        held = Path(tmp) / "signature"
        held.write_text(signature, "utf-8")
        try:
            config.verify(_folder(tmp, name, content), held)
        # A signature may hold anything: whatever the library makes of it, it does not vouch.
        except Exception as error:  # noqa: BLE001
            said = _first(error).partition(":")[0] or type(error).__name__
            return f"its signature does not fit it and {key.name} ({said})"
    return ""


def require() -> None:
    """Refuse to go on without model-signing.

    Raises:
        SpecError: it is not installed.
    """
    _library("signing")


def _folder(tmp: str, name: str, content: str) -> Path:
    folder = Path(tmp) / "signed"
    folder.mkdir()
    (folder / name).write_text(content, "utf-8")
    return folder


def _file(key: Path) -> Path:
    if not key.is_file():
        raise SpecError(f"{key}: there is no such key file; check the path")
    return key


def _library(name: str):  # type: ignore[no-untyped-def] # noqa: ANN202 - imported late
    import importlib

    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise SpecError(f"a key was given and model-signing is absent; {INSTALL}") from error


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
