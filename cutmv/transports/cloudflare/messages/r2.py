"""R2 over the S3 API: the project's only client configuration, and lifecycle rules.

boto3 is imported when a client is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Objects that one DeleteObjects call takes, by the S3 API.
MAX_DELETES = 1000

#: S3's error codes for a conditional write that came after another process's write.
CONDITION_FAILED = {"412", "PreconditionFailed", "ConditionalRequestConflict", "409"}


def r2_client(
    endpoint_url: str,
    access_key_id: str,
    secret_access_key: str,
    *,
    connect_timeout: float,
    read_timeout: float,
    pool_size: int,
    attempts: int,
    region: str = "auto",
) -> S3Client:
    """Return an S3 client for R2, or for another server of the S3 API.

    `connect_timeout` and `read_timeout` are the seconds to connect and to wait for the next bytes;
    `pool_size` is how many connections are kept, `attempts` how often one call is tried at most.
    R2's region is ``auto``. Raises `ImportError` where boto3 is not installed.
    """
    import boto3
    from botocore.client import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        region_name=region,
        config=Config(
            signature_version="s3v4",
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_pool_connections=pool_size,
            retries={"mode": "standard", "total_max_attempts": attempts},
            # R2 refuses the trailing checksums that newer versions of boto3 add by themselves.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        ),
    )


def expiry_rule(prefix: str, days: int) -> Any:
    """Return the lifecycle rule that removes the objects under `prefix` after `days` days."""
    return {
        "ID": f"expire-{prefix.strip('/').replace('/', '-')}",
        "Filter": {"Prefix": prefix},
        "Status": "Enabled",
        "Expiration": {"Days": days},
    }


def lifecycle_rules(client: S3Client, bucket: str) -> list[Any]:
    """Return a bucket's lifecycle rules; raises boto3's errors."""
    from botocore.exceptions import ClientError

    try:
        answer = client.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration":
            return []
        raise
    # Older S3 servers also return a rule's prefix, which is refused beside its filter.
    return [
        {key: value for key, value in rule.items() if key != "Prefix" or "Filter" not in rule}
        for rule in answer.get("Rules", ())
    ]


def put_lifecycle_rule(client: S3Client, bucket: str, rule: Any) -> None:
    """Add a rule, or replace the rule of its ID, and keep all others; raises boto3's errors."""
    others = [each for each in lifecycle_rules(client, bucket) if each.get("ID") != rule["ID"]]
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [*others, rule]}
    )
