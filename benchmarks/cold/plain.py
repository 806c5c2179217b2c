"""A straightforward handler: everything at the top, clients when it is imported."""

import json
import os
from typing import Any

import boto3
import fal_client  # noqa: F401 - what a first draft imports
import httpx  # noqa: F401
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.utilities import parameters  # noqa: F401
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType  # noqa: F401
from aws_lambda_powertools.utilities.data_classes import SQSEvent  # noqa: F401
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: F401
from pydantic import BaseModel

logger = Logger(service="plain")
metrics = Metrics(namespace="Plain", service="plain")
app = APIGatewayHttpResolver()
dynamodb = boto3.resource("dynamodb")
s3 = boto3.client("s3")
sqs = boto3.client("sqs")
ssm = boto3.client("ssm")


class Body(BaseModel):
    """What comes."""

    request_id: str


def handler(event: Any, context: object) -> dict[str, int]:  # noqa: ARG001
    """Lambda's entry."""
    body = Body.model_validate_json(event["body"])
    sqs.send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=json.dumps(body.model_dump()))
    return {"statusCode": 202}
