"""AWS list prices in US dollars: us-east-1, on demand, without free tiers and discounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AS_OF: Final = "2026-11-24"


@dataclass(frozen=True)
class Price:
    """What ``per`` units cost, and where that is written."""

    usd: float
    per: float
    unit: str
    page: str

    def of(self, amount: float) -> float:
        """What an amount costs, in dollars."""
        return amount * self.usd / self.per


MILLION: Final = 1e6
_LAMBDA: Final = "aws.amazon.com/lambda/pricing"
_DYNAMODB: Final = "aws.amazon.com/dynamodb/pricing/on-demand"
_S3: Final = "aws.amazon.com/s3/pricing"
_CLOUDWATCH: Final = "aws.amazon.com/cloudwatch/pricing"

#: By what is metered. The pages' figures were compared with copies of 2024 to 2026 of them and of
#: pages that cite them; S3's, SQS' and KMS' pages print theirs by script, so those are from memory.
PRICES: Final = {
    "Lambda, GB-seconds on arm64": Price(0.0000133334, 1, "GB-s", _LAMBDA),
    "Lambda, invocations": Price(0.20, MILLION, "requests", _LAMBDA),
    "DynamoDB, write request units": Price(0.625, MILLION, "units", _DYNAMODB),
    "DynamoDB, read request units": Price(0.125, MILLION, "units", _DYNAMODB),
    "S3, PUT, POST and LIST": Price(0.005, 1000, "requests", _S3),
    "S3, GET and HEAD": Price(0.0004, 1000, "requests", _S3),
    "S3, audio out to fal": Price(0.09, 1e9, "bytes", _S3),
    "SQS, requests": Price(0.40, MILLION, "requests", "aws.amazon.com/sqs/pricing"),
    "API Gateway, HTTP API": Price(1.00, MILLION, "requests", "aws.amazon.com/api-gateway/pricing"),
    "EventBridge, own events": Price(1.00, MILLION, "events", "aws.amazon.com/eventbridge/pricing"),
    "CloudWatch Logs, bytes": Price(0.50, 1e9, "bytes", _CLOUDWATCH),
    "X-Ray, traces": Price(5.00, MILLION, "traces", "aws.amazon.com/xray/pricing"),
    "KMS, for the fal key": Price(0.03, 10_000, "requests", "aws.amazon.com/kms/pricing"),
}
