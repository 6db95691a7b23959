"""Create the bucket of ``SPIKEBIT_BLOB_URL`` where there is none: one signed PUT, repeated until the store answers.

Standard library alone (AWS signature version 4, with the usual variables); for a store of one's own in a compose file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from urllib.parse import urlsplit

PATIENCE_S = 180.0
EXISTS = 409  # BucketAlreadyOwnedByYou
EMPTY = hashlib.sha256(b"").hexdigest()


def main() -> None:
    """Put it, and say so."""
    bucket = urlsplit(os.environ["SPIKEBIT_BLOB_URL"]).netloc
    endpoint = os.environ["SPIKEBIT_S3_ENDPOINT"].rstrip("/")
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(signed(f"{endpoint}/{bucket}"), timeout=10):
                break
        except urllib.error.HTTPError as error:
            if error.code == EXISTS:
                break
            reason: Exception = error
        except OSError as error:
            reason = error
        if time.monotonic() > until:
            raise SystemExit(f"the store at {endpoint} does not make the bucket {bucket}: {reason}")
        time.sleep(1.0)
    print(f"bucket {bucket} is there")


def signed(url: str) -> urllib.request.Request:
    """A PUT without a body, signed for S3."""
    parts, now = urlsplit(url), datetime.now(UTC)
    region = os.environ.get("SPIKEBIT_S3_REGION", "us-east-1")
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": parts.netloc, "x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"PUT\n{parts.path}\n\n{lines}\n{names}\n{EMPTY}"
    scope = f"{day}/{region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return urllib.request.Request(url, method="PUT", headers=headers, data=b"")


if __name__ == "__main__":
    main()
