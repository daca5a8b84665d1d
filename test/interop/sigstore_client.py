"""Signs a file, or verifies a bundle, with sigstore-python and nothing but the trust configuration given.

usage: sigstore_client.py sign CONFIG FILE BUNDLE               (the ID token comes on standard input)
       sigstore_client.py verify CONFIG FILE BUNDLE IDENTITY ISSUER
"""

import sys
from pathlib import Path

from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity


def sign(config: ClientTrustConfig, file: Path, bundle: Path) -> None:
    token = IdentityToken(sys.stdin.read().strip())
    with SigningContext.from_trust_config(config).signer(token) as signer:
        bundle.write_text(signer.sign_artifact(file.read_bytes()).to_json())


def verify(config: ClientTrustConfig, file: Path, bundle: Path, identity: str, issuer: str) -> None:
    verifier = Verifier(trusted_root=config.trusted_root)
    policy = Identity(identity=identity, issuer=issuer)
    verifier.verify_artifact(file.read_bytes(), Bundle.from_json(bundle.read_bytes()), policy)
    print("verified")


command, config_path, file_path, bundle_path, *expected = sys.argv[1:]
trust_config = ClientTrustConfig.from_json(Path(config_path).read_text())
{"sign": sign, "verify": verify}[command](trust_config, Path(file_path), Path(bundle_path), *expected)
